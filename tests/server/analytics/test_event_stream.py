from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from om.analytics.v1 import analytics_service_pb2 as pb
from om.analytics.v1.analytics_service_pb2_grpc import AnalyticsServiceStub
from om_server.analytics.event_stream import Audience, EventStream, ReaderTooSlow, watch
from om_server.analytics.operations import AnalyticsOperations
from om_server.analytics.query import EventFilter
from om_server.analytics.store import AnalyticsStore
from om_server.pipeline.change_feed import FeedLimits
from om_server.pipeline.poller import Poller
from tests.rpc import Keyring, bearer, failing, key_caller, serving
from tests.server.analytics.examples import NOW, ORG, OTHER_ORG, settled
from tests.server.analytics.streaming import event_feed, servicer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from om_server.storage.database import Database


class Lobby:
    """A feed that only knows who is there."""

    def __init__(self) -> None:
        self.present: list[Audience] = []

    def join(self, stream: Audience) -> None:
        self.present.append(stream)

    def leave(self, stream: Audience) -> None:
        self.present.remove(stream)


def stream_of(pending_max: int = 3) -> EventStream:
    return EventStream(key_caller(organization_id=ORG), EventFilter(), cursor="", pending_max=pending_max)


@pytest.mark.asyncio
async def test_only_the_last_of_what_is_told_moves_the_cursor() -> None:
    stream = stream_of()
    stream.tell([settled("a"), settled("b")], before="i.1", after="i.2")
    stream.tell([], before="i.2", after="i.3")

    told = [await stream.next() for _ in range(3)]

    assert [(one.event.event.event_id if one.event else "", one.cursor) for one in told if one] == [
        ("a", "i.1"),
        ("b", "i.2"),
        ("", "i.3"),
    ]


@pytest.mark.asyncio
async def test_a_slow_reader_is_told_so_and_nothing_waits_for_it_any_more() -> None:
    stream, lobby = stream_of(pending_max=2), Lobby()
    reading = watch(lobby, stream)
    stream.tell([settled("a")], before="", after="i.1")
    first = await anext(reading)
    stream.tell([settled("b"), settled("c")], before="i.1", after="i.2")
    stream.tell([settled("d")], before="i.2", after="i.3")
    await asyncio.sleep(0)

    with pytest.raises(ReaderTooSlow):
        await anext(reading)

    assert first.cursor == "i.1"
    assert (lobby.present, len(stream._pending)) == ([], 0)


@pytest.mark.asyncio
async def test_a_stream_that_is_closed_ends_behind_what_waits() -> None:
    stream, lobby = stream_of(), Lobby()
    stream.tell([settled("a")], before="", after="i.1")
    stream.close()

    assert [told.cursor async for told in watch(lobby, stream)] == ["i.1"]
    assert lobby.present == []


@pytest.mark.asyncio
async def test_a_reader_that_leaves_is_forgotten() -> None:
    stream, lobby = stream_of(), Lobby()
    async with contextlib.aclosing(watch(lobby, stream)) as reading:
        stream.tell([], before="", after="i.1")
        await anext(reading)
        assert lobby.present == [stream]

    assert lobby.present == []


@pytest.fixture
def operations(database: Database) -> AnalyticsOperations:
    return AnalyticsOperations(database, AnalyticsStore(database), clock=lambda: NOW)


@pytest.fixture
def stub(database: Database, operations: AnalyticsOperations) -> Iterator[AnalyticsServiceStub]:
    poller = Poller(event_feed(database), FeedLimits(poll_interval_s=0.01))
    keys = Keyring({"ours": key_caller(organization_id=ORG), "theirs": key_caller(organization_id=OTHER_ORG)})
    with serving([servicer(database, operations, feed=poller)], keys) as channel:
        yield AnalyticsServiceStub(channel)
        poller.stop()


def test_a_caller_watches_its_own_events_and_goes_on_where_it_was(
    operations: AnalyticsOperations, stub: AnalyticsServiceStub
) -> None:
    ours = stub.WatchEvents(pb.WatchEventsRequest(), metadata=bearer("ours"))
    theirs = stub.WatchEvents(pb.WatchEventsRequest(), metadata=bearer("theirs"))
    begun = [next(ours), next(theirs)]
    operations.record([settled("a"), settled("b", organization_id=OTHER_ORG)])

    first, behind, other = next(ours), next(ours), next(theirs)
    ours.cancel()
    operations.record([settled("c", settle_time=NOW + 9)])
    again = stub.WatchEvents(pb.WatchEventsRequest(cursor=behind.cursor), metadata=bearer("ours"))
    resumed = next(again)

    assert not any(sign.HasField("event") for sign in (*begun, behind))
    assert all(sign.cursor for sign in begun)
    assert (first.event.event.event_id, other.event.event.event_id) == ("a", "b")
    assert first.event.cost.amount_nanos == 10
    assert resumed.event.event.event_id == "c"
    again.cancel()
    theirs.cancel()


def test_a_cursor_that_is_none_is_refused(stub: AnalyticsServiceStub) -> None:
    with failing() as failures:
        next(stub.WatchEvents(pb.WatchEventsRequest(cursor="inc_other.7"), metadata=bearer("ours")))
    with failing() as more:
        next(stub.WatchEvents(pb.WatchEventsRequest(cursor="soon"), metadata=bearer("ours")))

    assert (failures[0].reason, failures[0].code.name) == ("CURSOR_EXPIRED", "OUT_OF_RANGE")
    assert (more[0].reason, list(more[0].violations)) == ("INVALID_ARGUMENT", ["cursor"])
