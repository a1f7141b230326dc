from collections.abc import Iterator
from datetime import UTC, datetime

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from om.analytics.v1 import analytics_service_pb2 as pb
from om.analytics.v1.analytics_service_pb2_grpc import AnalyticsServiceStub
from om.type.v1 import event_pb2, money_pb2, usage_pb2
from om_server.analytics.operations import AnalyticsOperations
from om_server.analytics.settled import SettledEvent, SettledState
from om_server.analytics.store import AnalyticsStore
from om_server.core.usage import Certainty, Quantity, Usage
from om_server.storage.database import Database
from tests.rpc import Keyring, bearer, failing, key_caller, serving
from tests.server.analytics.examples import NOW, ORG, OTHER_ORG, full_event, line, settled
from tests.server.analytics.streaming import servicer

OURS, THEIRS = bearer("ours"), bearer("theirs")


@pytest.fixture
def operations(database: Database) -> AnalyticsOperations:
    return AnalyticsOperations(database, AnalyticsStore(database), clock=lambda: NOW)


@pytest.fixture
def stub(database: Database, operations: AnalyticsOperations) -> Iterator[AnalyticsServiceStub]:
    keys = Keyring({"ours": key_caller(organization_id=ORG), "theirs": key_caller(organization_id=OTHER_ORG)})
    with serving([servicer(database, operations)], keys) as channel:
        yield AnalyticsServiceStub(channel)


def credits_of(nanos: int) -> money_pb2.Money:
    return money_pb2.Money(currency_code="CREDITS", amount_nanos=nanos)


def dollars_of(nanos: int) -> money_pb2.Money:
    return money_pb2.Money(currency_code="USD", amount_nanos=nanos)


