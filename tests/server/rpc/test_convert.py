import dataclasses

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from om.account.v1 import account_service_pb2
from om.type.v1 import error_reason_pb2, event_pb2, money_pb2, usage_pb2
from om_server.core.errors import DomainError, InvalidArgument
from om_server.core.event import (
    SOURCE_API,
    SOURCE_PROXY,
    Attribution,
    EdgePosition,
    Event,
    EventType,
    Funding,
    Outcome,
    UsageLine,
)
from om_server.core.money import AMOUNT_MAX, Money
from om_server.core.page import PageRequest
from om_server.core.usage import QUANTITY_MAX, UNITS, Certainty, Quantity, Usage
from om_server.rpc.convert import (
    USAGE_UNKNOWN,
    Origin,
    attribution_from_proto,
    credits_to_proto,
    event_from_proto,
    money_from_proto,
    money_to_proto,
    page_from_proto,
    reason_from_proto,
    reason_to_proto,
    timestamp_from_proto,
    timestamp_to_proto,
    usage_from_proto,
    usage_line_from_proto,
)
from om_server.rpc.event_writer import event_to_proto

NOW = 1_790_000_000_000_000
KEY = Origin(organization_id="org_1", team_id="team_1", key_id="key_1", receive_time=NOW)

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
names = st.text("abcxyz-_09", min_size=1, max_size=20)
quantities = st.one_of(
    st.builds(
        Quantity,
        st.sampled_from([*UNITS, "custom:pages"]),
        st.integers(0, QUANTITY_MAX),
        st.sampled_from([Certainty.MEASURED, Certainty.ESTIMATED]),
    ),
    st.builds(Quantity, st.sampled_from(list(UNITS)), st.none(), st.just(Certainty.UNKNOWN)),
)
usages = st.builds(
    Usage, st.lists(quantities, unique_by=lambda quantity: quantity.unit, max_size=5).map(tuple)
)
lines = st.builds(
    UsageLine,
    provider=text,
    model=text,
    usage=usages,
    requested_model=text,
    tier=text,
    attributes=st.dictionaries(text, text, max_size=3),
    raw_usage=text,
)
attributions = st.builds(
    Attribution,
    customer_id=text,
    user_id=text,
    team_id=st.just(KEY.team_id),
    feature_id=text,
    prompt_key=text,
    prompt_version=st.none() | st.integers(0, 2**31 - 1),
    tags=st.lists(names, unique=True, max_size=3).map(tuple),
)
lease_ids = st.integers(0, 10**26 - 1).map(lambda number: f"lse_{number:026}")
amounts = st.integers(0, AMOUNT_MAX)
edge_events = st.builds(
    Event,
    organization_id=st.just(KEY.organization_id),
    source=names,
    event_id=names,
    event_type=st.sampled_from(EventType),
    event_time=st.integers(0, NOW),
    receive_time=st.just(NOW),
    attribution=attributions,
    lines=st.lists(lines, max_size=3).map(tuple),
    outcome=st.sampled_from(Outcome),
    metadata_json=st.sampled_from(["{}", '{"a":1,"b":[null,"x",{"c":1.5}]}']),
    idempotency_key=text,
    sandbox=st.booleans(),
    key_id=st.just(KEY.key_id),
    edge=st.integers(0, 2**40).map(lambda sequence: EdgePosition("edg_1", 7, sequence)),
    funding=st.lists(st.builds(Funding, lease_ids, amounts, amounts), max_size=2).map(tuple),
    wallet_id=text,
    unfunded=st.booleans(),
    job_id=text,
    http_status=st.integers(0, 999),
    latency_ms=st.none() | st.integers(0, 2**40),
)


@given(edge_events)
def test_an_event_comes_back_as_it_went(event: Event) -> None:
    origin = dataclasses.replace(KEY, edge=event.edge)

    assert event_from_proto(event_to_proto(event), origin) == event


