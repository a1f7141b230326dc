"""What a journal says of the past: which calls never ended, and what each lease paid for. Pure.

A call that was never sent consumed nothing. Of one that was, only as much is known as was written down: its
last checkpoint, or what it was meant to be. Nobody knows what came after that, so the whole bound is kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from om.type.v1 import event_pb2
from om_proxy.journal.record import Header, Kind, LeaseNote, Record, read_header, read_note


@dataclass(slots=True)
class Trace:
    """What is still open of one segment."""

    header: Header
    #: Calls that were begun here and have not ended anywhere.
    events: set[str] = field(default_factory=set)
    #: Leases that are named here and about which the server has not been told for good.
    leases: set[str] = field(default_factory=set)
    #: Positions of the outcomes here, without gaps; none while the last is 0.
    first_sequence: int = 1
    last_sequence: int = 0
    #: Where the last good record ends.
    end: int = 0

    def ended(self, sequence: int) -> None:
        """Note the position of one more outcome."""
        if not self.last_sequence:
            self.first_sequence = sequence
        self.last_sequence = sequence


@dataclass(slots=True)
class _Call:
    """One call as its records tell it."""

    segment: int
    event: event_pb2.UsageEvent
    sent: bool = False
    ended: bool = False


class Past:
    """The records of all segments that are not settled, in their order."""

    def __init__(self) -> None:
        self.traces: dict[int, Trace] = {}
        self._calls: dict[str, _Call] = {}
        self._closed: set[str] = set()
        self._known: dict[str, None] = {}

    def add(self, segment: int, records: Iterable[Record]) -> None:
        """Take a segment in. What a record says that came in twice, is said once."""
        for record in records:
            if record.kind == Kind.HEADER:
                trace = Trace(read_header(record.payload))
                self.traces.setdefault(segment, trace)
            elif record.kind in _OF_LEASES:
                self._add_note(segment, record)
            elif record.kind == Kind.SENT:
                if (call := self._calls.get(record.payload.decode())) is not None:
                    call.sent = True
            else:
                self._add_event(segment, record)
            self.traces[segment].end = record.end

    def close(self, lease_id: str) -> None:
        """Forget a lease about which the server has been told for good."""
        self._closed.add(lease_id)
        for trace in self.traces.values():
            trace.leases.discard(lease_id)

    def unended(self, *, markers_lost: bool = False) -> list[event_pb2.UsageEvent]:
        """Give an outcome for every call that has none, without its position.

        `markers_lost`: the power went, and that a call was sent may have been in memory alone.
        """
        open_calls = [call for call in self._calls.values() if not call.ended]
        return [self._ending(call, markers_lost=markers_lost) for call in open_calls]

    def reports(self, *, closed: bool = False) -> list[LeaseNote]:
        """Say of every lease how many calls it paid for, and what they keep: of those in flight the bound.

        Only of leases that are not `closed`, unless those are asked for too.
        """
        counts = dict.fromkeys(self._known, 0)
        kept = dict.fromkeys(self._known, 0)
        for call in self._calls.values():
            for lease_id, part in _parts(call.event).items():
                # A lease of which nothing else is known was told for good before the records begin.
                if lease_id in counts:
                    counts[lease_id] += 1
                    kept[lease_id] += part
        return [
            LeaseNote(lease_id, count, kept[lease_id])
            for lease_id, count in counts.items()
            if closed or lease_id not in self._closed
        ]

    def _ending(self, call: _Call, *, markers_lost: bool) -> event_pb2.UsageEvent:
        if not call.sent and not markers_lost:
            # What is reported of its leases says the same afterwards.
            zero = event_pb2.UsageEvent()
            zero.CopyFrom(call.event)
            zero.outcome = event_pb2.OUTCOME_ZERO
            del zero.lines[:]
            for part in zero.funding:
                part.retained_nanos = 0
            call.event = zero
        return call.event

    def _add_note(self, segment: int, record: Record) -> None:
        lease_id = read_note(record.payload).lease_id
        if record.kind == Kind.CLOSED:
            self.close(lease_id)
            return
        self._known[lease_id] = None
        if lease_id not in self._closed:
            self.traces[segment].leases.add(lease_id)

    def _add_event(self, segment: int, record: Record) -> None:
        event = event_pb2.UsageEvent.FromString(record.payload)
        trace = self.traces[segment]
        call = self._calls.setdefault(event.event_id, _Call(segment, event))
        begun = self.traces[call.segment]
        if record.kind == Kind.OUTCOME:
            trace.ended(event.sequence)
            begun.events.discard(event.event_id)
        elif not call.ended:
            begun.events.add(event.event_id)
            trace.leases.update({part.lease_id for part in event.funding} - self._closed)
        # Work that two polls saw finished has two outcomes of one name; the first is what counts.
        if not call.ended:
            call.event, call.ended = event, record.kind == Kind.OUTCOME


_OF_LEASES = frozenset({Kind.LEASE, Kind.CLOSING, Kind.CLOSED})


def _parts(event: event_pb2.UsageEvent) -> dict[str, int]:
    """What an event keeps of each lease: of one that has not ended, its whole bound."""
    kept: dict[str, int] = {}
    for part in event.funding:
        kept[part.lease_id] = kept.get(part.lease_id, 0) + part.retained_nanos
    return kept
