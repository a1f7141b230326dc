"""What the one poller of a process does at each look: read the log, hand each edge what concerns it.

However many edges watch, a look is one statement, and one more for all those that have joined since the
last. What was read lately is kept in memory, so that an edge that comes back misses nothing.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import structlog

from om_server.core.clock import MICROS_PER_SECOND
from om_server.core.errors import DependencyUnavailable
from om_server.pipeline.delivery import Cursor, Delivery, Dispatch
from om_server.storage.change import ChangeKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from om_server.core.clock import Clock
    from om_server.storage.change import Change, Reading, Settled
    from om_server.storage.change_log import ChangeLog

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class FeedLimits:
    """How often the log is read, how much is kept of it, and where."""

    poll_interval_s: float = 0.2
    #: The least time between two looks, however much is written: it keeps SQLite's wake-ups cheap.
    poll_gap_s: float = 0.01
    heartbeat_interval_s: float = 5.0
    #: How often the queue is asked which life it is in, and how soon again if it did not answer.
    queue_interval_s: float = 1.0
    queue_retry_s: float = 5.0
    prune_interval_s: float = 60.0
    #: Changes in memory, from which an edge resumes, and at most so many are read in one look.
    history_max: int = 10_000
    #: How long changes stay in the log; a poller that saw nothing for so long begins again.
    keep_s: int = 900
    #: How long it is known which events of a silent epoch are settled.
    keep_settled_s: int = 7 * 24 * 3600


class Audience(Protocol):
    """Who is told. Both calls come from the poller's thread and must not wait."""

    edge_id: str
    cursor: str

    def deliver(self, delivery: Delivery) -> None: ...

    def close(self) -> None: ...


