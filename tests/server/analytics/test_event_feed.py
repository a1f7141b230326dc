from __future__ import annotations

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from om_server.analytics.event_feed import EventFeed, EventFeedLimits
from om_server.analytics.event_stream import CursorExpired
from om_server.analytics.operations import AnalyticsOperations
from om_server.analytics.query import EventFilter
from om_server.analytics.settled import SettledState
from om_server.analytics.store import AnalyticsStore
from om_server.core.errors import InvalidArgument, Overloaded, Unauthenticated
from om_server.core.hours import HOUR
from om_server.rpc.caller import Caller, Principal
from om_server.schema import MODELS
from om_server.storage.postgresql import PostgresStore
from tests.rpc import key_caller
from tests.server.analytics.examples import NOW, ORG, OTHER_ORG, line, settled
from tests.server.analytics.streaming import event_feed

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from om_server.analytics.settled import SettledEvent
    from om_server.core.errors import DomainError
    from om_server.storage.database import Database
    from tests.databases import PostgresTemplate


@dataclass(eq=False)
class Recorder:
    """Writes down what it is told."""

    watcher: Caller = key_caller(organization_id=ORG)  # noqa: RUF009 - it cannot change
    wanted: EventFilter = EventFilter()  # noqa: RUF009 - it cannot change
    cursor: str = ""
    pending_max: int = 1_000
    ids: list[str] = field(default_factory=list)
    signs: int = 0
    failure: DomainError | None = None
    closed: bool = False

    def tell(self, events: Sequence[SettledEvent], *, before: str, after: str) -> None:
        assert self.failure is None
        self.ids += [event.event.event_id for event in events]
        self.signs += not events
        self.cursor = after

    def fail(self, error: DomainError) -> None:
        self.failure = error

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def operations(database: Database) -> AnalyticsOperations:
    return AnalyticsOperations(database, AnalyticsStore(database), clock=lambda: NOW)


@pytest.fixture
def feed(database: Database) -> EventFeed:
    return event_feed(database)


def joined(feed: EventFeed, *streams: Recorder) -> Recorder:
    for stream in streams:
        feed.join(stream)
    feed.look()
    return streams[0]


def test_what_is_settled_after_a_stream_joined_is_told_once(
    operations: AnalyticsOperations, feed: EventFeed
) -> None:
    operations.record([settled("before", settle_time=NOW - 9)])
    stream = joined(feed, Recorder())
    operations.record([settled("a"), settled("b", settle_time=NOW + 9)])
    feed.look()
    feed.look()
    operations.record([settled("c", settle_time=NOW + 10)])
    feed.look()

    assert stream.ids == ["a", "b", "c"]
    assert stream.failure is None


def test_nothing_of_another_organization_is_told(operations: AnalyticsOperations, feed: EventFeed) -> None:
    ours, theirs = Recorder(), Recorder(key_caller(organization_id=OTHER_ORG))
    joined(feed, ours, theirs)

    operations.record([settled("ours"), settled("theirs", organization_id=OTHER_ORG)])
    feed.look()

    assert (ours.ids, theirs.ids) == (["ours"], ["theirs"])


def test_a_stream_is_told_what_its_filter_wants(operations: AnalyticsOperations, feed: EventFeed) -> None:
    filters = {
        "user": EventFilter(user_ids=("u",)),
        "tag": EventFilter(tags=("y", "z")),
        "provider": EventFilter(providers=("Anthropic",)),
        "sandbox": EventFilter(include_sandbox=True),
        "range": EventFilter(start_time=NOW + 10, end_time=NOW + 20),
    }
    streams = {name: Recorder(wanted=wanted) for name, wanted in filters.items()}
    joined(feed, *streams.values())

    operations.record(
        [
            settled("a", user_id="u", tags=("x",)),
            settled("b", line("gpt-4o"), line("claude-4"), tags=("y", "x")),
            settled("c", sandbox=True),
        ]
    )
    feed.look()

    assert {name: stream.ids for name, stream in streams.items()} == {
        "user": ["a"],
        "tag": ["b"],
        "provider": ["b"],
        "sandbox": ["a", "b", "c"],
        "range": ["a", "b"],
    }


