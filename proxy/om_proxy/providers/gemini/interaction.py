"""The interactions API: a body of its own, and usage under other names that is counted as everywhere else."""

from __future__ import annotations

import re
from collections.abc import Mapping

from om_proxy.call.call import Call, Demand, each_object, text_bytes
from om_proxy.call.route import Target
from om_proxy.metering.reading import EndedJob, Fields, Flag, Line, Metered, parse_object, raw_usage_of
from om_proxy.metering.usage import Certainty, Unit, usage_of
from om_proxy.providers.gemini.request import first, number
from om_proxy.providers.gemini.usage import (
    PROMPT_MODALITIES,
    Counts,
    generate_counts,
    objects_of,
    searches_of,
)
from om_proxy.refusals.problem import invalid_field, invalid_json
from om_proxy.refusals.refusal import Problem

_VISIBLE = re.compile(rb'"(?:text|thought|arguments)"\s*:\s*"([^"\\]*(?:\\.[^"\\]*)*)"', re.DOTALL)
_TEXT_BLOCKS = frozenset({"text", "thought", "function_call", "function_result"})
_GOING_ON = frozenset({"in_progress", "queued"})
_FAILED = frozenset({"failed", "cancelled"})
_FUNCTION = "function"
#: How the usage of an interaction that is asked for in the background is read.
IN_BACKGROUND = "interaction in the background"

# A usage of this API, by the names under which usageMetadata has the same.
_TOTALS = {
    "total_input_tokens": "promptTokenCount",
    "total_cached_tokens": "cachedContentTokenCount",
    "total_output_tokens": "candidatesTokenCount",
    "total_thought_tokens": "thoughtsTokenCount",
    "total_tool_use_tokens": "toolUsePromptTokenCount",
    "total_tokens": "totalTokenCount",
}
_DETAILS = {
    "input_tokens_by_modality": "promptTokensDetails",
    "cached_tokens_by_modality": "cacheTokensDetails",
    "output_tokens_by_modality": "candidatesTokensDetails",
    "tool_use_tokens_by_modality": "toolUsePromptTokensDetails",
}
_GROUNDING = "grounding_tool_count"
_KNOWN_KEYS = frozenset({*_TOTALS, *_DETAILS, _GROUNDING})


def read_interaction(target: Target, body: bytes) -> Call | Problem:
    """Understand a request; an agent may run any model, so that only a model can be bounded."""
    document = parse_object(body)
    if document is None:
        return invalid_json()
    fields = Fields(document, set())
    model = fields.text("model") or fields.text("agent")
    if model is None:
        return invalid_field("model")
    return Call(
        provider=target.route.provider,
        operation=target.route.operation,
        model=model.removeprefix("models/"),
        stream=document.get("stream") is True,
        tier=(fields.text("service_tier") or "").lower(),
        body=body,
        demand=_demand(document, body),
        usage=IN_BACKGROUND if document.get("background") is True else target.route.usage,
    )


def _demand(document: Mapping[str, object], body: bytes) -> Demand:
    notes = _InputNotes()
    given = document.get("input")
    each_object([given] if isinstance(given, dict) else given, "input", walk=notes.block)
    each_object(document.get("tools"), "tools", walk=notes.tool)
    if document.get("previous_interaction_id") is not None:
        notes.reference("previous_interaction_id")
    if document.get("model") is None:
        notes.unbounded_field = "agent"
    config = document.get("generation_config")
    cap = number(first(config, "maxOutputTokens")) if isinstance(config, dict) else None
    units = [Unit.INPUT_TOKENS, Unit.CACHE_READ_TOKENS]
    if notes.window_field is not None:
        units += [unit for of_modality in PROMPT_MODALITIES.values() for unit in of_modality]
    return Demand(
        text_bytes=text_bytes(body, document, base64_bytes=0),
        prompt_units=tuple(units),
        output_units=(Unit.OUTPUT_TOKENS, *notes.output_units(document.get("response_modalities"))),
        messages=len(given) if isinstance(given, list) else 1,
        tools=notes.tools,
        window_field=notes.window_field,
        unbounded_field=notes.unbounded_field,
        output_field="generation_config.max_output_tokens",
        output_max=cap,
    )


