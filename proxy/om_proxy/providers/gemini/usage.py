"""How Gemini reports usage: on every frame, cumulative, not monotone, and with zeros left out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from om_proxy.call.call import Call
from om_proxy.metering.reading import Fields, Flag, Line, Metered, parse_object, raw_usage_of
from om_proxy.metering.usage import Certainty, Unit, usage_of

Counts = dict[Unit, int | None]

_VISIBLE = re.compile(rb'"text"\s*:\s*"([^"\\]*(?:\\.[^"\\]*)*)"', re.DOTALL)
_GENERATION = re.compile(r"gemini-(\d+)")
# Up to this generation a grounded prompt has one fee; later ones charge every query.
_FEE_PER_PROMPT_UNTIL = 2

_USAGE_KEYS = frozenset(
    {
        "promptTokenCount",
        "cachedContentTokenCount",
        "candidatesTokenCount",
        "thoughtsTokenCount",
        "toolUsePromptTokenCount",
        "totalTokenCount",
        "promptTokensDetails",
        "promptTokenDetails",  # What newer embedding models call it.
        "cacheTokensDetails",
        "candidatesTokensDetails",
        "toolUsePromptTokensDetails",
        "serviceTier",
        "trafficType",
    }
)
# What has a unit of its own beside text: in the prompt, and in what of it was cached.
PROMPT_MODALITIES = {
    "AUDIO": (Unit.AUDIO_INPUT_TOKENS, Unit.AUDIO_CACHE_READ_TOKENS),
    "IMAGE": (Unit.IMAGE_INPUT_TOKENS, Unit.IMAGE_CACHE_READ_TOKENS),
    "VIDEO": (Unit.VIDEO_INPUT_TOKENS, Unit.VIDEO_CACHE_READ_TOKENS),
}
_CORE_KEYS = ("promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount", "totalTokenCount")


class GenerateReader:
    """Keeps the last frame's usage, and the peaks of what it might have dropped."""

    def __init__(self, call: Call) -> None:
        self.visible_bytes = 0
        self._call = call
        self._usage: Mapping[str, object] | None = None
        self._candidates = _Segments()
        self._model: str | None = None
        self._id: str | None = None
        self._finished = False
        self._grounded = False
        self._queries = 0
        self._flags: set[Flag] = set()

    def read(self, document: bytes) -> None:
        """Read a frame; each is a whole response with usage of its own."""
        frame = parse_object(document)
        if frame is None:
            self._flags.add(Flag.DOCUMENT_MALFORMED)
            self._count_text(document)
            return
        fields = Fields(frame, self._flags)
        self._model = fields.text("modelVersion") or self._model
        self._id = fields.text("responseId") or self._id
        if isinstance(frame.get("error"), dict):
            self._flags.add(Flag.ERROR_IN_ANSWER)
        for candidate in objects_of(frame.get("candidates")):
            self._finished = self._finished or candidate.get("finishReason") is not None
            self._note_grounding(candidate.get("groundingMetadata"))
        feedback = frame.get("promptFeedback")
        blocked = isinstance(feedback, dict) and feedback.get("blockReason") is not None
        self._finished = self._finished or blocked
        usage = frame.get("usageMetadata")
        if not isinstance(usage, dict) or all(usage.get(name) is None for name in _CORE_KEYS):
            self._count_text(document)
        elif _is_readable(usage):
            self._usage = usage
            self._candidates.note(Fields(usage, set()).count("candidatesTokenCount") or 0)
        else:
            self._flags.add(Flag.USAGE_MALFORMED)
            self._count_text(document)
            # Read in part, if nothing better has come.
            self._usage = self._usage or usage

    def metered(self) -> Metered:
        """Say what was read; also in the middle of a stream, which changes nothing."""
        if self._usage is None and Flag.ERROR_IN_ANSWER in self._flags and not self.visible_bytes:
            return Metered((), response_id=self._id, flags=frozenset(self._flags))
        faults: set[Flag] = set()
        counts = self._counts(faults)
        flags = self._flags | faults
        estimated = []
        if self._call.stream and not self._finished:
            flags.add(Flag.INCOMPLETE)
            estimated = [Unit.OUTPUT_TOKENS, Unit.REASONING_TOKENS]
        model = (self._model or self._call.model).removeprefix("models/")
        if self._grounded:
            counts[Unit.WEB_SEARCHES] = searches_of(model, self._queries)
        certainty = Certainty.ESTIMATED if Flag.USAGE_MALFORMED in flags else Certainty.MEASURED
        line = Line(
            provider=self._call.provider,
            model=model,
            requested_model=self._call.model,
            tier=(Fields(self._usage, set()).text("serviceTier") or self._call.tier or "standard").lower(),
            usage=usage_of(counts, certainty, estimated=estimated),
        )
        raw = raw_usage_of(self._usage) if self._usage is not None else None
        return Metered((line,), raw, self._id, frozenset(flags))

    def _counts(self, faults: set[Flag]) -> Counts:
        if self._usage is None:
            return {Unit.INPUT_TOKENS: None, Unit.OUTPUT_TOKENS: None}
        fields = Fields(self._usage, faults)
        dropped = self._candidates.dropped()
        if dropped is None:
            return generate_counts(fields, faults, grounded=self._grounded)
        faults.add(Flag.SEGMENTS_SUMMED)
        restored = Fields({**self._usage, "candidatesTokenCount": dropped, "totalTokenCount": None}, faults)
        return generate_counts(restored, faults, grounded=self._grounded)

    def _note_grounding(self, metadata: object) -> None:
        queries = metadata.get("webSearchQueries") if isinstance(metadata, dict) else None
        if isinstance(queries, list) and queries:
            self._grounded = True
            self._queries = max(self._queries, len(queries))

    def _count_text(self, document: bytes) -> None:
        self.visible_bytes += sum(map(len, _VISIBLE.findall(document)))


