"""How audio routes report usage: tokens or seconds of what is heard, tokens or characters of speech."""

from __future__ import annotations

import re

from om_proxy.call.call import Call
from om_proxy.metering.include_usage import USAGE_OBJECT
from om_proxy.metering.reading import Fields, Flag, Metered, parse_object, raw_usage_of
from om_proxy.metering.usage import COUNT_MAX, Certainty, Unit, Usage, usage_of
from om_proxy.providers.openai.usage import line_of

Counts = dict[Unit, int | None]

#: The end of a subtitle: `00:00:07,000` in SRT, `00:07.000` in VTT.
_SUBTITLE_END = re.compile(rb"-->\s*(?:(\d{1,4}):)?(\d{2}):(\d{2})[.,](\d{3})")
_MS = 1_000
#: What speech is mostly encoded with, for recordings whose length nobody states.
_BYTES_PER_SECOND = 4_000


class TranscriptionReader:
    """Reads transcriptions and translations: an object, events, or subtitles and plain text without usage."""

    def __init__(self, call: Call) -> None:
        self.visible_bytes = 0
        self._call = call
        self._usage: dict[str, object] | None = None
        self._duration_ms: int | None = None  # As a verbose object or the last subtitle says.
        self._duration_measured = False
        self._flags: set[Flag] = set()

    def read(self, document: bytes) -> None:
        """Parse an object; of anything else only the times of subtitles tell something."""
        if document.lstrip()[:1] != b"{":
            self._read_subtitles(document)
        elif not self._call.stream or USAGE_OBJECT.search(document) or b'"error"' in document:
            self._parse(document)

    def metered(self) -> Metered:
        """Say what was read until now."""
        flags = set(self._flags)
        if self._usage is None and Flag.ERROR_IN_ANSWER in flags:
            return Metered((), flags=frozenset(flags))
        line = line_of(self._call, self._counted(Fields(self._usage, flags), flags), model=None)
        raw = raw_usage_of(self._usage) if self._usage is not None else None
        return Metered((line,), raw, None, frozenset(flags))

    def _parse(self, document: bytes) -> None:
        event = parse_object(document)
        if event is None:
            self._flags.add(Flag.DOCUMENT_MALFORMED)
            return
        if isinstance(event.get("error"), dict):
            self._flags.add(Flag.ERROR_IN_ANSWER)
        usage = event.get("usage")
        if isinstance(usage, dict):
            self._usage = usage
        duration = _milliseconds(event.get("duration"))
        if duration is not None:
            self._duration_ms, self._duration_measured = duration, True

    def _read_subtitles(self, document: bytes) -> None:
        ends = _SUBTITLE_END.findall(document)
        if ends:
            hours, minutes, seconds, thousandths = (int(part or 0) for part in ends[-1])
            self._duration_ms = ((hours * 60 + minutes) * 60 + seconds) * _MS + thousandths

    def _counted(self, fields: Fields, flags: set[Flag]) -> Usage:
        if fields.text("type") == "duration" or self._usage is None:
            return self._seconds(fields, flags)
        audio_in = fields.section("input_token_details").count("audio_tokens")
        total_in = fields.count("input_tokens")
        counts: Counts = {Unit.INPUT_TOKENS: None, Unit.OUTPUT_TOKENS: fields.count("output_tokens")}
        if total_in is not None:
            # Without details it is the recording that went in.
            audio = total_in if audio_in is None else min(audio_in, total_in)
            counts[Unit.INPUT_TOKENS] = total_in - audio
            counts[Unit.AUDIO_INPUT_TOKENS] = audio
        certainty = Certainty.ESTIMATED if Flag.USAGE_MALFORMED in flags else Certainty.MEASURED
        return usage_of(counts, certainty)

    def _seconds(self, fields: Fields, flags: set[Flag]) -> Usage:
        """Take the provider's seconds, else what the answer shows, else what the recording weighs."""
        stated = _milliseconds(fields.raw.get("seconds"))
        if stated is not None:
            return usage_of({Unit.AUDIO_SECONDS: stated})
        if self._duration_ms is not None and self._duration_measured:
            return usage_of({Unit.AUDIO_SECONDS: self._duration_ms})
        flags.add(Flag.USAGE_MISSING)
        known = dict(self._call.demand.known)
        guess = known.get(Unit.AUDIO_SECONDS) or self._duration_ms
        if guess is None:
            guess = max(1, self._call.demand.media_bytes * _MS // _BYTES_PER_SECOND)
        return usage_of({Unit.AUDIO_SECONDS: guess}, Certainty.ESTIMATED)


class SpeechReader:
    """Reads speech: sound says nothing, so its text's characters count, unless events report tokens."""

    visible_bytes = 0

    def __init__(self, call: Call) -> None:
        self._call = call
        self._usage: dict[str, object] | None = None
        self._flags: set[Flag] = set()

    def read(self, document: bytes) -> None:
        """Parse the events that tell something; the rest is sound."""
        if not (USAGE_OBJECT.search(document) or b'"error"' in document):
            return
        event = parse_object(document)
        if event is None:
            self._flags.add(Flag.DOCUMENT_MALFORMED)
            return
        if isinstance(event.get("error"), dict):
            self._flags.add(Flag.ERROR_IN_ANSWER)
        usage = event.get("usage")
        self._usage = usage if isinstance(usage, dict) else self._usage

    def metered(self) -> Metered:
        """Say what was read."""
        if self._usage is None:
            if Flag.ERROR_IN_ANSWER in self._flags:
                return Metered((), flags=frozenset(self._flags))
            usage = usage_of(dict(self._call.demand.known))
            return Metered((line_of(self._call, usage, model=None),), flags=frozenset(self._flags))
        faults: set[Flag] = set()
        fields = Fields(self._usage, faults)
        counts: Counts = {
            Unit.INPUT_TOKENS: fields.count("input_tokens"),
            Unit.AUDIO_OUTPUT_TOKENS: fields.count("output_tokens"),
        }
        certainty = Certainty.ESTIMATED if Flag.USAGE_MALFORMED in faults else Certainty.MEASURED
        line = line_of(self._call, usage_of(counts, certainty), model=None)
        return Metered((line,), raw_usage_of(self._usage), None, frozenset(self._flags | faults))


def _milliseconds(value: object) -> int | None:
    """Read seconds, whole or not; rounded up, because part of a millisecond was used too."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= COUNT_MAX / _MS:
        return None
    return -int(-value * _MS // 1)
