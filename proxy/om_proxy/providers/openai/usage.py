"""How OpenAI reports usage: totals that include cache reads, cache writes, audio and reasoning."""

from __future__ import annotations

import re
from collections.abc import Mapping

from om_proxy.call import Call
from om_proxy.include_usage import USAGE_OBJECT
from om_proxy.reading import Fields, Flag, Line, Metered, parse_object, raw_usage_of
from om_proxy.usage import Certainty, Unit, usage_of

_PROMPT = ("prompt_tokens", "input_tokens")
_COMPLETION = ("completion_tokens", "output_tokens")

_VISIBLE = re.compile(
    rb'"(?:content|refusal|arguments|reasoning_content|reasoning)"\s*:\s*"([^"\\]*(?:\\.[^"\\]*)*)"',
    re.DOTALL,
)
_DONE = b"[DONE]"
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
        # Compatible providers, behind another base URL.
        "prompt_cache_hit_tokens",
        "prompt_cache_miss_tokens",
        "cached_tokens",
        "num_cached_tokens",
        "queue_time",
        "prompt_time",
        "completion_time",
        "total_time",
        "cost",
        "cost_details",
        "cost_in_usd_ticks",
        "is_byok",
        "num_sources_used",
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
    """Keeps the last usage that is not null, on whatever event it comes."""

    def __init__(self, call: Call) -> None:
        self.visible_bytes = 0
        self._call = call
        self._usage: dict[str, object] | None = None
        self._counted = False  # The usage says what went in and what came out.
        self._model: str | None = None
        self._tier: str | None = None
        self._id: str | None = None
        self._done = False
        self._flags: set[Flag] = set()

    def read(self, document: bytes) -> None:
        """Parse an event only if it can tell something; the rest is measured by its text."""
        if document == _DONE:
            self._done = True
        elif self._model is None or USAGE_OBJECT.search(document) or b'"error"' in document:
            self._parse(document)
        if not self._counted:
            self.visible_bytes += sum(map(len, _VISIBLE.findall(document)))

    def metered(self) -> Metered:
        """Say what was read."""
        if self._usage is None and Flag.ERROR_IN_ANSWER in self._flags and not self.visible_bytes:
            return Metered((), response_id=self._id, flags=frozenset(self._flags))
        if self._call.stream and self._usage is None and not self._done:
            self._flags.add(Flag.INCOMPLETE)
        counts, certainty = self._counts()
        estimated = []
        if self._call.demand.web_searches:
            # The fee is for the call; how often it searched is not reported.
            counts[Unit.WEB_SEARCHES] = self._call.demand.web_searches
            estimated.append(Unit.WEB_SEARCHES)
            self._flags.add(Flag.SEARCHES_ASSUMED)
        tier = self._tier or self._call.tier or "standard"
        line = Line(
            provider=self._call.provider,
            model=self._model or self._call.model,
            requested_model=self._call.model,
            tier=_TIERS.get(tier, tier),
            usage=usage_of(counts, certainty, estimated=estimated),
        )
        raw = raw_usage_of(self._usage) if self._usage is not None else None
        return Metered((line,), raw, self._id, frozenset(self._flags))

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
                self._usage = usage
                self._counted = None not in chat_counts(usage, set()).values()
                return

    def _counts(self) -> tuple[dict[Unit, int | None], Certainty]:
        if self._usage is None:
            return {Unit.INPUT_TOKENS: None, Unit.OUTPUT_TOKENS: None}, Certainty.MEASURED
        faults: set[Flag] = set()
        counts = chat_counts(self._usage, faults)
        self._flags |= faults
        return counts, Certainty.ESTIMATED if Flag.USAGE_MALFORMED in faults else Certainty.MEASURED


def chat_counts(usage: Mapping[str, object], flags: set[Flag]) -> dict[Unit, int | None]:
    """Make the counts of an OpenAI-shaped usage disjoint."""
    fields = Fields(usage, flags)
    fields.check_keys(_USAGE_KEYS)
    counts = _prompt_counts(fields)
    if counts.get(Unit.INPUT_TOKENS) is not None and _sum(counts) > (_either(fields, *_PROMPT) or 0):
        flags.add(Flag.USAGE_INCONSISTENT)
    counts.update(_completion_counts(fields, flags))
    return counts


def _prompt_counts(fields: Fields) -> dict[Unit, int | None]:
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


def _completion_counts(fields: Fields, flags: set[Flag]) -> dict[Unit, int | None]:
    details = _section(fields, "completion_tokens_details", "output_tokens_details")
    details.check_keys(_COMPLETION_KEYS)
    reasoning = details.count("reasoning_tokens") or 0
    output = _output_total(fields, flags, reasoning=reasoning)
    if output is None:
        return {Unit.OUTPUT_TOKENS: None}
    audio = min(details.count("audio_tokens") or 0, output)
    return {
        Unit.OUTPUT_TOKENS: output - audio,
        Unit.REASONING_TOKENS: min(reasoning, output - audio),
        Unit.AUDIO_OUTPUT_TOKENS: audio,
    }


def _output_total(fields: Fields, flags: set[Flag], *, reasoning: int) -> int | None:
    """Find all billable output: whether it includes reasoning shows in the total."""
    prompt, completion, total = (
        _either(fields, *_PROMPT),
        _either(fields, *_COMPLETION),
        fields.count("total_tokens"),
    )
    if prompt is None or total is None:
        return completion
    if completion is not None:
        if total == prompt + completion:
            return completion
        if total == prompt + completion + reasoning:
            return completion + reasoning
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
