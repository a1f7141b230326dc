"""CompareVersions over a real socket, on rollups that were really written."""

from collections.abc import Callable, Iterator

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from om.analytics.v1 import analytics_service_pb2 as pb
from om.analytics.v1.analytics_service_pb2_grpc import AnalyticsServiceStub
from om.type.v1 import money_pb2
from om_server.analytics.operations import AnalyticsOperations
from om_server.analytics.servicer import AnalyticsServicer
from om_server.analytics.settled import SettledEvent, SettledState
from om_server.analytics.store import AnalyticsStore
from om_server.core.hours import HOUR
from om_server.storage.database import Database
from tests.rpc import Keyring, bearer, failing, key_caller, made, serving
from tests.server.analytics.examples import NOW, ORG, OTHER_ORG, line, settled

OURS, THEIRS = bearer("ours"), bearer("theirs")
KEY = "summarizer"

#: What answers a comparison: version, registered, events, cost, charge, unrated, cost through events.
Row = tuple[int | None, bool, int, int, int, int, int | None]
Compare = Callable[..., list[Row]]


def version_count(organization_id: str, prompt_key: str) -> int:
    return {(ORG, KEY): 2}.get((organization_id, prompt_key), 0)


@pytest.fixture
def operations(database: Database) -> AnalyticsOperations:
    return AnalyticsOperations(database, AnalyticsStore(database), clock=lambda: NOW)


@pytest.fixture
def compare(operations: AnalyticsOperations) -> Iterator[Compare]:
    keys = Keyring({"ours": key_caller(organization_id=ORG), "theirs": key_caller(organization_id=OTHER_ORG)})
    servicer = made(
        AnalyticsServicer, operations, burn_rates=None, export=None, feed=None, version_count=version_count
    )
    with serving([servicer], keys) as channel:
        stub = AnalyticsServiceStub(channel)

        def ask(metadata: tuple[tuple[str, str], ...] = OURS, key: str = KEY, **wanted: object) -> list[Row]:
            wanted_filter = pb.EventFilter(**wanted)  # type: ignore[arg-type] # A table's row.
            request = pb.CompareVersionsRequest(prompt_key=key, filter=wanted_filter)
            return [read(row) for row in stub.CompareVersions(request, metadata=metadata).rows]

        yield ask


def read(row: pb.VersionRow) -> Row:
    assert (row.cost.currency_code, row.charge.currency_code) == ("USD", "CREDITS")
    average = row.average_cost if row.HasField("average_cost") else None
    assert average is None or average == money_pb2.Money(
        currency_code="USD", amount_nanos=average.amount_nanos
    )
    return (
        row.version if row.HasField("version") else None,
        row.registered,
        row.event_count,
        row.cost.amount_nanos,
        row.charge.amount_nanos,
        row.unrated_count,
        average.amount_nanos if average else None,
    )


def used(event_id: str, version: int | None, cost: int = 10, **changes: object) -> SettledEvent:
    labels = {"prompt_key": KEY, "prompt_version": version, **changes}
    return settled(event_id, line(cost=cost, charge=2 * cost), **labels)


@pytest.mark.acceptance("B-180", "B-204", "B-207", "B-208")
def test_versions_are_compared_with_those_that_nobody_registered_or_tracked(
    operations: AnalyticsOperations, compare: Compare
) -> None:
    operations.record(
        [
            used("a", 1, cost=10),
            used("b", 1, cost=5),
            used("c", 9, cost=2**55),
            used("d", None, cost=1),
            used("other", 1, prompt_key="other"),
        ]
    )

    assert compare() == [
        # 7.5 nano-dollars: half-even.
        (1, True, 2, 15, 30, 0, 8),
        (2, True, 0, 0, 0, 0, None),
        (9, False, 1, 2**55, 2**56, 0, 2**55),
        (None, False, 1, 1, 2, 0, 1),
    ]


def test_an_event_without_a_price_counts_and_is_in_no_cost(
    operations: AnalyticsOperations, compare: Compare
) -> None:
    unrated = settled(
        "u",
        line(cost=None, charge=None),
        state=SettledState.UNRATED,
        cost=None,
        charge=None,
        prompt_key=KEY,
        prompt_version=1,
    )
    operations.record([unrated, used("a", 1, cost=10)])

    assert compare()[0] == (1, True, 2, 10, 20, 1, 10)


def test_a_comparison_goes_since_ever_and_may_be_narrowed(
    operations: AnalyticsOperations, compare: Compare
) -> None:
    old = NOW - 400 * 24 * HOUR
    operations.record(
        [
            used("old", 1, event_time=old),
            used("new", 1),
            used("tagged", 2, tags=("x",)),
            used("sandbox", 2, cost=0, sandbox=True),
            settled("claude", line("claude-4", cost=7, charge=7), prompt_key=KEY, prompt_version=2),
        ]
    )
    since = Timestamp(seconds=(NOW - HOUR) // 10**6)

    def counts(**wanted: object) -> list[int]:
        return [events for _, _, events, *_ in compare(**wanted)]

    assert counts() == [2, 2]
    assert counts(start_time=since) == [1, 2]
    assert counts(tags=["x"]) == [0, 1]
    assert counts(providers=["Anthropic"]) == [0, 1]
    assert counts(include_sandbox=True) == [2, 3]
    assert counts(prompt_keys=[KEY]) == [2, 2]


def test_a_comparison_of_two_prompts_is_refused(compare: Compare) -> None:
    with failing() as failures:
        compare(prompt_keys=[KEY, "other"])

    assert failures[0].code is grpc.StatusCode.INVALID_ARGUMENT
    assert set(failures[0].violations) == {"filter.prompt_keys"}


def test_another_organizations_prompt_is_as_one_that_nobody_has(
    operations: AnalyticsOperations, compare: Compare
) -> None:
    operations.record([used("a", 1)])

    assert compare(THEIRS) == compare(THEIRS, "nobody's") == []
