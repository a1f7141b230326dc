"""How OpenAI reports usage: totals that include cache reads, cache writes, audio and reasoning."""

from __future__ import annotations

import re
from collections.abc import Mapping

from om_proxy.call.call import Call
from om_proxy.metering.include_usage import USAGE_OBJECT
from om_proxy.metering.reading import Fields, Flag, Line, Metered, parse_object, raw_usage_of
from om_proxy.metering.usage import Certainty, Unit, Usage, usage_of
from om_proxy.providers.openai.convention import OPENAI, Convention

Counts = dict[Unit, int | None]

#: The contract's 255 without what is put before it.
JOB_ID_MAX = 200

_PROMPT = ("prompt_tokens", "input_tokens")
_COMPLETION = ("completion_tokens", "output_tokens")

_VISIBLE = re.compile(
    rb'"(?:content|text|refusal|arguments|reasoning_content|reasoning)"\s*:\s*"([^"\\]*(?:\\.[^"\\]*)*)"',
    re.DOTALL,
)
_DONE = b"[DONE]"
_ERROR = b'"error"'
#: Text whose length is not counted yet: usually nobody asks for it.
_TEXT_MAX = 16 * 1024
_TIERS = {"default": "standard", "auto": "standard", "fast": "priority"}

_USAGE_KEYS = frozenset(
    {
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "prompt_tokens_details",
        "completion_tokens_details",
        "input_tokens",
        "output_tokens",
        "input_tokens_details",
        "output_tokens_details",
    }
)
_PROMPT_KEYS = frozenset(
    {
        "cached_tokens",
        "cache_write_tokens",
        "cache_write_tokens_details",
        "audio_tokens",
        "image_tokens",
        "text_tokens",
    }
)
_COMPLETION_KEYS = frozenset(
    {
        "reasoning_tokens",
        "audio_tokens",
        "image_tokens",
        "text_tokens",
        "accepted_prediction_tokens",
        "rejected_prediction_tokens",
    }
)


class ChatReader:
    """Keeps the last usage that is not null, on whatever event it comes. Reads legacy completions too."""

    def __init__(self, call: Call, convention: Convention = OPENAI) -> None:
        self._call = call
        self._convention = convention
        self._usage: dict[str, object] | None = None
        self._usage_counts: Counts = {}
        self._faults: set[Flag] = set()  # Of the usage that was read last.
        self._counted = False  # The usage says what went in and what came out.
        self._model: str | None = None
        self._tier: str | None = None
        self._id: str | None = None
        self._done = False
        self._flags: set[Flag] = set()
        self._visible_bytes = 0
        self._texts: list[bytes] = []
        self._texts_size = 0

    @property
    def visible_bytes(self) -> int:
        """Of generated text that was seen."""
        if self._texts:
            self._visible_bytes += sum(map(len, _VISIBLE.findall(b"\n".join(self._texts))))
            self._texts.clear()
            self._texts_size = 0
        return self._visible_bytes

    def nothing_in(self, events: bytes) -> bool:
        """Take whole events of which none says more than text; False where they have to be read."""
        if (
            self._model is None
            or _ERROR in events
            or _DONE in events
            or USAGE_OBJECT.search(events) is not None
        ):
            return False
        self._see(events)
        return True

    def read(self, document: bytes) -> None:
        """Parse an event only if it can tell something; the rest is measured by its text."""
        if document == _DONE:
            self._done = True
        elif self._model is None or _ERROR in document or USAGE_OBJECT.search(document):
            self._parse(document)
        self._see(document)

    def _see(self, text: bytes) -> None:
        """Keep what shows text, until somebody asks how much or there is too much of it."""
        if self._counted:
            return
        self._texts.append(text)
        self._texts_size += len(text)
        if self._texts_size > _TEXT_MAX:
            _ = self.visible_bytes

    def metered(self) -> Metered:
        """Say what was read until now; asking changes nothing."""
        flags = set(self._flags)
        if self._usage is None and Flag.ERROR_IN_ANSWER in flags and not self.visible_bytes:
            return Metered((), response_id=self._id, flags=frozenset(flags))
        if self._call.stream and self._usage is None and not self._done:
            flags.add(Flag.INCOMPLETE)
        counts, certainty = self._counts(flags)
        estimated = []
        if self._call.demand.web_searches:
            # The fee is for the call; how often it searched is not reported.
            counts[Unit.WEB_SEARCHES] = self._call.demand.web_searches
            estimated.append(Unit.WEB_SEARCHES)
            flags.add(Flag.SEARCHES_ASSUMED)
        usage = usage_of(counts, certainty, estimated=estimated)
        line = line_of(self._call, usage, model=self._model, tier=self._tier)
        raw = raw_usage_of(self._usage) if self._usage is not None else None
        return Metered((line,), raw, self._id, frozenset(flags))

    def _parse(self, document: bytes) -> None:
        chunk = parse_object(document)
        if chunk is None:
            self._flags.add(Flag.DOCUMENT_MALFORMED)
            return
        fields = Fields(chunk, self._flags)
        self._model = fields.text("model") or self._model
        self._tier = fields.text("service_tier") or self._tier
        self._id = fields.text("id") or self._id
        if isinstance(chunk.get("error"), dict):
            self._flags.add(Flag.ERROR_IN_ANSWER)
        groq = chunk.get("x_groq")
        for holder in (chunk, groq if isinstance(groq, dict) else {}):
            usage = holder.get("usage")
            if isinstance(usage, dict):
                self._usage, self._faults = usage, set()
                self._usage_counts = self._disjoint(usage, self._faults)
                self._counted = None not in self._usage_counts.values()
                return

    def _counts(self, flags: set[Flag]) -> tuple[Counts, Certainty]:
        if self._usage is None:
            return self._unknown(), Certainty.MEASURED
        flags |= self._faults
        certainty = Certainty.ESTIMATED if Flag.USAGE_MALFORMED in self._faults else Certainty.MEASURED
        return dict(self._usage_counts), certainty

    def _disjoint(self, usage: Mapping[str, object], flags: set[Flag]) -> Counts:
        return chat_counts(usage, flags, self._convention)

    def _unknown(self) -> Counts:
        return {Unit.INPUT_TOKENS: None, Unit.OUTPUT_TOKENS: None}


