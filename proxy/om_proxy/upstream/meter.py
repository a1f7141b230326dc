"""The meter of one response: a copy of its bytes in, what it consumed out. Never changes or delays a byte."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from om_proxy.call.call import Call
from om_proxy.call.provider import Provider, UsageReader
from om_proxy.metering.decode import DECODED_MAX, DecodeFault, Decoder
from om_proxy.metering.framing import Framing, JsonLines
from om_proxy.metering.glance import Glance
from om_proxy.metering.reading import Flag, Line, Metered
from om_proxy.metering.sse import SseParser
from om_proxy.metering.usage import Certainty, Quantity, Unit, Usage, tokens_of

# Results of a batch: of them only one line is ever held, and what is not read is not charged.
DECODED_LINES_MAX = 4 << 30

_FAULTS = {
    DecodeFault.UNREADABLE: Flag.ENCODING_UNREADABLE,
    DecodeFault.OVER_LIMIT: Flag.DECODED_OVER_LIMIT,
}


class Meter:
    """Feed it what the client gets; finish it once, however the response ended."""

    def __init__(
        self,
        decoder: Decoder,
        framing: Framing,
        *,
        reader: UsageReader,
        prompt_bytes: int,
        glance: Glance | None = None,
    ) -> None:
        """With a `glance`, what it passes over is neither in `documents` nor in `tokens_max`."""
        self.bytes_seen = 0
        self.documents = 0
        #: No fewer tokens were written than that, where all that is written is shown.
        self.tokens_max = 0
        self._decoder = decoder
        self._framing = framing
        self._reader = reader
        self._prompt_bytes = prompt_bytes
        self._glance = glance

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the response, still in their content coding."""
        self.bytes_seen += len(chunk)
        if self._glance is None:
            for piece in self._decoder.decode(chunk):
                self._read_counted(piece)
            return
        for piece in (chunk,) if self._decoder.plain else self._decoder.decode(chunk):
            if unread := self._glance.feed(piece):
                for document in self._framing.feed(unread):
                    self._reader.read(document)

    def _read_counted(self, piece: bytes) -> None:
        for document in self._framing.feed(piece):
            seen = self._reader.visible_bytes
            self._reader.read(document)
            self.documents += 1
            # What shows no text may be the name of a function, of which nobody counts the bytes.
            self.tokens_max += self._reader.visible_bytes - seen + 1 or len(document)

    def so_far(self) -> Metered:
        """Say what was consumed until now, in case that nothing more is seen."""
        metered = self._reader.metered()
        lines = metered.lines
        if lines and Certainty.UNKNOWN in lines[0].usage.certainties:
            lines = (self._estimated(lines[0]), *lines[1:])
        return replace(metered, lines=lines)

    def finish(self) -> Metered:
        """Say what was consumed. What the provider did not say is estimated and marked so."""
        for document in self._framing.finish():
            self._reader.read(document)
        metered = self._reader.metered()
        flags = set(metered.flags)
        if self._decoder.fault is not None:
            flags.add(_FAULTS[self._decoder.fault])
        if self._framing.given_up:
            flags.add(Flag.DOCUMENT_OVER_LIMIT)
        lines = metered.lines
        # What goes on has no figures yet, and its end will say them.
        if lines and metered.job_id is None and Certainty.UNKNOWN in lines[0].usage.certainties:
            flags.add(Flag.USAGE_MISSING)
            lines = (self._estimated(lines[0]), *lines[1:])
        if flags == metered.flags and lines is metered.lines:
            return metered
        return replace(metered, lines=lines, flags=frozenset(flags))

    def _estimated(self, line: Line) -> Line:
        """Fill what is unknown of the call's own model; of another model there is nothing to go by."""
        guesses = {Unit.INPUT_TOKENS: self._prompt_bytes, Unit.OUTPUT_TOKENS: self._answer_bytes()}
        return replace(line, usage=Usage(tuple(_guess(item, guesses) for item in line.usage.quantities)))

    def _answer_bytes(self) -> int | None:
        """Give the bytes of generated text that were seen; None where nobody can say."""
        if self._reader.visible_bytes:
            return self._reader.visible_bytes
        if self._decoder.fault is DecodeFault.UNREADABLE:
            return self.bytes_seen
        # What was given up for its size can be text or one image: its bytes say nothing about tokens.
        lost = self._decoder.fault is not None or self._framing.given_up
        return None if lost else 0


def _guess(quantity: Quantity, guesses: Mapping[Unit, int | None]) -> Quantity:
    size = guesses.get(quantity.unit)
    if quantity.amount is not None or size is None:
        return quantity
    return Quantity(quantity.unit, tokens_of(size), Certainty.ESTIMATED)


def open_meter(
    provider: Provider, call: Call, *, content_type: str, content_encoding: str = "", counted: bool = False
) -> Meter:
    """Open a meter for a successful response; an error of the provider's consumes nothing and needs none.

    `counted` is for a stream that may be ended at any event: its events and what each may hold are counted.
    """
    framing = provider.framing(call, content_type.strip().lower())
    reader = provider.reader(call)
    glance = None
    if not counted and isinstance(framing, SseParser) and (nothing_in := getattr(reader, "nothing_in", None)):
        glance = Glance(nothing_in)
    return Meter(
        Decoder(content_encoding, DECODED_LINES_MAX if isinstance(framing, JsonLines) else DECODED_MAX),
        framing,
        reader=reader,
        prompt_bytes=call.demand.text_bytes,
        glance=glance,
    )