def test_the_server_knows_better_whose_an_event_is() -> None:
    message = event_pb2.UsageEvent(
        event_id="e", source="batch", key_id="key_other", attribution=event_pb2.Attribution(team_id="mine")
    )

    event = event_from_proto(message, KEY)

    assert (event.organization_id, event.key_id, event.attribution.team_id) == ("org_1", "key_1", "team_1")
    assert (event.source, event.edge, event.receive_time) == ("batch", None, NOW)


def test_an_event_of_an_edge_has_its_place_in_the_journal() -> None:
    edge = EdgePosition("edg_1", 3, 12)
    origin = dataclasses.replace(KEY, source=SOURCE_PROXY, edge=edge)

    event = event_from_proto(event_pb2.UsageEvent(event_id="e", source="forged", sequence=12), origin)

    assert (event.source, event.edge) == (SOURCE_PROXY, edge)


def test_what_is_left_out_has_its_documented_meaning() -> None:
    event = event_from_proto(event_pb2.UsageEvent(event_id="e"), KEY)

    assert event == Event(
        organization_id="org_1",
        source=SOURCE_API,
        event_id="e",
        event_type=EventType.TOKEN_USAGE,
        event_time=NOW,
        receive_time=NOW,
        attribution=Attribution(team_id="team_1"),
        lines=(),
        outcome=Outcome.CHARGED,
        key_id="key_1",
    )


def test_a_missing_id_is_left_to_intake() -> None:
    assert event_from_proto(event_pb2.UsageEvent(), KEY).event_id == ""


def test_a_version_of_zero_is_a_version() -> None:
    assert attribution_from_proto(event_pb2.Attribution(prompt_version=0)).prompt_version == 0
    assert attribution_from_proto(event_pb2.Attribution()).prompt_version is None


def quantity(unit: str = "input_tokens", **fields: int) -> usage_pb2.Quantity:
    fields.setdefault("certainty", usage_pb2.CERTAINTY_MEASURED)
    return usage_pb2.Quantity(unit=unit, **fields)  # type: ignore[arg-type] # Enums are integers here.


def event_of(*wrong: usage_pb2.Quantity) -> event_pb2.UsageEvent:
    return event_pb2.UsageEvent(
        event_id="e",
        lines=[
            event_pb2.UsageLine(usage=usage_pb2.Usage()),
            event_pb2.UsageLine(usage=usage_pb2.Usage(quantities=wrong)),
        ],
    )


@pytest.mark.parametrize(
    ("message", "reason", "field"),
    [
        (event_of(quantity("tokns", amount=1)), "UNKNOWN_UNIT", "lines[1].usage.quantities[0]"),
        (
            event_of(quantity(amount=1), quantity("output_tokens", amount=-1)),
            "NEGATIVE_QUANTITY",
            "lines[1].usage.quantities[1]",
        ),
        (event_of(quantity(amount=2**53 + 1)), "QUANTITY_OUT_OF_RANGE", "lines[1].usage.quantities[0]"),
        (event_of(quantity()), "CERTAINTY_MISMATCH", "lines[1].usage.quantities[0]"),
        (
            event_of(quantity(amount=1, certainty=usage_pb2.CERTAINTY_UNKNOWN)),
            "CERTAINTY_MISMATCH",
            "lines[1].usage.quantities[0]",
        ),
        (
            event_of(quantity(amount=1, certainty=0)),
            "INVALID_ARGUMENT",
            "lines[1].usage.quantities[0].certainty",
        ),
        (event_of(quantity(amount=1), quantity(amount=1)), "DUPLICATE_UNIT", "lines[1].usage.quantities"),
        (event_pb2.UsageEvent(event_id="e" * 256), "INVALID_ARGUMENT", "event_id"),
        (event_pb2.UsageEvent(event_id="e\0"), "INVALID_ARGUMENT", "event_id"),
        (event_pb2.UsageEvent(source="s" * 65), "INVALID_ARGUMENT", "source"),
        (
            event_pb2.UsageEvent(event_id="e", attribution=event_pb2.Attribution(tags=["t", "t"])),
            "INVALID_ARGUMENT",
            "attribution.tags",
        ),
        (
            event_pb2.UsageEvent(event_id="e", occur_time=Timestamp(seconds=2**60)),
            "INVALID_ARGUMENT",
            "occur_time",
        ),
        (
            event_pb2.UsageEvent(event_id="e", type=99),  # type: ignore[arg-type] # From a newer client.
            "INVALID_ARGUMENT",
            "type",
        ),
        (
            event_pb2.UsageEvent(event_id="e", outcome=99),  # type: ignore[arg-type] # As above.
            "INVALID_ARGUMENT",
            "outcome",
        ),
        (
            event_pb2.UsageEvent(event_id="e", funding=[event_pb2.Funding(lease_id="lse_1")]),
            "INVALID_ARGUMENT",
            "funding[0].lease_id",
        ),
    ],
)
def test_a_wrong_event_names_its_field(message: event_pb2.UsageEvent, reason: str, field: str) -> None:
    with pytest.raises(DomainError) as raised:
        event_from_proto(message, KEY)

    assert (raised.value.reason, raised.value.metadata["field"]) == (reason, field)