class _Segments:
    """A cumulative count that starts again for each internal turn; a segment ends when the value falls."""

    def __init__(self) -> None:
        self._ended = 0  # Sum of the peaks of ended segments.
        self._last = 0
        self._peak = 0

    def note(self, value: int) -> None:
        if value < self._last:
            self._ended += self._last
        self._last = value
        self._peak = max(self._peak, value)

    def dropped(self) -> int | None:
        """Give the sum of all segments where the last value is not the grand total; None where it is."""
        return self._ended + self._last if self._last < self._peak else None


def generate_counts(fields: Fields, flags: set[Flag], *, grounded: bool = False) -> Counts:
    """Make the counts of a usageMetadata disjoint. It has one at least; a missing count is a zero."""
    fields.check_keys(_USAGE_KEYS)
    candidates, thoughts = _count(fields, "candidatesTokenCount"), _count(fields, "thoughtsTokenCount")
    tool = fields.count("toolUsePromptTokenCount") or 0
    total = fields.count("totalTokenCount")
    if candidates is None or thoughts is None:
        counts: Counts = {Unit.OUTPUT_TOKENS: None}
        produced = None
    else:
        prompt = fields.count("promptTokenCount")
        included = thoughts > 0 and prompt is not None and prompt + candidates + tool == total
        produced = candidates if included else candidates + thoughts
        counts = _output_counts(fields, candidates, produced=produced, thoughts=thoughts)
    counts.update(input_counts(fields, _prompt(fields, flags, produced=produced, tool=tool)))
    # Where tools searched, the fee for the search pays for what they brought in.
    counts[Unit.TOOL_INPUT_TOKENS] = 0 if grounded else tool
    return counts


def _prompt(fields: Fields, flags: set[Flag], *, produced: int | None, tool: int) -> int | None:
    prompt, total = fields.count("promptTokenCount"), fields.count("totalTokenCount")
    if total is None or produced is None:
        return prompt
    if prompt is None:
        flags.add(Flag.USAGE_INCONSISTENT)
        return max(0, total - produced - tool)
    if prompt + produced + tool != total:
        flags.add(Flag.USAGE_INCONSISTENT)
    return prompt


def input_counts(fields: Fields, prompt: int | None) -> Counts:
    """Divide a prompt among what was cached and what was not, by modality."""
    if prompt is None:
        return {Unit.INPUT_TOKENS: None}
    cached = min(fields.count("cachedContentTokenCount") or 0, prompt)
    plain = prompt - cached
    details = fields.raw.get("promptTokensDetails", fields.raw.get("promptTokenDetails"))
    counts: Counts = {}
    for modality, (unit, cached_unit) in PROMPT_MODALITIES.items():
        in_cache = _modality(fields.raw.get("cacheTokensDetails"), modality)
        in_prompt = max(0, _modality(details, modality) - in_cache)
        counts[cached_unit] = min(in_cache, cached)
        counts[unit] = min(in_prompt, plain)
        cached -= min(in_cache, cached)
        plain -= min(in_prompt, plain)
    # Details can sum to less than their total; what they leave out is text.
    return {Unit.INPUT_TOKENS: plain, Unit.CACHE_READ_TOKENS: cached, **counts}


def _output_counts(fields: Fields, candidates: int, *, produced: int, thoughts: int) -> Counts:
    image = min(_modality(fields.raw.get("candidatesTokensDetails"), "IMAGE"), candidates)
    audio = min(_modality(fields.raw.get("candidatesTokensDetails"), "AUDIO"), candidates - image)
    text = produced - image - audio
    return {
        Unit.OUTPUT_TOKENS: text,
        Unit.REASONING_TOKENS: min(thoughts, text),
        Unit.IMAGE_OUTPUT_TOKENS: image,
        Unit.AUDIO_OUTPUT_TOKENS: audio,
    }


def _is_readable(usage: Mapping[str, object]) -> bool:
    """Whether every core count is one, so that input and output can be told."""
    fields = Fields(usage, set())
    known_prompt = usage.get("promptTokenCount") is not None or usage.get("totalTokenCount") is not None
    return known_prompt and all(_count(fields, name) is not None for name in _CORE_KEYS)


def _modality(details: object, modality: str) -> int:
    return sum(
        Fields(detail, set()).count("tokenCount") or 0
        for detail in objects_of(details)
        if detail.get("modality") == modality
    )


def _count(fields: Fields, name: str) -> int | None:
    """Read a count whose absence is a zero; None only where it cannot be read."""
    return 0 if fields.raw.get(name) is None else fields.count(name)


def objects_of(value: object) -> Iterator[dict[str, object]]:
    """Give the objects of a list, and nothing of anything else."""
    if isinstance(value, list):
        yield from (item for item in value if isinstance(item, dict))


def searches_of(model: str, queries: int) -> int:
    """Count what is paid for a grounded answer: every query, or the prompt that led to them."""
    generation = _GENERATION.search(model)
    per_query = generation is None or int(generation[1]) > _FEE_PER_PROMPT_UNTIL
    return queries if per_query else 1