def test_an_event_is_told_again_when_it_gets_its_price(
    operations: AnalyticsOperations, feed: EventFeed
) -> None:
    stream = joined(feed, Recorder())
    waiting = settled("e", line(cost=None, charge=None), state=SettledState.UNRATED, cost=None, charge=None)
    operations.record([waiting])
    feed.look()
    operations.revise([waiting], [settled("e", settle_time=NOW + 7)])
    feed.look()

    assert stream.ids == ["e", "e"]


def test_a_stream_goes_on_from_its_cursor(operations: AnalyticsOperations, feed: EventFeed) -> None:
    first = joined(feed, Recorder())
    operations.record([settled("a", settle_time=NOW + 1)])
    feed.look()
    feed.leave(first)
    feed.look()
    operations.record([settled("b", settle_time=NOW + 2)])
    operations.record([settled("c", settle_time=NOW + 3)])

    second = joined(feed, Recorder(cursor=first.cursor))
    operations.record([settled("d", settle_time=NOW + 4)])
    feed.look()

    assert first.ids == ["a"]
    assert second.ids[-3:] == ["b", "c", "d"]
    assert set(second.ids) <= {"a", "b", "c", "d"}


def test_a_cursor_of_nothing_yet_is_good(operations: AnalyticsOperations, feed: EventFeed) -> None:
    first = joined(feed, Recorder())
    feed.leave(first)
    operations.record([settled("a")])

    assert joined(feed, Recorder(cursor=first.cursor)).ids == ["a"]


def test_more_than_may_wait_is_not_resumed(operations: AnalyticsOperations, feed: EventFeed) -> None:
    first = joined(feed, Recorder())
    feed.leave(first)
    operations.record([settled(f"e{number}") for number in range(5)])

    fits = joined(feed, Recorder(cursor=first.cursor, pending_max=6))
    burst = joined(feed, Recorder(cursor=first.cursor, pending_max=5))

    assert (len(fits.ids), fits.failure) == (5, None)
    assert (burst.ids, type(burst.failure)) == ([], CursorExpired)


@pytest.mark.parametrize("cursor", ["inc_other.1", "inc_test.0"])
def test_a_cursor_that_tells_nothing_any_more_is_refused(feed: EventFeed, cursor: str) -> None:
    assert isinstance(joined(feed, Recorder(cursor=cursor)).failure, CursorExpired)


@pytest.mark.parametrize(
    "cursor", ["soon", "inc_test.", "inc_test.-1", "inc_test.9" + "9" * 30, ".5", "inc_test.²"]
)
def test_what_is_no_cursor_is_refused(feed: EventFeed, cursor: str) -> None:
    assert isinstance(joined(feed, Recorder(cursor=cursor)).failure, InvalidArgument)


def test_a_cursor_older_than_the_log_is_refused(database: Database, operations: AnalyticsOperations) -> None:
    now = [0.0]
    store = AnalyticsStore(database)
    # The log has the database's own times, so everything in it is older than a clock of the far future.
    feed = EventFeed(
        database,
        store.settlements,
        store.events,
        clock=lambda: 2**62,
        limits=EventFeedLimits(prune_interval_s=10),
        monotonic=lambda: now[0],
    )
    first = joined(feed, Recorder())
    old = first.cursor
    for number in range(3):
        operations.record([settled(f"e{number}", settle_time=NOW + number)])
    feed.look()
    now[0] = 11
    feed.look()

    assert isinstance(joined(feed, Recorder(cursor=old)).failure, CursorExpired)
    assert joined(feed, Recorder(cursor=first.cursor)).failure is None


def test_signs_of_life_come_at_an_interval(database: Database) -> None:
    now = [0.0]
    feed = event_feed(database, lambda: now[0])
    stream = joined(feed, Recorder())
    assert stream.signs == 1
    feed.look()
    assert stream.signs == 1

    now[0] = 10
    feed.look()
    feed.look()

    assert stream.signs == 2


