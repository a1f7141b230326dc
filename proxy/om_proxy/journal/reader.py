"""Reads outcomes back from the journal, to be shipped as they lie there.

What is read was written by this process, or was checked when it started: no CRC is computed and no event is
parsed. Memory holds one part of a segment at a time, however far behind the reader is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from om_proxy.journal.archive import Archive
from om_proxy.journal.record import Header, outcomes

_READ_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place between two records, and how many outcomes of the segment lie before it."""

    segment: int = 0
    offset: int = 0
    count: int = 0


@dataclass(frozen=True, slots=True)
class Shipment:
    """Outcomes of one epoch in their order, as they go over the wire, and the places around them."""

    header: Header
    first_sequence: int
    events: tuple[bytes, ...]
    start: Cursor
    following: Cursor

    @property
    def last_sequence(self) -> int:
        """Position of the last outcome."""
        return self.first_sequence + len(self.events) - 1


@dataclass(frozen=True, slots=True)
class Span:
    """All outcomes of one segment."""

    header: Header
    first_sequence: int
    last_sequence: int
    start: Cursor
    following: Cursor


#: Reads what was written to a segment: number, offset, at most so many bytes.
ReadBytes = Callable[[int, int, int], bytes]


def spans(archive: Archive) -> list[Span]:
    """Tell where all outcomes lie, by segment."""
    return [
        Span(
            trace.header,
            trace.first_sequence,
            trace.last_sequence,
            Cursor(number),
            Cursor(number, trace.end, trace.last_sequence - trace.first_sequence + 1),
        )
        for number, trace in sorted(archive.traces.items())
        if trace.last_sequence
    ]


def read_shipment(
    archive: Archive, read_bytes: ReadBytes, start: Cursor, *, count_max: int, size_max: int
) -> Shipment | None:
    """Read the outcomes behind a place, of one segment; None where there are none yet."""
    for number in sorted(number for number in archive.traces if number >= start.segment):
        place = start if number == start.segment else Cursor(number)
        shipment = _read_segment(archive, read_bytes, place, count_max=count_max, size_max=size_max)
        if shipment is not None:
            return shipment
    return None


def _read_segment(
    archive: Archive, read_bytes: ReadBytes, start: Cursor, *, count_max: int, size_max: int
) -> Shipment | None:
    trace = archive.traces[start.segment]
    first = trace.first_sequence + start.count
    if not trace.last_sequence or first > trace.last_sequence:
        return None
    events: list[bytes] = []
    size, offset = 0, start.offset
    for payload, end in _outcomes_from(read_bytes, start, trace.end):
        if payload:
            size += len(payload)
            if events and (len(events) == count_max or size > size_max):
                break
            events.append(payload)
        offset = end
    if not events:
        return None
    following = Cursor(start.segment, offset, start.count + len(events))
    return Shipment(trace.header, first, tuple(events), start, following)


def _outcomes_from(read_bytes: ReadBytes, start: Cursor, limit: int) -> Iterator[tuple[bytes, int]]:
    """Read on in a segment, a part at a time; an end is the place in the segment."""
    offset, size = start.offset, _READ_BYTES
    while offset < limit:
        end = 0
        for payload, end in outcomes(read_bytes(start.segment, offset, min(size, limit - offset))):
            yield payload, offset + end
        if end:
            offset += end
        else:
            # One record is larger than what was read.
            size *= 2