class _InputNotes:
    """What the input is made of: blocks, or steps with content; anything but text may be of any size."""

    def __init__(self) -> None:
        self.tools = 0
        self.window_field: str | None = None
        self.unbounded_field: str | None = None

    def reference(self, field: str) -> None:
        self.window_field = self.window_field or field

    def block(self, block: dict[str, object], field: str) -> None:
        content = block.get("content")
        if content is not None:
            each_object(
                [content] if isinstance(content, dict) else content, f"{field}.content", walk=self.block
            )
        elif str(block.get("type", "text")) not in _TEXT_BLOCKS:
            self.reference(field)

    def tool(self, tool: dict[str, object], field: str) -> None:
        if tool.get("type") == _FUNCTION:
            self.tools += 1
        else:
            # It runs at the provider, as often as the model likes.
            self.unbounded_field = self.unbounded_field or f"{field}.type"

    def output_units(self, modalities: object) -> list[Unit]:
        asked = (
            {str(modality).upper() for modality in modalities} if isinstance(modalities, list) else set[str]()
        )
        units = {"IMAGE": Unit.IMAGE_OUTPUT_TOKENS, "AUDIO": Unit.AUDIO_OUTPUT_TOKENS}
        return [unit for modality, unit in units.items() if modality in asked]


class InteractionReader:
    """Reads an interaction, whole or in events, or one that goes on in the background and is asked about."""

    def __init__(self, call: Call, *, begins: bool) -> None:
        self.visible_bytes = 0
        self._call = call
        self._background = call.usage == IN_BACKGROUND
        self._begins = begins
        self._said: dict[str, object] = {}  # Of the interaction, the newest that is not null.
        self._flags: set[Flag] = set()

    def read(self, document: bytes) -> None:
        """Take in what an event, or the whole body, says of the interaction."""
        event = parse_object(document)
        if event is None:
            self._flags.add(Flag.DOCUMENT_MALFORMED)
        elif isinstance(event.get("error"), dict):
            self._flags.add(Flag.ERROR_IN_ANSWER)
        else:
            inner = event.get("interaction")
            holder = inner if isinstance(inner, dict) else event
            names = ("id", "model", "status", "usage", "background")
            self._said |= {name: holder[name] for name in names if holder.get(name) is not None}
        if "usage" not in self._said:
            self.visible_bytes += sum(map(len, _VISIBLE.findall(document)))

    def metered(self) -> Metered:
        """Say what was read; also in the middle of a stream, which changes nothing."""
        said = Fields(self._said, set())
        job_id, status = said.text("id"), said.text("status")
        usage = self._said.get("usage")
        flags = set(self._flags)
        line = self._line(said, usage, flags)
        raw = raw_usage_of(usage) if isinstance(usage, dict) else None
        background = self._background or self._said.get("background") is True
        over = status is not None and status not in _GOING_ON
        ended: tuple[EndedJob, ...] = ()
        if background and over and job_id is not None:
            lines = () if usage is None and status in _FAILED else (line,)
            ended = (EndedJob(job_id, lines, raw),)
        if not self._begins:
            return Metered((), flags=frozenset(flags), ended=ended)
        if background and job_id is not None:
            return Metered((line,), raw, job_id, frozenset(flags), job_id=job_id, ended=ended)
        if usage is None and Flag.ERROR_IN_ANSWER in flags and not self.visible_bytes:
            return Metered((), response_id=job_id, flags=frozenset(flags))
        if self._call.stream and usage is None:
            flags.add(Flag.INCOMPLETE)
        return Metered((line,), raw, job_id, frozenset(flags))

    def _line(self, said: Fields, usage: object, flags: set[Flag]) -> Line:
        model = (said.text("model") or self._call.model or "unknown").removeprefix("models/")
        faults: set[Flag] = set()
        counts: Counts = {Unit.INPUT_TOKENS: None, Unit.OUTPUT_TOKENS: None}
        if isinstance(usage, dict) and usage:
            Fields(usage, faults).check_keys(_KNOWN_KEYS)
            searches = sum(
                Fields(item, faults).count("count") or 0 for item in objects_of(usage.get(_GROUNDING))
            )
            counts = generate_counts(Fields(as_metadata(usage), faults), faults, grounded=bool(searches))
            if searches:
                counts[Unit.WEB_SEARCHES] = searches_of(model, searches)
        flags |= faults
        return Line(
            provider=self._call.provider,
            model=model,
            requested_model=self._call.model or model,
            tier=self._call.tier or "standard",
            usage=usage_of(
                counts, Certainty.ESTIMATED if Flag.USAGE_MALFORMED in faults else Certainty.MEASURED
            ),
        )


def as_metadata(usage: Mapping[str, object]) -> dict[str, object]:
    """Write a usage of this API as usageMetadata."""
    metadata: dict[str, object] = {new: usage[old] for old, new in _TOTALS.items() if old in usage}
    for old, new in _DETAILS.items():
        metadata[new] = [
            {"modality": str(item.get("modality")).upper(), "tokenCount": item.get("tokens")}
            for item in objects_of(usage.get(old))
        ]
    return metadata
