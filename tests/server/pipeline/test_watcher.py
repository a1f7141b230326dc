"""One stream and what waits for it: bounded, and woken from another thread."""

import asyncio
import contextlib
import threading

from om_server.pipeline.change_feed import Audience
from om_server.pipeline.delivery import Cursor, Delivery
from om_server.pipeline.watcher import Watcher, watch
from om_server.storage.change import Change, ChangeKind

NOW = Cursor("inc", 1)
_TIMEOUT_S = 10


def delivery(count: int, *, first: bool = False, lost: bool = False) -> Delivery:
    changes = tuple(Change(1, ChangeKind.KEY_REVOKED, subject_id=f"key_{n}") for n in range(count))
    return Delivery(NOW, NOW, changes, first=first, lost=lost)


class FakeFeed:
    """Takes watchers in at once, with an empty first delivery."""

    def __init__(self) -> None:
        self.watchers: list[Audience] = []
        self.cursors: list[str] = []

    def join(self, watcher: Audience) -> None:
        self.watchers.append(watcher)
        self.cursors.append(watcher.cursor)
        watcher.deliver(delivery(0, first=True, lost=bool(watcher.cursor)))

    def leave(self, watcher: Audience) -> None:
        self.watchers.remove(watcher)

    def tell(self, *deliveries: Delivery) -> None:
        for one in deliveries:
            for watcher in list(self.watchers):
                watcher.deliver(one)


async def test_deliveries_come_in_order_from_another_thread() -> None:
    feed = FakeFeed()
    async with contextlib.aclosing(watch(feed, "edg", "")) as stream:
        await anext(stream)
        threading.Thread(target=feed.tell, args=(delivery(1), delivery(2))).start()

        assert [(await asyncio.wait_for(anext(stream), _TIMEOUT_S)).size for _ in range(2)] == [1, 2]


async def test_what_waits_for_a_slow_edge_is_dropped_and_it_starts_again() -> None:
    feed = FakeFeed()
    async with contextlib.aclosing(watch(feed, "edg", "", pending_max=5)) as stream:
        await anext(stream)
        feed.tell(*[delivery(3)] * 1000)

        again = await asyncio.wait_for(anext(stream), _TIMEOUT_S)

        assert (again.first, again.lost, again.changes) == (True, True, ())
        assert len(feed.watchers) == 1
        feed.tell(delivery(2))
        assert (await asyncio.wait_for(anext(stream), _TIMEOUT_S)).size == 2


async def test_an_edge_that_never_reads_costs_no_more_than_the_bound() -> None:
    watcher = Watcher("edg", "", pending_max=5)

    for _ in range(1000):
        watcher.deliver(delivery(1))
        await asyncio.sleep(0)

    assert watcher.lagging
    assert len(watcher._pending) == 0


async def test_a_slow_edge_asks_for_nothing_until_it_reads_again() -> None:
    feed = FakeFeed()
    async with contextlib.aclosing(watch(feed, "edg", "", pending_max=5)) as stream:
        await anext(stream)
        feed.tell(*[delivery(3)] * 1000)
        await asyncio.sleep(0)

        assert len(feed.cursors) == 1


async def test_a_first_delivery_is_taken_however_large() -> None:
    watcher = Watcher("edg", "", pending_max=5)

    watcher.deliver(delivery(100, first=True))

    told = await asyncio.wait_for(watcher.next(), _TIMEOUT_S)
    assert told is not None
    assert told.size == 100


async def test_a_stream_ends_behind_what_waits_and_leaves() -> None:
    feed = FakeFeed()
    stream = watch(feed, "edg", "")
    await anext(stream)
    feed.tell(delivery(1))
    feed.watchers[0].close()

    assert [told.size async for told in stream] == [1]
    assert feed.watchers == []


async def test_a_stream_that_is_broken_off_leaves() -> None:
    feed = FakeFeed()
    stream = watch(feed, "edg", "")
    await anext(stream)

    await stream.aclose()

    assert feed.watchers == []


def test_nobody_minds_a_delivery_to_a_loop_that_is_gone() -> None:
    async def make() -> Watcher:
        return Watcher("edg", "", pending_max=5)

    watcher = asyncio.run(make())

    watcher.deliver(delivery(1))
    watcher.close()
