"""What the one poller of event streams does at each look: read what was settled, hand it to who watches.

However many streams watch an organization, what it settled is read once. Nothing is read while nobody
watches. What is told may be told again: an event's identity says so.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from om_server.analytics.event_store import settled_cursor_of
from om_server.analytics.event_stream import CursorExpired
from om_server.core.clock import MICROS_PER_SECOND
from om_server.core.errors import InvalidArgument, Overloaded, Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from om_server.analytics.event_store import EventStore
    from om_server.analytics.event_stream import Audience
    from om_server.analytics.settled import SettledEvent
    from om_server.analytics.settlement_log import News, Progress, Settlement, SettlementLog
    from om_server.core.clock import Clock
    from om_server.core.page import Cursor
    from om_server.rpc.caller import Caller
    from om_server.storage.database import Database

#: Events that one statement reads.
_PAGE = 500


def _nobody(_callers: Collection[Caller]) -> Collection[Caller]:
    return ()


@dataclass(frozen=True, slots=True)
class EventFeedLimits:
    """How many watch, how often they hear of life and are looked at, and how long cursors are good."""

    #: Streams of one organization. Each is a call that a server has open, and those are counted too.
    streams_max: int = 100

    heartbeat_interval_s: float = 10.0
    #: A wake-up may follow another within milliseconds; who watches is not asked about each time.
    standing_interval_s: float = 0.2
    prune_interval_s: float = 60.0
    keep_s: int = 900


class EventFeed:
    """Joined and left on any thread; `look` belongs to the poller alone."""

    def __init__(  # noqa: PLR0913 - one argument for each part that the composition root gives
        self,
        database: Database,
        log: SettlementLog,
        events: EventStore,
        *,
        clock: Clock,
        lost: Callable[[Collection[Caller]], Collection[Caller]] = _nobody,
        limits: EventFeedLimits | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`lost` tells which of these callers would not be let in any more."""
        self._database = database
        self._log = log
        self._events = events
        self._clock = clock
        self._lost = lost
        self._limits = limits or EventFeedLimits()
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._streams: set[Audience] = set()
        self._newcomers: set[Audience] = set()
        self._closed = False
        self._progress: Progress | None = None
        self._heartbeat_time = self._standing_time = monotonic()
        self._prune_time: float | None = None

    def join(self, stream: Audience) -> None:
        """Tell a stream, from the next look on, what is settled from its cursor on."""
        with self._lock:
            closed, full = self._closed, self._count(stream.watcher) >= self._limits.streams_max
            if not closed and not full:
                self._newcomers.add(stream)
                return
        if closed:
            stream.close()
        else:
            stream.fail(Overloaded("the organization watches with as many streams as it may; close some"))

    def leave(self, stream: Audience) -> None:
        """Tell a stream nothing more."""
        with self._lock:
            self._newcomers.discard(stream)
            self._streams.discard(stream)

    def close(self) -> None:
        """End all streams, those that join later too."""
        with self._lock:
            self._closed = True
            everybody = self._streams | self._newcomers
        for stream in everybody:
            stream.close()

    def look(self) -> None:
        """Tell what was settled since the last look; then take in who has joined."""
        with self._lock:
            streams, newcomers = tuple(self._streams), tuple(self._newcomers)
        if not streams and not newcomers:
            self._progress = None
            return
        self._prune()
        streams = tuple(self._still_in(streams))
        last, news = self._progress, self._news()
        if last is not None and _replaced(last, news.progress):
            for stream in streams:
                stream.fail(CursorExpired())
        elif last is not None:
            self._tell(streams, news, before=last)
        self._progress = news.progress
        for stream in newcomers:
            self._take_in(stream, news)

    def _count(self, watcher: Caller) -> int:
        everybody = (*self._streams, *self._newcomers)
        return sum(stream.watcher.organization_id == watcher.organization_id for stream in everybody)

    def _still_in(self, streams: Sequence[Audience]) -> Sequence[Audience]:
        """End the streams of those who would not be let in any more; return the others."""
        now = self._monotonic()
        if not streams or now - self._standing_time < self._limits.standing_interval_s:
            return streams
        lost = self._lost([stream.watcher for stream in streams])
        self._standing_time = now
        for stream in streams:
            if stream.watcher in lost:
                self.leave(stream)
                stream.fail(Unauthenticated())
        return [stream for stream in streams if stream.watcher not in lost]

    def _news(self) -> News:
        return self._log.now() if self._progress is None else self._log.since(self._progress)

    def _tell(self, streams: Sequence[Audience], news: News, *, before: Progress) -> None:
        watched = {stream.watcher.organization_id for stream in streams}
        for organization_id in sorted(watched & {owner for owner, _ in news.settlements}):
            audience = [stream for stream in streams if stream.watcher.organization_id == organization_id]
            for page in self._pages(organization_id, news.settlements):
                for stream in audience:
                    if wanted := _wanted(stream, page):
                        # A page is not all of the look, so that only a sign of life moves the cursor.
                        stream.tell(wanted, before=_cursor(before), after=_cursor(before))
            for stream in audience:
                stream.tell((), before=_cursor(before), after=_cursor(news.progress))
        if self._monotonic() - self._heartbeat_time >= self._limits.heartbeat_interval_s:
            self._heartbeat_time = self._monotonic()
            for stream in streams:
                stream.tell((), before=_cursor(before), after=_cursor(news.progress))

    def _take_in(self, stream: Audience, news: News) -> None:
        """Tell a newcomer what it has missed, if that is known and not too much."""
        with self._lock:
            # Whoever has left meanwhile is in neither.
            if stream not in self._newcomers:
                return
            self._newcomers.discard(stream)
            self._streams.add(stream)
        if stream.cursor:
            cursor = _read(stream.cursor)
            if cursor is None:
                stream.fail(InvalidArgument("cursor", "not a cursor of this stream"))
                return
            incarnation, floor = cursor
            if incarnation != news.progress.incarnation or floor < news.complete_from:
                stream.fail(CursorExpired())
                return
            if not self._tell_missed(stream, floor):
                return
        stream.tell((), before=stream.cursor, after=_cursor(news.progress))

    def _tell_missed(self, stream: Audience, floor: int) -> bool:
        missed, count = self._log.missed(stream.watcher.organization_id, floor), 0
        for page in self._pages(stream.watcher.organization_id, missed.settlements):
            wanted = _wanted(stream, page)
            count += len(wanted)
            # The sign of life behind them needs a place too.
            if count >= stream.pending_max:
                stream.fail(CursorExpired())
                return False
            if wanted:
                stream.tell(wanted, before=stream.cursor, after=stream.cursor)
        return True

    def _pages(self, organization_id: str, settlements: Iterable[Settlement]) -> Iterator[list[SettledEvent]]:
        times = sorted(time for owner, time in settlements if owner == organization_id)
        for start in range(0, len(times), _PAGE):
            after: Cursor | None = None
            while page := self._page(organization_id, times[start : start + _PAGE], after=after):
                yield page
                after = settled_cursor_of(page[-1])

    def _page(
        self, organization_id: str, times: Sequence[int], *, after: Cursor | None
    ) -> list[SettledEvent]:
        return self._database.read(
            lambda: self._events.settled_page(organization_id, times, after=after, limit=_PAGE)
        )

    def _prune(self) -> None:
        now = self._monotonic()
        if self._prune_time is None or now - self._prune_time >= self._limits.prune_interval_s:
            self._prune_time = now
            self._log.prune(before=self._clock() - self._limits.keep_s * MICROS_PER_SECOND)


def _wanted(stream: Audience, page: Iterable[SettledEvent]) -> list[SettledEvent]:
    return [event for event in page if stream.wanted.matches_event(event)]


def _replaced(last: Progress, now: Progress) -> bool:
    """Whether the store is another one, or an older copy of it."""
    return now.incarnation != last.incarnation or now.floor < last.floor


def _cursor(progress: Progress) -> str:
    return f"{progress.incarnation}.{progress.floor}"


def _read(cursor: str) -> tuple[str, int] | None:
    """Read a cursor; None for what no server wrote."""
    incarnation, _, floor = cursor.rpartition(".")
    if not incarnation or not floor.isascii() or not floor.isdigit() or len(floor) > len(str(2**63)) - 1:
        return None
    return incarnation, int(floor)