def test_usage_that_is_absent_is_unknown_and_not_none() -> None:
    absent = usage_line_from_proto(event_pb2.UsageLine(provider="openai"))
    empty = usage_line_from_proto(event_pb2.UsageLine(provider="openai", usage=usage_pb2.Usage()))

    assert absent.usage is USAGE_UNKNOWN
    assert absent.usage.unknown
    assert empty.usage == Usage(())


def test_zero_is_a_measurement() -> None:
    usage = usage_from_proto(usage_pb2.Usage(quantities=[quantity(amount=0)]))

    assert usage == Usage.measured(input_tokens=0)


@given(st.integers(-AMOUNT_MAX, AMOUNT_MAX), st.sampled_from(["USD", "CREDITS"]))
def test_money_comes_back_as_it_went(nanos: int, currency: str) -> None:
    assert money_from_proto(money_to_proto(Money(currency, nanos))) == Money(currency, nanos)


def test_credits_are_named() -> None:
    assert credits_to_proto(5) == money_pb2.Money(currency_code="CREDITS", amount_nanos=5)


@given(st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999))
def test_times_come_back_as_they_went(micros: int) -> None:
    time = timestamp_to_proto(micros)

    assert 0 <= time.nanos < 1_000_000_000
    assert timestamp_from_proto(time, "time") == micros


@pytest.mark.parametrize(
    "time",
    [
        Timestamp(seconds=253_402_300_800),
        Timestamp(seconds=-62_135_596_801),
        Timestamp(nanos=-1),
        Timestamp(nanos=1_000_000_000),
    ],
)
def test_what_is_no_time_is_refused(time: Timestamp) -> None:
    with pytest.raises(InvalidArgument) as raised:
        timestamp_from_proto(time, "expire_time")

    assert raised.value.field == "expire_time"


def test_a_time_is_cut_to_microseconds() -> None:
    assert timestamp_from_proto(Timestamp(seconds=1, nanos=999_999_999), "time") == 1_999_999


def test_a_page_request_is_normalised() -> None:
    request = account_service_pb2.ListUsersRequest(page_size=1000, page_token="t", skip=3)

    assert page_from_proto(request, skip=request.skip) == PageRequest(size=200, token="t", skip=3)


@pytest.mark.parametrize("reason", ["NOT_FOUND", "UNKNOWN_UNIT", ""])
def test_a_reason_comes_back_as_it_went(reason: str) -> None:
    assert reason_from_proto(reason_to_proto(reason)) == reason


def test_no_reason_is_unspecified() -> None:
    assert reason_to_proto("") == error_reason_pb2.ERROR_REASON_UNSPECIFIED


def test_a_reason_outside_of_the_contract_is_a_defect() -> None:
    with pytest.raises(ValueError, match="ERROR_REASON_MADE_UP"):
        reason_to_proto("MADE_UP")
