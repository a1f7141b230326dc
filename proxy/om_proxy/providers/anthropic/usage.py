"""How Anthropic reports usage: disjoint counts, cumulative in streams, by iteration if several models ran."""

from __future__ import annotations

import re
from collections.abc import Mapping

from om_proxy.call.call import Call
from om_proxy.metering.reading import Fields, Flag, Line, Metered, parse_object, raw_usage_of
from om_proxy.metering.usage import Certainty, Unit, Usage, usage_of

Counts = dict[Unit, int | None]

_VISIBLE = re.compile(rb'"(?:text|thinking|partial_json)"\s*:\s*"([^"\\]*(?:\\.[^"\\]*)*)"', re.DOTALL)
# Of inference_geo: no surcharge.
_ANYWHERE = frozenset({"global", "not_available"})

_USAGE_KEYS = frozenset(
    {
        "input_tokens",
        "output_tokens",
        "cache_read_input_tokens",
        "cache_creation_input_tokens",
        "cache_creation",
        "output_tokens_details",
        "server_tool_use",
        "service_tier",
        "inference_geo",
        "speed",
        "iterations",
        "fallback_credit",
    }
)
_SPLIT_KEYS = frozenset({"ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"})
_TOOL_KEYS = frozenset({"web_search_requests", "web_fetch_requests"})
_ITERATION_KEYS = _USAGE_KEYS | {"type", "model"}


class MessagesReader:
    """Merges what message_start said with every message_delta; a plain message is all of it at once."""

    def __init__(self, call: Call) -> None:
        self.visible_bytes = 0
        self._call = call
        self._usage: dict[str, object] | None = None
        self._final = False
        self._counted = False  # The final usage says what went in and what came out.
        self._model: str | None = None
        self._id: str | None = None
        self._flags: set[Flag] = set()

    def read(self, document: bytes) -> None:
        """Parse an event only if it can tell something; the rest is measured by its text."""
        # Quotes inside of JSON strings are escaped, so that no generated text looks like these.
        if b'"usage"' in document or b'"error"' in document or not self._call.stream:
            self._parse(document)
        if not self._counted:
            self.visible_bytes += sum(map(len, _VISIBLE.findall(document)))

    def metered(self) -> Metered:
        """Say what was read; also in the middle of a stream, which changes nothing."""
        if self._usage is None and Flag.ERROR_IN_ANSWER in self._flags and not self.visible_bytes:
            return Metered((), response_id=self._id, flags=frozenset(self._flags))
        flags = set(self._flags)
        if self._call.stream and not self._final:
            flags.add(Flag.INCOMPLETE)
        if self._usage is None:
            unknown: Counts = {Unit.INPUT_TOKENS: None, Unit.OUTPUT_TOKENS: None}
            line = self._line(self._model, usage_of(unknown))
            return Metered((line,), None, self._id, frozenset(flags))
        faults: set[Flag] = set()
        lines = self._lines(self._usage, faults)
        return Metered(lines, raw_usage_of(self._usage), self._id, frozenset(flags | faults))

    def _parse(self, document: bytes) -> None:
        event = parse_object(document)
        if event is None:
            self._flags.add(Flag.DOCUMENT_MALFORMED)
        else:
            self.take(event)

    def take(self, event: Mapping[str, object]) -> None:
        """Take in what an event, or a whole message, says."""
        kind = event.get("type")
        message = event.get("message") if kind == "message_start" else event
        if kind == "error" and isinstance(event.get("error"), dict):
            self._flags.add(Flag.ERROR_IN_ANSWER)
        elif kind in {"message", "message_start", "message_delta"} and isinstance(message, dict):
            fields = Fields(message, self._flags)
            self._model = fields.text("model") or self._model
            self._id = fields.text("id") or self._id
            usage = message.get("usage")
            if isinstance(usage, dict):
                self._merge(usage)
                if kind != "message_start":
                    self._final = True
                    merged = Fields(self._usage, set())
                    self._counted = None not in {merged.count("input_tokens"), merged.count("output_tokens")}

    def _merge(self, usage: Mapping[str, object]) -> None:
        """Let the newer value win wherever it says something: counts are cumulative, never added."""
        if self._usage is None:
            self._usage = {}
        self._usage.update({name: value for name, value in usage.items() if value is not None})

    def _lines(self, usage: Mapping[str, object], faults: set[Flag]) -> tuple[Line, ...]:
        fields = Fields(usage, faults)
        fields.check_keys(_USAGE_KEYS)
        if usage.get("fallback_credit"):
            faults.add(Flag.FALLBACK_CREDIT)
        by_model = _by_model(fields, faults, own_model=self._model)
        own = by_model.get(None) or next(iter(by_model.values()))
        if not self._final:
            # The start's count of output is a placeholder.
            own[Unit.OUTPUT_TOKENS] = None
        tools = fields.section("server_tool_use")
        tools.check_keys(_TOOL_KEYS)
        own[Unit.WEB_SEARCHES] = tools.count("web_search_requests") or 0
        certainty = Certainty.ESTIMATED if Flag.USAGE_MALFORMED in faults else Certainty.MEASURED
        return tuple(
            self._line(model or self._model, usage_of(counts, certainty))
            for model, counts in by_model.items()
        )

    def _line(self, model: str | None, usage: Usage) -> Line:
        fields = Fields(self._usage, set())
        geo = fields.text("inference_geo")
        tier = "fast" if fields.text("speed") == "fast" else fields.text("service_tier")
        return Line(
            provider=self._call.provider,
            model=model or self._call.model,
            requested_model=self._call.model,
            tier=tier or "standard",
            usage=usage,
            attributes=() if geo is None or geo in _ANYWHERE else (("inference_geo", geo),),
        )


