"""The journal of one edge: every call before it is made and after it ended, and every lease it spent from.

What is begun can be finished: a call may only begin while a whole segment is in reserve, so that there is
room for the end of every open one when the disk is full.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from om.type.v1 import event_pb2
from om_proxy.journal.archive import Archive
from om_proxy.journal.home import Home
from om_proxy.journal.reader import Cursor, Shipment, Span, read_shipment, spans
from om_proxy.journal.record import Header, Kind, LeaseNote, pack, pack_value, salvage
from om_proxy.journal.replay import Past, Trace
from om_proxy.journal.segment import SEGMENT_BYTES, SegmentWriter
from om_proxy.server.identity import Edge


class JournalFull(Exception):
    """No call may begin, and no stream may go on: its end could not be written."""


class JournalBroken(Exception):
    """A write failed. What is on the disk is not known any more, so the process has to start again."""


class Journal:
    """Open from the start of an edge to its end. Used by one thread, but for `sync`."""

    def __init__(
        self, home: Home, *, segment_bytes: int = SEGMENT_BYTES, now: Callable[[], float] = time.time
    ) -> None:
        """Read the past and begin a segment. OSError where the disk has no room for that."""
        #: Told of the first failure.
        self.on_broken: Callable[[], None] = lambda: None
        self.broken = False
        self._home = home
        self._segment_bytes = segment_bytes
        self._archive = Archive(home.path, now=now)
        self._reserve: SegmentWriter | None = None
        self._sequence = 0
        #: In which segment each open call began.
        self._begun: dict[str, int] = {}
        past = self._load(again=False)
        self._begin_segment()
        self._unended = past.unended(markers_lost=home.markers_lost)
        self.reports: Sequence[LeaseNote] = past.reports()

    @property
    def edge(self) -> Edge:
        """Whose journal it is. Another epoch after `renew`."""
        return self._home.edge

    @property
    def home(self) -> Home:
        """Where it lies."""
        return self._home

    def recover(self) -> int:
        """End the calls of the past that nobody will end, and say how many. The server has this epoch now."""
        unended, self._unended = self._unended, []
        for number in list(self._archive.damaged):
            self._copy_outcomes(number)
        for event in unended:
            self.conclude(event)
        for number in list(self._archive.damaged):
            self._archive.set_aside(number)
        self._home.recovered()
        return len(unended)

    def renew(self, *, step: int = 1, again: bool = False) -> None:
        """Begin another epoch in this process; with `again` everything that is kept is open once more.

        `reports` are then about every lease, calls in flight counting with their bounds.
        """
        self._home.next_epoch(step)
        self._writer.close(synced=self._home.synced)
        self._drop_reserve()
        past = self._load(again=again)
        self._sequence = 0
        self._begin_segment()
        # What closed before the store was put back may be open there.
        self.reports = past.reports(closed=again)

    def resynced(self, store: str) -> None:
        """The server, in this life of its store, has taken what there was to say of the past."""
        for note in self.reports:
            self.closed(note)
        for trace in self._archive.traces.values():
            if trace.header.edge_epoch != self.edge.edge_epoch:
                trace.leases.clear()
        self._home.resynced(store)
        self.reports = ()

    def has_room(self) -> bool:
        """Whether a call may begin: there is room for its end, and for that of every call that is open."""
        if self.broken:
            return False
        if self._reserve is None:
            with contextlib.suppress(OSError):
                self._reserve = self._new_segment(self._segment_bytes)
        return self._reserve is not None

    def learn(self, lease_id: str) -> None:
        """Write down a lease before its first use."""
        self._append(pack_value(Kind.LEASE, LeaseNote(lease_id)))
        self._trace.leases.add(lease_id)

    def intend(self, event: event_pb2.UsageEvent) -> None:
        """Write down a call before it is made; JournalFull where it must not be made.

        The event is what is reported if nothing more becomes known of the call.
        """
        if not self.has_room():
            raise JournalFull
        self._append(pack(Kind.INTENT, event.SerializeToString()))
        self._begun[event.event_id] = self._writer.file.number
        self._trace.events.add(event.event_id)

    def sent(self, event_id: str) -> None:
        """Write down that the call goes upstream now."""
        self._append(pack(Kind.SENT, event_id.encode()))

    def extend(self, event: event_pb2.UsageEvent) -> None:
        """Write down that more is set aside for a call, before the bytes that it pays for are passed on."""
        if not self.has_room():
            raise JournalFull
        self._append(pack(Kind.EXTENDED, event.SerializeToString()))

    def checkpoint(self, event: event_pb2.UsageEvent) -> None:
        """Write down how far a call has come. Where the disk is full, ends are more important."""
        if self.has_room():
            self._append(pack(Kind.CHECKPOINT, event.SerializeToString()))

    def conclude(self, event: event_pb2.UsageEvent) -> None:
        """Write down how a call ended, with its position, from where it is shipped."""
        event.sequence = self._sequence + 1
        self._append(pack(Kind.OUTCOME, event.SerializeToString()))
        self._sequence += 1
        self._trace.ended(self._sequence)
        begun = self._archive.traces.get(self._begun.pop(event.event_id, 0))
        if begun is not None:
            begun.events.discard(event.event_id)

    def closing(self, note: LeaseNote) -> None:
        """Write down what will be declared of a lease; nothing is spent from it any more."""
        self._append(pack_value(Kind.CLOSING, note))

    def closed(self, note: LeaseNote) -> None:
        """Write down that the server knows what the lease paid for."""
        self._append(pack_value(Kind.CLOSED, note))
        for trace in self._archive.traces.values():
            trace.leases.discard(note.lease_id)

    def read(self, cursor: Cursor, *, count_max: int, size_max: int) -> Shipment | None:
        """Read the outcomes behind a place, of one segment; None where there are none yet."""
        return read_shipment(self._archive, self._bytes, cursor, count_max=count_max, size_max=size_max)

    def spans(self) -> list[Span]:
        """Tell where all outcomes lie, by segment."""
        return spans(self._archive)

    def settle(self, edge_epoch: int, ranges: Iterable[tuple[int, int]]) -> None:
        """Take in which positions are settled for good."""
        self._archive.settle(edge_epoch, ranges)

    def covers(self, edge_epoch: int, first: int, last: int) -> bool:
        """Tell whether all outcomes of a run are settled for good."""
        return self._archive.covers(edge_epoch, first, last)

    def unsettled(self) -> int:
        """How many outcomes are not settled for good."""
        return self._archive.unsettled()

    def tidy(self) -> None:
        """Mark segments in which nothing is open, and drop those that were marked a day ago."""
        self._archive.tidy(but=self._writer.file.number)

    def done(self) -> bool:
        """Tell whether nothing is open in any segment, the one that is written included."""
        return self._archive.done()

    def sync(self) -> None:
        """Force what was written to the disk; from any thread. JournalBroken where that failed."""
        try:
            self._writer.sync()
        except OSError as error:
            # What the disk lost of it is not told a second time.
            raise JournalBroken from error

    def fail(self) -> None:
        """Write nothing any more: what is on the disk is not known."""
        if not self.broken:
            self.broken = True
            self.on_broken()

    def close(self) -> None:
        """End the last segment, force all to the disk, and give the directory up."""
        whole = False
        try:
            if not self.broken:
                self._writer.close(synced=True)
                self._drop_reserve()
                self._archive.sync()
                whole = True
        except OSError:
            self.fail()
        finally:
            # Its descriptors may soon be those of other files.
            self.broken = True
            self._home.leave(synced=whole)

    def _load(self, *, again: bool) -> Past:
        past = self._archive.load(again=again)
        self._begun = {event_id: number for number, trace in past.traces.items() for event_id in trace.events}
        if self._archive.damaged:
            self._home.found_damage()
        return past

    def _copy_outcomes(self, number: int) -> None:
        """Write what is good of a damaged segment once more, where it has positions without gaps."""
        for record in salvage(self._archive.path_of(number).read_bytes()):
            if record.kind == Kind.OUTCOME:
                self.conclude(event_pb2.UsageEvent.FromString(record.payload))

    def _new_segment(self, room: int) -> SegmentWriter:
        """Take room for a segment. Its number is used up only when it is written to."""
        header = Header(self.edge.edge_id, self.edge.edge_epoch)
        return SegmentWriter(self._home.path, self._archive.next_number(), header=header, room=room)

    def _begin_segment(self, size: int = 0) -> None:
        reserve, self._reserve = self._reserve, None
        if reserve is not None and not reserve.has_room(size):
            reserve.drop()
            reserve = None
        self._writer = reserve or self._new_segment(max(self._segment_bytes, 2 * size))
        if self._home.synced:
            self._home.sync_names()
        #: Of the segment that is written.
        self._trace = self._archive.take(self._writer.file, Trace(self._writer.header))
        self._trace.end = self._writer.size

    def _drop_reserve(self) -> None:
        if self._reserve is not None:
            self._reserve.drop()
            self._reserve = None

    def _append(self, record: bytes) -> None:
        if self.broken:
            raise JournalBroken
        try:
            if not self._writer.has_room(len(record)):
                self._writer.close(synced=self._home.synced)
                self._begin_segment(len(record))
            self._writer.append(record)
        except OSError as error:
            self.fail()
            raise JournalBroken from error
        self._trace.end = self._writer.size

    def _bytes(self, segment: int, offset: int, size_max: int) -> bytes:
        if segment == self._writer.file.number:
            return self._writer.read(offset, size_max)
        with self._archive.path_of(segment).open("rb") as file:
            file.seek(offset)
            return file.read(size_max)


def open_journal(path: Path, *, boot_id: str, synced: bool) -> Journal:
    """Take a directory, begin its next epoch and read its past. HomeTaken, IdentityUnreadable, OSError."""
    home = Home.enter(path, boot_id=boot_id, synced=synced)
    try:
        return Journal(home)
    except BaseException:
        home.leave()
        raise
