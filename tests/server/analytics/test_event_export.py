from collections.abc import Iterator

import pytest

from om.analytics.v1 import analytics_service_pb2 as pb
from om.analytics.v1.analytics_service_pb2_grpc import AnalyticsServiceStub
from om_server.analytics.event_export import EventExport, end_of
from om_server.analytics.operations import AnalyticsOperations
from om_server.analytics.query import EventFilter
from om_server.analytics.servicer import export_responses
from om_server.analytics.settled import SettledEvent
from om_server.analytics.store import AnalyticsStore
from om_server.core.hours import HOUR
from om_server.core.page import Cursor
from om_server.rpc.caller import Scope
from om_server.storage.database import Database
from tests.rpc import Keyring, bearer, failing, key_caller, serving
from tests.server.analytics.examples import NOW, ORG, OTHER_ORG, settled
from tests.server.analytics.streaming import servicer

OURS = bearer("ours")


@pytest.fixture
def operations(database: Database) -> AnalyticsOperations:
    return AnalyticsOperations(database, AnalyticsStore(database), clock=lambda: NOW)


@pytest.fixture
def stub(database: Database, operations: AnalyticsOperations) -> Iterator[AnalyticsServiceStub]:
    keys = Keyring(
        {
            "ours": key_caller(organization_id=ORG),
            "reader": key_caller(Scope.READ, organization_id=ORG),
        }
    )
    with serving([servicer(database, operations)], keys) as channel:
        yield AnalyticsServiceStub(channel)


def ids(stub: AnalyticsServiceStub, chosen: pb.EventFilter | None = None) -> list[str]:
    replies = stub.ExportEvents(pb.ExportEventsRequest(filter=chosen), metadata=OURS)
    return [event.event.event_id for reply in replies for event in reply.events]


def test_every_event_is_exported_once_oldest_first(
    operations: AnalyticsOperations, stub: AnalyticsServiceStub
) -> None:
    # Two have one time, and two of these one id.
    operations.record(
        [
            settled("e3", event_time=NOW - 1),
            settled("e1", event_time=NOW - 2 * HOUR),
            settled("e2", event_time=NOW - HOUR, source="proxy"),
            settled("e2", event_time=NOW - HOUR),
            settled("e0", event_time=NOW - HOUR),
            settled("theirs", organization_id=OTHER_ORG, event_time=NOW - 1),
        ]
    )

    assert ids(stub) == ["e1", "e0", "e2", "e2", "e3"]


def test_only_what_matches_is_exported(operations: AnalyticsOperations, stub: AnalyticsServiceStub) -> None:
    operations.record(
        [
            settled("wanted", event_time=NOW - 1, user_id="u", tags=("t",)),
            settled("early", event_time=NOW - 2 * HOUR, user_id="u", tags=("t",)),
            settled("other", event_time=NOW - 1, user_id="v", tags=("t",)),
            settled("play", event_time=NOW - 1, user_id="u", tags=("t",), sandbox=True),
        ]
    )
    chosen = pb.EventFilter(user_ids=["u"], tags=["t"])
    chosen.start_time.FromMicroseconds(NOW - HOUR)

    assert ids(stub, chosen) == ["wanted"]
    chosen.include_sandbox = True
    assert ids(stub, chosen) == ["play", "wanted"]


def test_nothing_to_export_is_an_empty_stream(stub: AnalyticsServiceStub) -> None:
    assert ids(stub) == []


def test_an_export_takes_a_key_that_may_administer(stub: AnalyticsServiceStub) -> None:
    with failing() as failures:
        list(stub.ExportEvents(pb.ExportEventsRequest(), metadata=bearer("reader")))

    assert failures[0].reason == "SCOPE_MISSING"


def test_an_export_ends_although_more_is_settled(database: Database, operations: AnalyticsOperations) -> None:
    export = EventExport(database, AnalyticsStore(database).events, clock=lambda: NOW, part_size=1)
    operations.record([settled("a", event_time=NOW - 2), settled("b", event_time=NOW - 1)])
    wanted = export.begin(EventFilter())
    first, after = export.part(ORG, wanted, after=None)
    operations.record([settled("future", event_time=NOW + 5)])

    second, after = export.part(ORG, wanted, after=after)
    third, after = export.part(ORG, wanted, after=after)

    assert [one.event.event_id for one in (*first, *second, *third)] == ["a", "b"]
    assert after is None


class CountedExport(EventExport):
    """Counts the parts that were read."""

    parts = 0

    def part(
        self, organization_id: str, wanted: EventFilter, *, after: Cursor | None
    ) -> tuple[list[SettledEvent], Cursor | None]:
        self.parts += 1
        return super().part(organization_id, wanted, after=after)


def test_an_export_whose_caller_left_reads_no_further(
    database: Database, operations: AnalyticsOperations
) -> None:
    large = f'{{"k":"{"x" * 100_000}"}}'
    operations.record(
        [
            settled(f"e{number:03}", event_time=NOW - 200 + number, metadata_json=large)
            for number in range(100)
        ]
    )
    export = CountedExport(database, AnalyticsStore(database).events, clock=lambda: NOW, part_size=1)
    keys = Keyring({"ours": key_caller(organization_id=ORG)})

    with serving([servicer(database, operations, export=export)], keys) as channel:
        replies = AnalyticsServiceStub(channel).ExportEvents(pb.ExportEventsRequest(), metadata=OURS)
        next(iter(replies))
        replies.cancel()

    # The server has ended with its channel, and what is buffered on the way is far less than all.
    assert 1 <= export.parts < 99


def test_a_range_without_an_end_ends_now() -> None:
    assert end_of(EventFilter(), now=NOW) == NOW
    assert end_of(EventFilter(end_time=5), now=NOW) == 5
    assert end_of(EventFilter(start_time=NOW + 9), now=NOW) == NOW + 10


def test_messages_stay_below_what_a_client_takes() -> None:
    large = [settled(f"e{number}", metadata_json=f'{{"k":"{"x" * 400_000}"}}') for number in range(5)]

    messages = list(export_responses(large))

    assert [len(message.events) for message in messages] == [2, 2, 1]
    assert all(message.ByteSize() < 2**20 for message in messages)
    assert list(export_responses([])) == []
