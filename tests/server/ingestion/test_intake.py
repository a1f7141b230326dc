"""The rules of intake, one by one."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from om_server.core.errors import Code
from om_server.core.event import SOURCE_PROXY, Attribution, Event, Funding, Outcome, UsageLine
from om_server.core.usage import Certainty, Quantity, Usage
from om_server.ingestion.intake import (
    EVENT_AGE_MAX,
    TIME_CLAMPED,
    EdgeFieldForbidden,
    EventConflict,
    EventEmpty,
    EventIdMissing,
    EventTimeOutOfRange,
    believe_time,
    check_caller_fields,
    check_consumption,
    check_identity,
    letter_id,
    normalize_customer,
)
from tests.server.ingestion.harness import ORGANIZATION, POSITION, START, edge_event, event

DAY = 86_400 * 1_000_000

NOTHING = UsageLine("openai", "gpt-4o", Usage(()))
SOMETHING = UsageLine("openai", "gpt-4o", Usage.measured(input_tokens=0))
UNKNOWN = UsageLine("openai", "gpt-4o", Usage((Quantity("input_tokens", None, Certainty.UNKNOWN),)))


@pytest.mark.parametrize("event_id", ["e", " e ", "0", "job:openai:batch_1"])
def test_any_text_is_an_id(event_id: str) -> None:
    check_identity(event(event_id))


@pytest.mark.parametrize("event_id", ["", " ", "\t\n"])
def test_an_event_without_an_id_could_be_charged_twice(event_id: str) -> None:
    with pytest.raises(EventIdMissing) as caught:
        check_identity(event(event_id))

    assert (caught.value.code, caught.value.metadata) == (Code.INVALID_ARGUMENT, {})


@pytest.mark.parametrize("lines", [(SOMETHING,), (NOTHING, SOMETHING), (UNKNOWN,)])
@pytest.mark.parametrize("outcome", list(Outcome))
def test_what_reports_a_quantity_is_not_empty(outcome: Outcome, lines: tuple[UsageLine, ...]) -> None:
    """Zero is a fact, and unknown says that there was something."""
    check_consumption(event(outcome=outcome, lines=lines))


@pytest.mark.parametrize("lines", [(), (NOTHING,), (NOTHING, NOTHING)])
@pytest.mark.parametrize("outcome", [Outcome.CHARGED, Outcome.ESTIMATED])
def test_what_was_consumed_says_how_much(outcome: Outcome, lines: tuple[UsageLine, ...]) -> None:
    with pytest.raises(EventEmpty):
        check_consumption(event(outcome=outcome, lines=lines))


@pytest.mark.parametrize("lines", [(), (NOTHING,)])
@pytest.mark.parametrize("outcome", [Outcome.ZERO, Outcome.DEFERRED, Outcome.UNKNOWN])
def test_some_outcomes_have_nothing_to_report(outcome: Outcome, lines: tuple[UsageLine, ...]) -> None:
    check_consumption(event(outcome=outcome, lines=lines))


def test_an_application_may_set_everything_of_its_own() -> None:
    check_caller_fields(
        event(source="batch", sandbox=True, idempotency_key="k", http_status=200, latency_ms=5)
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("source", SOURCE_PROXY),
        ("funding", (Funding("lse_1", 1, 1),)),
        ("wallet_id", "wal_1"),
        ("job_id", "batch_1"),
        ("unfunded", True),
        ("outcome", Outcome.ZERO),
        ("outcome", Outcome.ESTIMATED),
        ("outcome", Outcome.DEFERRED),
        ("outcome", Outcome.UNKNOWN),
    ],
)
def test_an_application_may_not_speak_for_an_edge(field: str, value: object) -> None:
    with pytest.raises(EdgeFieldForbidden) as caught:
        check_caller_fields(event(**{field: value}))

    assert caught.value.code is Code.PERMISSION_DENIED
    assert caught.value.metadata == {"field": field}


def test_the_organization_is_not_its_own_customer() -> None:
    named = event(attribution=Attribution(customer_id=ORGANIZATION, user_id="ada", tags=("a",)))

    assert normalize_customer(named) == event(attribution=Attribution(user_id="ada", tags=("a",)))


@pytest.mark.parametrize("customer_id", ["", "acme", ORGANIZATION.upper(), f"{ORGANIZATION} "])
def test_other_customers_keep_their_names(customer_id: str) -> None:
    named = event(attribution=Attribution(customer_id=customer_id))

    assert normalize_customer(named) == named


@given(age=st.integers(0, EVENT_AGE_MAX))
def test_a_time_within_the_retention_is_believed(age: int) -> None:
    for made in (event(event_time=START - age), edge_event(event_time=START - age)):
        assert believe_time(made) is made


@given(ahead=st.integers(1, 10**18))
def test_a_future_time_is_lowered_to_the_receipt_and_flagged(ahead: int) -> None:
    for made in (event(flags=("x",)), edge_event(flags=("x",))):
        believed = believe_time(dataclasses.replace(made, event_time=START + ahead))

        assert believed == dataclasses.replace(made, event_time=START, flags=("x", TIME_CLAMPED))


def test_an_event_older_than_the_retention_is_refused() -> None:
    old = START - EVENT_AGE_MAX - 1

    with pytest.raises(EventTimeOutOfRange) as caught:
        believe_time(event(event_time=old))

    assert EVENT_AGE_MAX == 400 * DAY
    assert caught.value.metadata == {"occur_time": str(old)}
    assert "400 days" in caught.value.message


@given(age=st.integers(EVENT_AGE_MAX + 1, 10**18))
def test_an_edges_old_event_is_raised_and_flagged(age: int) -> None:
    """It is money, and an edge's clock may be wrong."""
    believed = believe_time(edge_event(event_time=START - age))

    assert believed == edge_event(event_time=START - EVENT_AGE_MAX, flags=(TIME_CLAMPED,))


@pytest.mark.parametrize("event_id", ["", " ", "\n", "e\0", "\0"])
def test_a_dead_letter_without_a_name_is_named_by_its_place(event_id: str) -> None:
    assert letter_id(event_id, POSITION) == f"{POSITION.edge_id}:3:17"


def test_a_dead_letter_keeps_its_events_name() -> None:
    assert letter_id("evt_1", POSITION) == "evt_1"


def test_a_conflict_names_the_identity() -> None:
    conflicting: Event = event("e9", source="batch")

    error = EventConflict(conflicting)

    assert (error.code, error.reason) == (Code.ALREADY_EXISTS, "EVENT_CONFLICT")
    assert error.metadata == {"event_id": "e9", "source": "batch"}
