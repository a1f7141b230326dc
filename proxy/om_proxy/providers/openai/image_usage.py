"""How image routes report usage: by token where the model counts tokens, else by the pieces in the answer."""

from __future__ import annotations

from dataclasses import replace

from om_proxy.call.call import Call
from om_proxy.metering.include_usage import USAGE_OBJECT
from om_proxy.metering.reading import Fields, Flag, Line, Metered, parse_object, raw_usage_of
from om_proxy.metering.usage import Certainty, Unit, usage_of
from om_proxy.providers.openai.usage import chat_counts, line_of

Counts = dict[Unit, int | None]

#: Models that are charged by token. Without a usage nobody can say how many that were.
_BY_TOKEN = ("gpt-image", "chatgpt-image")
#: What a price may depend on; the answer says what was chosen where the request left it open.
_ATTRIBUTES = ("quality", "size")
_OPEN = frozenset({"", "auto"})
_SVG_KEYS = frozenset({"model", "reasoning_tokens"})
_RAW = frozenset({"usage", "svg_usage"})
_DETAIL_KEYS = frozenset({"text_tokens", "image_tokens", "cached_tokens", "cached_tokens_details"})


class ImagesReader:
    """Reads generations, edits and variations, streamed or not."""

    visible_bytes = 0

    def __init__(self, call: Call) -> None:
        self._call = call
        self._answer: dict[str, object] = {}
        self._pieces = 0
        self._flags: set[Flag] = set()

    def read(self, document: bytes) -> None:
        """Parse a body, or the events that end an image; partial images hold pixels only."""
        if not self._call.stream or USAGE_OBJECT.search(document) or b'"error"' in document:
            self._parse(document)
        elif b".completed" in document[:256]:
            self._pieces += 1

    def metered(self) -> Metered:
        """Say what was read until now."""
        flags = set(self._flags)
        usage = self._answer.get("usage")
        if not self._pieces and usage is None and Flag.ERROR_IN_ANSWER in flags:
            return Metered((), flags=frozenset(flags))
        counted = isinstance(usage, dict)
        counts = image_counts(Fields(usage, flags)) if counted else self._without_usage(flags)
        lines = (self._line(counts, flags), *self._vector_lines(flags))
        raw: dict[str, object] = {
            name: self._answer[name] for name in ("usage", "svg_usage") if name in self._answer
        }
        return Metered(lines, raw_usage_of(raw) if raw else None, None, frozenset(flags))

    def _parse(self, document: bytes) -> None:
        event = parse_object(document)
        if event is None:
            self._flags.add(Flag.DOCUMENT_MALFORMED)
            return
        if isinstance(event.get("error"), dict):
            self._flags.add(Flag.ERROR_IN_ANSWER)
            return
        if "usage" in event and "usage" in self._answer:
            # Whether a second image's figure is its own or the sum is not documented.
            self._flags.add(Flag.USAGE_INCONSISTENT)
        data = event.get("data")
        self._pieces += len(data) if isinstance(data, list) else 1
        self._answer.update({name: value for name, value in event.items() if value is not None})

    def _without_usage(self, flags: set[Flag]) -> Counts:
        if not self._pieces:
            flags.add(Flag.INCOMPLETE)
        elif not self._call.model.startswith(_BY_TOKEN):
            return {Unit.IMAGES: self._pieces}
        flags.add(Flag.USAGE_MISSING)
        return _unknown()

    def _line(self, counts: Counts, faults: set[Flag]) -> Line:
        certainty = Certainty.ESTIMATED if Flag.USAGE_MALFORMED in faults else Certainty.MEASURED
        line = line_of(self._call, usage_of(counts, certainty), model=None)
        return replace(line, attributes=self._attributes())

    def _attributes(self) -> tuple[tuple[str, str], ...]:
        asked, served = dict(self._call.attributes), Fields(self._answer, set())
        chosen = ((name, served.text(name) or asked.get(name, "")) for name in _ATTRIBUTES)
        return tuple((name, value) for name, value in chosen if value not in _OPEN)

    def _vector_lines(self, faults: set[Flag]) -> list[Line]:
        """Read the model that turned the image into a vector graphic, which has a usage of its own."""
        usage = self._answer.get("svg_usage")
        if not isinstance(usage, dict):
            return []
        counts = chat_counts({name: value for name, value in usage.items() if name not in _SVG_KEYS}, faults)
        reasoning = Fields(usage, faults).count("reasoning_tokens")
        if reasoning:
            counts[Unit.REASONING_TOKENS] = min(reasoning, counts[Unit.OUTPUT_TOKENS] or 0)
        model = Fields(usage, faults).text("model") or "unknown"
        return [replace(line_of(self._call, usage_of(counts), model=model), requested_model=model)]


def image_counts(fields: Fields) -> Counts:
    """Make the counts of an image model disjoint; without details all of the output is images."""
    total_in, total_out = fields.count("input_tokens"), fields.count("output_tokens")
    details_in, details_out = fields.section("input_tokens_details"), fields.section("output_tokens_details")
    details_in.check_keys(_DETAIL_KEYS)
    details_out.check_keys(_DETAIL_KEYS)
    if total_in is None or total_out is None:
        return _unknown()
    images = min(details_in.count("image_tokens") or 0, total_in)
    cached = min(details_in.count("cached_tokens") or 0, total_in)
    cached_images = min(
        details_in.section("cached_tokens_details").count("image_tokens") or 0, images, cached
    )
    cached_text = min(cached - cached_images, total_in - images)
    text_out = min(details_out.count("text_tokens") or 0, total_out)
    counts: Counts = {
        Unit.INPUT_TOKENS: total_in - images - cached_text,
        Unit.CACHE_READ_TOKENS: cached_text,
        Unit.IMAGE_INPUT_TOKENS: images - cached_images,
        Unit.IMAGE_CACHE_READ_TOKENS: cached_images,
        Unit.IMAGE_OUTPUT_TOKENS: total_out - text_out,
    }
    if text_out:
        counts[Unit.OUTPUT_TOKENS] = text_out
    return counts


def _unknown() -> Counts:
    return {Unit.INPUT_TOKENS: None, Unit.IMAGE_OUTPUT_TOKENS: None}