def at(micros: int) -> Timestamp:
    return Timestamp(seconds=micros // 10**6, nanos=micros % 10**6 * 1000)


def test_an_event_is_shown_as_it_was_reported_and_settled(
    operations: AnalyticsOperations, stub: AnalyticsServiceStub
) -> None:
    full = full_event()
    operations.record([full])

    [shown] = stub.ListEvents(pb.ListEventsRequest(), metadata=OURS).events

    assert (shown.event.event_id, shown.event.source) == ("evt/1 é", "proxy")
    assert shown.event.occur_time == at(full.event.event_time)
    assert shown.event.type == event_pb2.EVENT_TYPE_IMAGE_GENERATION
    assert shown.event.outcome == event_pb2.OUTCOME_ESTIMATED
    assert list(shown.event.attribution.tags) == list(full.event.attribution.tags)
    assert shown.event.attribution.prompt_version == 3
    assert dict(shown.event.metadata) == {"nested": {"list": [1, 2.5, None, True]}}
    assert (shown.event.sequence, shown.event.unfunded, shown.event.key_id) == (17, True, "key")
    assert shown.event.HasField("latency_ms")
    [part] = shown.event.lines
    assert (part.provider, part.model, part.requested_model, part.tier) == (
        "openai",
        "gpt-4o-2024-08-06",
        "gpt-4o",
        "batch",
    )
    assert dict(part.attributes) == {"size": "1024x1024", "quality": "höch"}
    assert part.raw_usage_json == '{"total_tokens": 15}'
    assert part.usage.quantities[1] == usage_pb2.Quantity(
        unit="output_tokens", amount=3, certainty=usage_pb2.CERTAINTY_ESTIMATED
    )
    assert shown.state == pb.RATING_STATE_RATED
    assert (shown.cost, shown.charge, shown.receivable) == (dollars_of(7), credits_of(9), credits_of(2))
    assert (shown.wallet_id, list(shown.flags)) == ("wallet", ["estimated", "over_bound"])
    assert (shown.receive_time, shown.settle_time) == (at(full.event.receive_time), at(full.settle_time))


def test_an_unrated_event_has_no_amounts(operations: AnalyticsOperations, stub: AnalyticsServiceStub) -> None:
    operations.record([settled("e", line(cost=None), state=SettledState.UNRATED, cost=None)])

    [shown] = stub.ListEvents(pb.ListEventsRequest(), metadata=OURS).events

    assert shown.state == pb.RATING_STATE_UNRATED
    assert not shown.HasField("cost")
    assert not shown.HasField("charge")


def test_events_are_paged(operations: AnalyticsOperations, stub: AnalyticsServiceStub) -> None:
    operations.record([settled(f"e{number}") for number in range(3)])

    first = stub.ListEvents(pb.ListEventsRequest(page_size=2), metadata=OURS)
    second = stub.ListEvents(
        pb.ListEventsRequest(page_size=2, page_token=first.next_page_token), metadata=OURS
    )
    skipped = stub.ListEvents(pb.ListEventsRequest(skip=2), metadata=OURS)

    assert [item.event.event_id for item in (*first.events, *second.events)] == ["e2", "e1", "e0"]
    assert [item.event.event_id for item in skipped.events] == ["e0"]
    assert (first.total_size, second.next_page_token) == (3, "")


def usage_event() -> SettledEvent:
    return settled("e", line("claude-4", cost=30, charge=40), team_id="t1", user_id="u")


def test_usage_is_told_by_period_and_group(
    operations: AnalyticsOperations, stub: AnalyticsServiceStub
) -> None:
    operations.record([usage_event(), settled("cheap", line(cost=1, charge=2))])

    reply = stub.QueryUsage(
        pb.QueryUsageRequest(
            filter=pb.EventFilter(providers=["ANTHROPIC"]),
            group_by=[pb.DIMENSION_PROVIDER, pb.DIMENSION_TEAM],
            granularity=pb.GRANULARITY_DAY,
            time_zone="Europe/Berlin",
        ),
        metadata=OURS,
    )

    midnight = datetime(2026, 11, 20, 23, tzinfo=UTC)
    assert list(reply.rows) == [
        pb.UsageRow(
            period_start=Timestamp(seconds=int(midnight.timestamp())),
            group=[
                pb.GroupValue(dimension=pb.DIMENSION_PROVIDER, value="anthropic"),
                pb.GroupValue(dimension=pb.DIMENSION_TEAM, value="t1"),
            ],
            event_count=1,
            quantities=[
                usage_pb2.Quantity(unit="input_tokens", amount=100, certainty=usage_pb2.CERTAINTY_MEASURED),
                usage_pb2.Quantity(unit="output_tokens", amount=7, certainty=usage_pb2.CERTAINTY_MEASURED),
            ],
            cost=dollars_of(30),
            charge=credits_of(40),
        )
    ]
    assert reply.end_time.ToDatetime(UTC) == datetime(2026, 11, 21, 11, tzinfo=UTC)


def test_a_sum_with_an_estimate_is_estimated(
    operations: AnalyticsOperations, stub: AnalyticsServiceStub
) -> None:
    estimate = Usage((Quantity("input_tokens", 5, Certainty.ESTIMATED),))
    part = line()
    estimated = type(part)(type(part.line)("openai", "gpt-4o", estimate), part.cost, part.charge)
    operations.record([settled("measured", line(input_tokens=4)), settled("estimated", estimated)])

    [row] = stub.QueryUsage(pb.QueryUsageRequest(), metadata=OURS).rows

    assert list(row.quantities) == [
        usage_pb2.Quantity(unit="input_tokens", amount=9, certainty=usage_pb2.CERTAINTY_ESTIMATED)
    ]
    assert (row.event_count, row.estimated_count) == (2, 1)
    assert not row.HasField("period_start")


def test_spend_is_told_dearest_first(operations: AnalyticsOperations, stub: AnalyticsServiceStub) -> None:
    operations.record([settled("cheap", line(cost=1, charge=2)), usage_event()])

    reply = stub.QuerySpend(pb.QuerySpendRequest(group_by=[pb.DIMENSION_MODEL]), metadata=OURS)

    assert [(row.group[0].value, row.cost.amount_nanos, row.charge.amount_nanos) for row in reply.rows] == [
        ("claude-4", 30, 40),
        ("gpt-4o", 1, 2),
    ]
    assert reply.start_time.ToDatetime(UTC) == datetime(2026, 11, 1, tzinfo=UTC)


def test_spend_is_cut_at_the_limit_and_says_of_how_many(
    operations: AnalyticsOperations, stub: AnalyticsServiceStub
) -> None:
    operations.record([settled("cheap", line(cost=1, charge=2)), usage_event()])
    request = pb.QuerySpendRequest(group_by=[pb.DIMENSION_MODEL], row_limit=1)

    reply = stub.QuerySpend(request, metadata=OURS)

    assert ([row.group[0].value for row in reply.rows], reply.total_size) == (["claude-4"], 2)


def test_the_credential_decides_whose_usage_is_told(
    operations: AnalyticsOperations, stub: AnalyticsServiceStub
) -> None:
    operations.record([settled("e")])

    assert len(stub.QueryUsage(pb.QueryUsageRequest(), metadata=OURS).rows) == 1
    assert list(stub.QueryUsage(pb.QueryUsageRequest(), metadata=THEIRS).rows) == []
    assert list(stub.QuerySpend(pb.QuerySpendRequest(), metadata=THEIRS).rows) == []
    assert stub.ListEvents(pb.ListEventsRequest(), metadata=THEIRS).total_size == 0


def test_a_sum_that_the_contract_cannot_carry_is_refused(
    operations: AnalyticsOperations, stub: AnalyticsServiceStub
) -> None:
    operations.record([settled("e", line(cost=2**62, charge=0)), settled("more", line(cost=1, charge=0))])

    with failing() as failures:
        stub.QuerySpend(pb.QuerySpendRequest(), metadata=OURS)

    assert failures[0].reason == "AMOUNT_OUT_OF_RANGE"


@pytest.mark.parametrize(
    ("request_message", "field"),
    [
        (pb.QueryUsageRequest(time_zone="Mars/Olympus"), "time_zone"),
        (pb.QueryUsageRequest(group_by=[pb.DIMENSION_TAG, pb.DIMENSION_MODEL]), "group_by"),
        (
            pb.QueryUsageRequest(filter=pb.EventFilter(start_time=at(NOW), end_time=at(NOW - 1))),
            "filter.end_time",
        ),
    ],
)
def test_a_query_that_makes_no_sense_names_its_field(
    stub: AnalyticsServiceStub, request_message: pb.QueryUsageRequest, field: str
) -> None:
    with failing() as failures:
        stub.QueryUsage(request_message, metadata=OURS)

    assert failures[0].code is grpc.StatusCode.INVALID_ARGUMENT
    assert list(failures[0].violations) == [field]


@pytest.mark.parametrize("dimension", pb.Dimension.values()[1:])
def test_every_dimension_of_the_contract_is_answered(
    operations: AnalyticsOperations, stub: AnalyticsServiceStub, dimension: "pb.Dimension.ValueType"
) -> None:
    operations.record([settled("e", tags=("a",))])

    [row] = stub.QuerySpend(pb.QuerySpendRequest(group_by=[dimension]), metadata=OURS).rows

    assert row.group[0].dimension == dimension


@pytest.mark.parametrize("granularity", pb.Granularity.values())
def test_every_granularity_of_the_contract_is_answered(
    operations: AnalyticsOperations, stub: AnalyticsServiceStub, granularity: "pb.Granularity.ValueType"
) -> None:
    operations.record([settled("e")])

    assert len(stub.QueryUsage(pb.QueryUsageRequest(granularity=granularity), metadata=OURS).rows) == 1