def _by_model(fields: Fields, faults: set[Flag], *, own_model: str | None) -> dict[str | None, Counts]:
    """Count for each model that ran; None is the message's own.

    Iterations are the true bill where there are any: the top level leaves out compaction and advisors.
    """
    iterations = fields.raw.get("iterations")
    if not isinstance(iterations, list) or not iterations:
        return {None: message_counts(fields, faults)}
    if not all(isinstance(item, dict) for item in iterations):
        faults.add(Flag.USAGE_MALFORMED)
        return {None: message_counts(fields, faults)}
    by_model: dict[str | None, Counts] = {}
    for item in iterations:
        iteration = Fields(item, faults)
        iteration.check_keys(_ITERATION_KEYS)
        model = iteration.text("model")
        if model == own_model:
            model = None
        counts = message_counts(iteration, faults)
        by_model[model] = _added(by_model[model], counts) if model in by_model else counts
    return by_model


def message_counts(fields: Fields, flags: set[Flag]) -> Counts:
    """Read one usage object; its three input counts are disjoint as they are."""
    output = fields.count("output_tokens")
    thinking = fields.section("output_tokens_details").count("thinking_tokens") or 0
    written_5m, written_1h = _cache_writes(fields, flags)
    return {
        Unit.INPUT_TOKENS: fields.count("input_tokens"),
        Unit.CACHE_READ_TOKENS: fields.count("cache_read_input_tokens") or 0,
        Unit.CACHE_WRITE_5M_TOKENS: written_5m,
        Unit.CACHE_WRITE_1H_TOKENS: written_1h,
        Unit.OUTPUT_TOKENS: output,
        Unit.REASONING_TOKENS: min(thinking, output or 0),
    }


def _cache_writes(fields: Fields, flags: set[Flag]) -> tuple[int, int]:
    """Split cache writes by time to live; what the split does not explain counts as five minutes."""
    written = fields.count("cache_creation_input_tokens")
    split = fields.section("cache_creation")
    split.check_keys(_SPLIT_KEYS)
    for_5m = split.count("ephemeral_5m_input_tokens") or 0
    for_1h = split.count("ephemeral_1h_input_tokens") or 0
    if written is None or written == for_5m + for_1h:
        return for_5m, for_1h
    flags.add(Flag.CACHE_SPLIT_ASSUMED)
    for_1h = min(for_1h, written)
    return written - for_1h, for_1h


def _added(one: Counts, other: Counts) -> Counts:
    return {unit: _sum(count, other[unit]) for unit, count in one.items()}


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other
