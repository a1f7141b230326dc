"""One edge that watches: what waits for it between the poller's thread and its stream on the event loop.

What waits is bounded. An edge that reads too slowly loses it, and is told so when it reads again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from om_server.pipeline.change_feed import Audience
    from om_server.pipeline.delivery import Delivery

#: Messages that may wait for one edge.
PENDING_MAX = 1_000

#: No server wrote such a cursor, so the answer is that changes were lost.
_LOST = "lost"


class Feed(Protocol):
    """Where a watcher learns what happens."""

    def join(self, watcher: Audience) -> None: ...

    def leave(self, watcher: Audience) -> None: ...


class Watcher:
    """Made on the event loop of its stream; `deliver` and `close` may be called on any thread."""

    def __init__(self, edge_id: str, cursor: str, *, pending_max: int) -> None:
        self.edge_id = edge_id
        #: Read by the feed when it takes the watcher in.
        self.cursor = cursor
        self.lagging = False
        self._pending: deque[Delivery] = deque()
        self._pending_max = pending_max
        self._size = 0
        self._ended = False
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def deliver(self, delivery: Delivery) -> None:
        """Hand over what happened."""
        self._call(lambda: self._take(delivery))

    def close(self) -> None:
        """End the stream behind what waits."""
        self._call(self._end)

    async def next(self) -> Delivery | None:
        """Return the next delivery; None at the end, or if it has to be taken in again."""
        while not self._pending and not self._ended and not self.lagging:
            self._changed.clear()
            await self._changed.wait()
        if not self._pending:
            return None
        delivery = self._pending.popleft()
        self._size -= delivery.size
        return delivery

    def _call(self, then: Callable[[], None]) -> None:
        # The loop of a stream that has ended may be closed by now.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(then)

    def _take(self, delivery: Delivery) -> None:
        if self.lagging:
            return
        # A first delivery is bounded by the feed, and there is no other way to learn what is in it.
        if self._size + delivery.size > self._pending_max and not delivery.first:
            self.lagging = True
            self._pending.clear()
            self._size = 0
        else:
            self._pending.append(delivery)
            self._size += delivery.size
        self._changed.set()

    def _end(self) -> None:
        self._ended = True
        self._changed.set()


async def watch(
    feed: Feed, edge_id: str, cursor: str, *, pending_max: int = PENDING_MAX
) -> AsyncGenerator[Delivery, None]:
    """Give what concerns an edge until the feed stops. Costs no thread and asks no database."""
    while True:
        watcher = Watcher(edge_id, cursor, pending_max=pending_max)
        feed.join(watcher)
        try:
            while (delivery := await watcher.next()) is not None:
                yield delivery
        finally:
            feed.leave(watcher)
        if not watcher.lagging:
            return
        cursor = _LOST
