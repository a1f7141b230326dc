"""One stream of settled events: what waits for it between the poller's thread and the event loop.

What waits is bounded. Who reads too slowly loses it, and the stream ends with an error that says so.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from om_server.core.errors import Code, DomainError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from om_server.analytics.query import EventFilter
    from om_server.analytics.settled import SettledEvent
    from om_server.rpc.caller import Caller

#: Events that may wait for one stream.
PENDING_MAX = 5_000


class ReaderTooSlow(DomainError):
    """More waited for the stream than may. Resume from the last cursor."""

    code = Code.RESOURCE_EXHAUSTED
    reason = "READER_TOO_SLOW"

    def __init__(self) -> None:
        super().__init__(f"over {PENDING_MAX} events waited to be read; resume from the last cursor")


class CursorExpired(DomainError):
    """What happened since the cursor is too old, too much, or of another store. Export it, and watch anew."""

    code = Code.OUT_OF_RANGE
    reason = "CURSOR_EXPIRED"

    def __init__(self) -> None:
        super().__init__(
            "what happened since the cursor cannot be told; export it and watch without a cursor"
        )


@dataclass(frozen=True, slots=True)
class Told:
    """An event, or none as a sign of life, and the cursor from which to go on after it."""

    event: SettledEvent | None
    cursor: str


class Audience(Protocol):
    """Who is told. The calls come from the poller's thread and must not wait."""

    #: Who watches: an organization's own events, for as long as he would be let in.
    watcher: Caller
    wanted: EventFilter
    #: From where to go on; empty to start now.
    cursor: str
    pending_max: int

    def tell(self, events: Sequence[SettledEvent], *, before: str, after: str) -> None: ...

    def fail(self, error: DomainError) -> None: ...

    def close(self) -> None: ...


class Feed(Protocol):
    """Where a stream learns what was settled."""

    def join(self, stream: Audience, /) -> None: ...

    def leave(self, stream: Audience, /) -> None: ...


class EventStream:
    """Made on the event loop that reads it; `tell`, `fail` and `close` may be called on any thread."""

    def __init__(
        self, watcher: Caller, wanted: EventFilter, *, cursor: str, pending_max: int = PENDING_MAX
    ) -> None:
        self.watcher = watcher
        self.wanted = wanted
        #: Read by the feed when it takes the stream in.
        self.cursor = cursor
        self.pending_max = pending_max
        self._pending: deque[Told] = deque()
        self._failure: DomainError | None = None
        self._ended = False
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def tell(self, events: Sequence[SettledEvent], *, before: str, after: str) -> None:
        """Hand over events, or a sign of life; the last moves the cursor, the others may be told again."""
        told = [Told(event, before) for event in events] or [Told(None, after)]
        told[-1] = Told(told[-1].event, after)
        self._call(lambda: self._take(told))

    def fail(self, error: DomainError) -> None:
        """End the stream with an error; what waits is dropped."""
        self._call(lambda: self._stop(error))

    def close(self) -> None:
        """End the stream behind what waits."""
        self._call(self._end)

    async def next(self) -> Told | None:
        """Return what is told next, None at the end; raises what the stream failed with."""
        while not self._pending and not self._ended and self._failure is None:
            self._changed.clear()
            await self._changed.wait()
        if self._failure is not None:
            raise self._failure
        return self._pending.popleft() if self._pending else None

    def _call(self, then: Callable[[], None]) -> None:
        # The loop of a stream that has ended may be closed by now.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(then)

    def _take(self, told: list[Told]) -> None:
        if len(self._pending) + len(told) > self.pending_max:
            self._stop(ReaderTooSlow())
        elif self._failure is None:
            self._pending.extend(told)
            self._changed.set()

    def _stop(self, error: DomainError) -> None:
        self._failure = self._failure or error
        self._pending.clear()
        self._changed.set()

    def _end(self) -> None:
        self._ended = True
        self._changed.set()


async def watch(feed: Feed, stream: EventStream) -> AsyncGenerator[Told, None]:
    """Give what is told to a stream until the feed stops. Costs no thread and asks no database."""
    feed.join(stream)
    try:
        while (told := await stream.next()) is not None:
            yield told
    finally:
        feed.leave(stream)