def job_id_of(fields: Fields) -> str | None:
    """Read the id of deferred work; one that would not fit into the id of its event is none."""
    job_id = fields.text("id")
    return job_id if job_id is not None and len(job_id) <= JOB_ID_MAX else None


def line_of(call: Call, usage: Usage, *, model: str | None, tier: str | None = None) -> Line:
    """Write consumption at the call's own model, under the name and the tier that served it."""
    served = tier or call.tier or "standard"
    return Line(
        provider=call.provider,
        model=model or call.model,
        requested_model=call.model or model or "",
        tier=_TIERS.get(served, served),
        usage=usage,
    )


def chat_counts(usage: Mapping[str, object], flags: set[Flag], convention: Convention = OPENAI) -> Counts:
    """Make the counts of an OpenAI-shaped usage disjoint."""
    fields = Fields(usage, flags)
    fields.check_keys(_USAGE_KEYS | convention.keys)
    counts = _prompt_counts(fields)
    if counts.get(Unit.INPUT_TOKENS) is not None and _sum(counts) > (_either(fields, *_PROMPT) or 0):
        flags.add(Flag.USAGE_INCONSISTENT)
    counts.update(_completion_counts(fields, flags, convention))
    return counts


def _prompt_counts(fields: Fields) -> Counts:
    prompt = _either(fields, *_PROMPT)
    if prompt is None:
        return {Unit.INPUT_TOKENS: None}
    details = _section(fields, "prompt_tokens_details", "input_tokens_details")
    details.check_keys(_PROMPT_KEYS)
    cached = details.count("cached_tokens")
    if cached is None:
        cached = _either(fields, "prompt_cache_hit_tokens", "cached_tokens", "num_cached_tokens") or 0
    written = details.count("cache_write_tokens") or 0
    kept_12h = min(details.section("cache_write_tokens_details").count("ttl_12h_tokens") or 0, written)
    # Providers have reported more cached tokens than there were; audio may be among the cached ones.
    plain = max(0, prompt - cached - written)
    audio = min(details.count("audio_tokens") or 0, plain)
    image = min(details.count("image_tokens") or 0, plain - audio)
    return {
        Unit.INPUT_TOKENS: plain - audio - image,
        Unit.CACHE_READ_TOKENS: cached,
        Unit.CACHE_WRITE_TOKENS: written - kept_12h,
        Unit.CACHE_WRITE_12H_TOKENS: kept_12h,
        Unit.AUDIO_INPUT_TOKENS: audio,
        Unit.IMAGE_INPUT_TOKENS: image,
    }


def _completion_counts(fields: Fields, flags: set[Flag], convention: Convention) -> Counts:
    details = _section(fields, "completion_tokens_details", "output_tokens_details")
    details.check_keys(_COMPLETION_KEYS)
    reasoning = details.count("reasoning_tokens") or 0
    output = _output_total(fields, flags, reasoning=reasoning, convention=convention)
    if output is None:
        return {Unit.OUTPUT_TOKENS: None}
    audio = min(details.count("audio_tokens") or 0, output)
    return {
        Unit.OUTPUT_TOKENS: output - audio,
        Unit.REASONING_TOKENS: min(reasoning, output - audio),
        Unit.AUDIO_OUTPUT_TOKENS: audio,
    }


def _output_total(fields: Fields, flags: set[Flag], *, reasoning: int, convention: Convention) -> int | None:
    """Find all billable output: whether it includes reasoning shows in the total, else in the convention."""
    prompt, completion, total = (
        _either(fields, *_PROMPT),
        _either(fields, *_COMPLETION),
        fields.count("total_tokens"),
    )
    if prompt is None or total is None:
        outside = reasoning if convention.reasoning_outside else 0
        return completion if completion is None else completion + outside
    if completion is not None:
        if total == prompt + completion:
            return completion
        if total == prompt + completion + reasoning:
            return completion + reasoning
    if not convention.thinking_in_total:
        flags.add(Flag.USAGE_INCONSISTENT)
    # Some endpoints show thinking only in the total.
    return max(completion or 0, total - prompt)


def _either(fields: Fields, *names: str) -> int | None:
    for name in names:
        value = fields.count(name)
        if value is not None:
            return value
    return None


def _section(fields: Fields, *names: str) -> Fields:
    named = (name for name in names if fields.raw.get(name) is not None)
    return fields.section(next(named, names[0]))


def _sum(counts: Mapping[Unit, int | None]) -> int:
    return sum(count or 0 for count in counts.values())


class EmbeddingsReader(ChatReader):
    """Keeps the usage of embeddings, which produce no tokens."""

    def _disjoint(self, usage: Mapping[str, object], flags: set[Flag]) -> Counts:
        fields = Fields(usage, flags)
        fields.check_keys(_USAGE_KEYS | self._convention.keys)
        return _prompt_counts(fields)

    def _unknown(self) -> Counts:
        return {Unit.INPUT_TOKENS: None}