class ChangeFeed:
    """Joined and left on any thread; `look` belongs to the poller alone."""

    def __init__(
        self,
        log: ChangeLog,
        *,
        clock: Clock,
        limits: FeedLimits,
        queue_incarnation: Callable[[], str] = str,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = limits
        self._log = log
        self._clock = clock
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._watchers: set[Audience] = set()
        self._newcomers: set[Audience] = set()
        self._history: deque[Change] = deque()
        #: Who resumes at or above it finds everything in the history.
        self._complete_from = 0
        self._reading: Reading | None = None
        self._closed = False
        self._read_time = self._heartbeat_time = monotonic()
        self._prune_time: float | None = None
        self._queue_incarnation = queue_incarnation
        self._queue = self._queue_told = ""
        self._queue_time: float | None = None

    def join(self, watcher: Audience) -> None:
        """Tell a watcher, from the next look on, what happens from its cursor on."""
        with self._lock:
            if not self._closed:
                self._newcomers.add(watcher)
                return
        watcher.close()

    def leave(self, watcher: Audience) -> None:
        """Tell a watcher nothing more."""
        with self._lock:
            self._newcomers.discard(watcher)
            self._watchers.discard(watcher)

    def close(self) -> None:
        """End all streams, those that join later too."""
        with self._lock:
            self._closed = True
            everybody = self._watchers | self._newcomers
        for watcher in everybody:
            watcher.close()

    def look(self) -> None:
        """Read what is new and deliver it; then take in who has joined. Raises if the database is away."""
        self._prune()
        self._look_at_queue()
        last = self._reading
        reading = self._read(last)
        if reading is None:
            last, reading = None, self._begin()
        with self._lock:
            watchers, newcomers = tuple(self._watchers), tuple(self._newcomers)
        cursor = Cursor(reading.incarnation, reading.position.floor)
        if last is None:
            # They stay, and all that they were told before may be wrong by now.
            newcomers, watchers = (*newcomers, *watchers), ()
        else:
            self._deliver(watchers, reading, before=Cursor(last.incarnation, last.position.floor))
            self._reading = reading
        if newcomers:
            self._take_in(newcomers, cursor)
        self._reading, self._read_time = reading, self._monotonic()
        self._queue_told = self._queue

    def _look_at_queue(self) -> None:
        """Ask at an interval which life the queue is in; while it is away the last answer stands."""
        started = self._monotonic()
        if self._queue_time is not None and started - self._queue_time < self._limits.queue_interval_s:
            return
        self._queue_time = started
        try:
            self._queue = self._queue_incarnation()
        except DependencyUnavailable:
            # It may take its time to say so, and what the database has to tell must not wait each time.
            self._queue_time = self._monotonic() + self._limits.queue_retry_s - self._limits.queue_interval_s

    def _read(self, last: Reading | None) -> Reading | None:
        """Return what is new; None if that cannot be told, and the history is worth nothing."""
        if last is None or self._monotonic() - self._read_time > self._limits.keep_s / 2:
            return None
        reading = self._log.since(last.position, self._limits.history_max)
        replaced = reading.incarnation != last.incarnation or reading.position.floor < last.position.floor
        if replaced or reading.cut_off:
            _log.warning("changes_lost", replaced=replaced)
            return None
        self._remember(reading.changes)
        return reading

    def _begin(self) -> Reading:
        reading = self._log.newest(self._limits.history_max)
        self._history.clear()
        # The oldest that is left may have had others before it, of its own transaction too.
        oldest = min((change.transaction for change in reading.changes), default=-1)
        self._complete_from = oldest + 1
        self._remember(reading.changes)
        return reading

    def _remember(self, changes: tuple[Change, ...]) -> None:
        # What is settled is told in full to whoever comes back.
        self._history.extend(change for change in changes if change.kind is not ChangeKind.SETTLED)
        while len(self._history) > self._limits.history_max:
            dropped = self._history.popleft()
            self._complete_from = max(self._complete_from, dropped.transaction + 1)

    def _deliver(self, watchers: tuple[Audience, ...], reading: Reading, *, before: Cursor) -> None:
        after = Cursor(reading.incarnation, reading.position.floor)
        due = self._monotonic() - self._heartbeat_time >= self._limits.heartbeat_interval_s
        beat = due or self._queue != self._queue_told
        if not beat and not reading.changes:
            return
        dispatch = Dispatch(reading.changes, before=before, after=after)
        life = Delivery(after, after) if beat else None
        for watcher in watchers:
            delivery = dispatch.delivery(watcher.edge_id) or life
            if delivery is not None:
                self._tell(watcher, delivery)
        if beat:
            self._heartbeat_time = self._monotonic()

    def _take_in(self, newcomers: tuple[Audience, ...], cursor: Cursor) -> None:
        """Give each newcomer what it has missed, and all that is settled of its edge."""
        settled = self._log.settled(sorted({watcher.edge_id for watcher in newcomers}))
        with self._lock:
            # Whoever has left meanwhile is in neither.
            known = self._watchers.intersection(newcomers)
            fresh = self._newcomers.intersection(newcomers)
            self._newcomers -= fresh
            self._watchers |= fresh
        for watcher in known:
            own = settled.get(watcher.edge_id, {})
            self._tell(watcher, Delivery(cursor, cursor, settled=own, first=True, lost=True))
        for watcher in fresh:
            self._tell(watcher, self._first(watcher, cursor, settled.get(watcher.edge_id, {})))

    def _tell(self, watcher: Audience, delivery: Delivery) -> None:
        watcher.deliver(replace(delivery, queue=self._queue))

    def _first(self, watcher: Audience, now: Cursor, settled: Settled) -> Delivery:
        then = Cursor.parse(watcher.cursor)
        if then is None or then.incarnation != now.incarnation:
            return Delivery(now, now, settled=settled, first=True, lost=bool(watcher.cursor))
        if not self._complete_from <= then.floor <= now.floor:
            return Delivery(now, now, settled=settled, first=True, lost=True)
        missed = (change for change in self._history if change.transaction >= then.floor)
        replay = Dispatch(missed, before=then, after=now).delivery(watcher.edge_id)
        return Delivery(then, now, replay.changes if replay else (), settled, first=True)

    def _prune(self) -> None:
        started = self._monotonic()
        if self._prune_time is not None and started - self._prune_time < self._limits.prune_interval_s:
            return
        # What cannot be deleted now does not keep anybody from reading.
        self._prune_time = started
        now, second = self._clock(), MICROS_PER_SECOND
        self._log.prune(
            before=now - self._limits.keep_s * second,
            now=now,
            forget_before=now - self._limits.keep_settled_s * second,
        )