def test_who_would_not_be_let_in_any_more_hears_no_more(
    database: Database, operations: AnalyticsOperations
) -> None:
    now, lost, asked = [0.0], set[Caller](), list[int]()

    def lost_of(callers: Collection[Caller]) -> Collection[Caller]:
        asked.append(len(callers))
        return lost

    feed = event_feed(database, lambda: now[0], lost=lost_of)
    ended, stays = Recorder(Caller(Principal.MEMBER, ORG, session_id="ses_ended")), Recorder()
    joined(feed, ended, stays)
    lost.add(ended.watcher)
    operations.record([settled("a")])
    feed.look()
    assert asked == []
    now[0] = 0.2
    operations.record([settled("b", settle_time=NOW + 9)])
    feed.look()
    now[0] = 0.4
    feed.look()

    # Until it is looked at, nothing is known of it.
    assert (ended.ids, stays.ids) == (["a"], ["a", "b"])
    assert isinstance(ended.failure, Unauthenticated)
    assert stays.failure is None
    assert asked == [2, 1]


def test_an_organization_watches_with_so_many_streams_and_another_with_its_own(database: Database) -> None:
    store = AnalyticsStore(database)
    limits = EventFeedLimits(streams_max=2)
    feed = EventFeed(database, store.settlements, store.events, clock=lambda: NOW, limits=limits)
    first, second, third = (Recorder() for _ in range(3))
    other = Recorder(key_caller(organization_id=OTHER_ORG))
    joined(feed, first)
    joined(feed, second, third, other)

    assert isinstance(third.failure, Overloaded)
    assert (first.failure, second.failure, other.failure) == (None, None, None)

    feed.leave(first)
    fourth = joined(feed, Recorder())

    assert fourth.failure is None


def test_nothing_is_read_while_nobody_watches(
    database: Database, operations: AnalyticsOperations, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = event_feed(database)
    stream = joined(feed, Recorder())
    feed.leave(stream)
    monkeypatch.setattr(database, "read", lambda _: pytest.fail("it was read"))

    feed.look()

    assert stream.ids == []


def test_streams_of_one_organization_share_a_read(
    database: Database, operations: AnalyticsOperations, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = event_feed(database)
    streams = [Recorder() for _ in range(5)]
    joined(feed, *streams)
    operations.record([settled("a")])
    reads: list[object] = []
    read = database.read

    def counted(fn: Callable[[], object]) -> object:
        reads.append(fn)
        return read(fn)

    monkeypatch.setattr(database, "read", counted)

    feed.look()

    assert [stream.ids for stream in streams] == [["a"]] * 5
    # The log, the events and the end of the events.
    assert len(reads) == 3


def test_a_stopped_feed_closes_streams_those_that_join_later_too(feed: EventFeed) -> None:
    early = joined(feed, Recorder())
    feed.close()
    late = Recorder()
    feed.join(late)

    assert (early.closed, late.closed) == (True, True)


def test_a_store_that_was_replaced_ends_the_streams(database: Database, feed: EventFeed) -> None:
    stream = joined(feed, Recorder())
    database.write(lambda: database.engine.execute_sql("UPDATE incarnations SET incarnation = 'inc_new'"))

    feed.look()

    assert isinstance(stream.failure, CursorExpired)


def test_what_commits_late_is_told_although_it_began_first(postgres_template: PostgresTemplate) -> None:
    """Transaction numbers are given before the commit; a reader of "the highest so far" would lose it."""
    with (
        postgres_template.clone() as url,
        contextlib.closing(PostgresStore(url, MODELS, pool_size=5)) as store,
    ):
        operations = AnalyticsOperations(store, AnalyticsStore(store), clock=lambda: NOW)
        # So that nobody waits to learn whether another's new series stays.
        operations.record([settled("first")])
        feed, begun, may_end = event_feed(store), threading.Event(), threading.Event()
        stream = joined(feed, Recorder())

        def slow() -> None:
            # Of another day, so that nobody waits for its rollups.
            operations.record([settled("slow", settle_time=NOW - 7, event_time=NOW - 24 * HOUR)])
            # What was sent is done when something is answered.
            store.engine.execute_sql("SELECT 1")
            begun.set()
            may_end.wait(30)

        with ThreadPoolExecutor(1) as pool:
            ending = pool.submit(store.write, slow)
            assert begun.wait(30)
            operations.record([settled("quick", settle_time=NOW + 7)])
            feed.look()
            told = list(stream.ids)
            may_end.set()
            ending.result(30)
        feed.look()

    assert told == ["quick"]
    assert stream.ids == ["quick", "slow"]
