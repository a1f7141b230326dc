"""What is kept of a journal: its segments, what is open in each, and which outcomes are settled.

A segment is settled when every call that began in it has ended, every outcome in it is settled, every lease
in it is closed, and all that is true of the segments before it: a later one may say how a call of an earlier
one ended. A settled segment is kept for a day more, for a store that is restored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import structlog

from om_proxy.journal.home import sync_file
from om_proxy.journal.ranges import Ranges
from om_proxy.journal.record import Damaged, Kind, Record, pack_value, salvage, scan
from om_proxy.journal.replay import Past, Trace
from om_proxy.journal.segment import SegmentFile, segment_files

_log = structlog.get_logger(__name__)

_KEEP_S = 24 * 3600


class Archive:
    """The segments of one directory, the one that is written included."""

    def __init__(self, path: Path, *, now: Callable[[], float]) -> None:
        """`now` is seconds since 1970, as the file system has it."""
        self.traces: dict[int, Trace] = {}
        #: Segments that were found damaged, until what is good of them is written again.
        self.damaged: set[int] = set()
        self._path = path
        self._now = now
        self._files: dict[int, SegmentFile] = {}
        #: When each settled segment was written last: a day of them is too many to ask the disk about often.
        self._written_at: dict[int, float] = {}
        self._settled: dict[int, Ranges] = {}

    def load(self, *, again: bool) -> Past:
        """Read all that is not settled; with `again` all that is kept, which is open then."""
        past = Past()
        self._written_at.clear()
        if again:
            self._settled.clear()
        for listed in segment_files(self._path):
            file = listed.renamed("open") if again and listed.state == "settled" else listed
            self._files[file.number] = file
            if file.state == "open":
                past.add(file.number, self._records_of(file))
                if file.number not in past.traces:
                    # Room was taken for it, and nothing was written.
                    self._files.pop(file.number).path.unlink()
            elif file.state == "settled":
                self._keep(file)
        self.traces = past.traces
        return past

    def next_number(self) -> int:
        """Give the number of a new segment."""
        return max(self._files, default=0) + 1

    def take(self, file: SegmentFile, trace: Trace) -> Trace:
        """Add a segment to which nothing was written yet."""
        self._files[file.number] = file
        self.traces[file.number] = trace
        return trace

    def path_of(self, number: int) -> Path:
        """Tell where a segment is."""
        return self._files[number].path

    def set_aside(self, number: int) -> None:
        """Put a damaged segment away: what is good of it is elsewhere, and an owner may look at the rest."""
        self._files.pop(number).renamed("damaged")
        self.damaged.discard(number)
        del self.traces[number]

    def settle(self, edge_epoch: int, ranges: Iterable[tuple[int, int]]) -> None:
        """Take in which positions are settled for good."""
        settled = self._settled.setdefault(edge_epoch, Ranges())
        for first, last in ranges:
            settled.add(first, last)

    def covers(self, edge_epoch: int, first: int, last: int) -> bool:
        """Tell whether all outcomes of a run are settled for good."""
        settled = self._settled.get(edge_epoch)
        return first > last or (settled is not None and settled.cover(first, last))

    def unsettled(self) -> int:
        """How many outcomes are not settled for good."""
        count = 0
        for trace in self.traces.values():
            if trace.last_sequence:
                settled = self._settled.get(trace.header.edge_epoch, Ranges())
                first, last = trace.first_sequence, trace.last_sequence
                count += last - first + 1 - settled.count(first, last)
        return count

    def tidy(self, *, but: int) -> None:
        """Mark segments in which nothing is open, and drop those that were marked a day ago."""
        for number, trace in sorted(self.traces.items()):
            if number == but or not self._is_done(trace):
                break
            del self.traces[number]
            if trace.end > len(pack_value(Kind.HEADER, trace.header)):
                # Also without an outcome: what it says of leases a restored store has to hear.
                self._keep(self._files[number].renamed("settled"))
            else:
                self._files.pop(number).path.unlink()
        self._drop_old()
        epochs = {trace.header.edge_epoch for trace in self.traces.values()}
        self._settled = {epoch: ranges for epoch, ranges in self._settled.items() if epoch in epochs}

    def sync(self) -> None:
        """Force all that is open to the disk, with its names: the machine may go down now."""
        for number in self.traces:
            sync_file(self._files[number].path)
        sync_file(self._path)

    def done(self) -> bool:
        """Tell whether nothing is open in any segment."""
        return all(self._is_done(trace) for trace in self.traces.values())

    def _is_done(self, trace: Trace) -> bool:
        settled = self.covers(trace.header.edge_epoch, trace.first_sequence, trace.last_sequence)
        return settled and not trace.events and not trace.leases

    def _keep(self, file: SegmentFile) -> None:
        self._files[file.number] = file
        self._written_at[file.number] = file.path.stat().st_mtime

    def _drop_old(self) -> None:
        oldest = self._now() - _KEEP_S
        for number in [number for number, at in self._written_at.items() if at < oldest]:
            self._files.pop(number).path.unlink()
            del self._written_at[number]

    def _records_of(self, file: SegmentFile) -> Iterator[Record]:
        data = file.path.read_bytes()
        try:
            records = list(scan(data))
        except Damaged as damage:
            _log.error("journal_damaged", segment=file.path.name, offset=damage.offset)
            self.damaged.add(file.number)
            records = list(salvage(data))
        yield from records
