"""Intake over a database: an answer for each event, and what is durable afterwards."""

import dataclasses
from collections.abc import Sequence

import pytest

from om_server.core.errors import InvalidArgument, PageTokenInvalid
from om_server.core.event import SOURCE_PROXY, Attribution, Event, Outcome, UsageLine
from om_server.core.page import PageRequest
from om_server.core.usage import Usage
from om_server.ingestion import envelope
from om_server.ingestion.intake import EVENT_AGE_MAX, EventEmpty
from om_server.ingestion.operations import PipelineStatus, Reported
from om_server.ingestion.store import DeadLetter
from tests.server.ingestion.harness import (
    ORGANIZATION,
    POSITION,
    SECOND,
    START,
    Intake,
    edge_event,
    event,
)

ACCEPTED = ("accepted", "")
DUPLICATE = ("duplicate", "")
CONFLICT = ("rejected", "EVENT_CONFLICT")

OTHER_LINES = (UsageLine("openai", "gpt-4o", Usage.measured(input_tokens=9)),)


def letters_of(intake: Intake, organization_id: str = ORGANIZATION) -> list[DeadLetter]:
    return intake.operations.list_dead_letters(organization_id, PageRequest.of())[0]


def queued_events(intake: Intake) -> list[Event]:
    """What waits in the queue, but for the hashes that intake adds."""
    found = [one for batch in intake.queued() for one in batch]
    assert all(one.payload_hash for one in found)
    return [dataclasses.replace(one, payload_hash="") for one in found]


def set_aside(intake: Intake, *event_ids: str) -> None:
    for event_id in event_ids:
        intake.operations.set_aside(ORGANIZATION, event_id, EventEmpty(), unread=envelope.Unread(b"as sent"))


def test_accepted_events_are_durable_in_one_batch(intake: Intake) -> None:
    batch_id, results = intake.ingest(event("e1"), event("e2"))

    assert [(one.event_id, one.state.value) for one in results] == [("e1", "accepted"), ("e2", "accepted")]
    assert batch_id.startswith("bat_")
    assert len(intake.queued()) == 1
    assert queued_events(intake) == [event("e1"), event("e2")]
    assert intake.inbox.arrived.is_set()


def test_each_event_is_answered_by_itself_and_in_order(intake: Intake) -> None:
    events = (
        event("e1"),
        event(""),
        event("e2", lines=()),
        event("e3", source=SOURCE_PROXY),
        event("e4", event_time=START - EVENT_AGE_MAX - 1),
        event("e5"),
    )

    assert intake.answers(*events) == [
        ACCEPTED,
        ("rejected", "EVENT_ID_MISSING"),
        ("rejected", "EVENT_EMPTY"),
        ("rejected", "EDGE_FIELD_FORBIDDEN"),
        ("rejected", "EVENT_TIME_OUT_OF_RANGE"),
        ACCEPTED,
    ]
    assert [one.event_id for one in queued_events(intake)] == ["e1", "e5"]
    assert letters_of(intake) == []


@pytest.mark.parametrize("events", [(event(""),), (event("e1", lines=()), event("e2", lines=()))])
def test_where_nothing_is_accepted_nothing_is_queued(intake: Intake, events: Sequence[Event]) -> None:
    batch_id, _ = intake.ingest(*events)

    assert batch_id == ""
    assert intake.queued() == []
    assert not intake.inbox.arrived.is_set()


def test_what_was_settled_is_a_duplicate(intake: Intake) -> None:
    intake.ingest(event())
    intake.settle(*intake.queued()[0])

    assert intake.answers(event(), event("e2")) == [DUPLICATE, ACCEPTED]
    assert [one.event_id for one in queued_events(intake)] == ["e2"]


def test_a_twin_that_still_waits_is_accepted_for_settlement_to_drop(intake: Intake) -> None:
    assert [intake.answers(event()) for _ in range(2)] == [[ACCEPTED], [ACCEPTED]]


def test_another_payload_under_a_settled_identity_is_a_conflict(intake: Intake) -> None:
    intake.ingest(event())
    intake.settle(*intake.queued()[0])

    assert intake.answers(event(lines=OTHER_LINES), event("e2")) == [CONFLICT, ACCEPTED]
    assert intake.answers(event(source="batch"), event(organization_id="org_2")) == [ACCEPTED, DUPLICATE]


def test_identities_of_another_organization_are_not_seen(intake: Intake) -> None:
    intake.ingest(event())
    intake.settle(*intake.queued()[0])

    _, [result] = intake.ingest(event(organization_id="org_2"), organization_id="org_2")

    assert result.state.value == "accepted"


def test_twins_within_a_batch_are_seen(intake: Intake) -> None:
    answers = intake.answers(event(), event(), event(lines=OTHER_LINES), event(source="batch"), event())

    assert answers == [ACCEPTED, DUPLICATE, CONFLICT, ACCEPTED, DUPLICATE]


def test_an_idempotency_key_is_a_second_identity(intake: Intake) -> None:
    intake.ingest(event("e1", idempotency_key="k"))
    intake.settle(*intake.queued()[0])

    assert intake.answers(
        event("e2", idempotency_key="k"),
        event("e3", idempotency_key="k", lines=OTHER_LINES),
        event("e4", idempotency_key="other"),
        event("e5"),
    ) == [DUPLICATE, CONFLICT, ACCEPTED, ACCEPTED]


def test_an_idempotency_key_within_a_batch_is_seen(intake: Intake) -> None:
    assert intake.answers(
        event("e1", idempotency_key="k"),
        event("e2", idempotency_key="k"),
        event("e3", idempotency_key="k", lines=OTHER_LINES),
    ) == [ACCEPTED, DUPLICATE, CONFLICT]


def test_a_time_that_nobody_gave_may_differ_in_a_repeat(intake: Intake) -> None:
    intake.operations.ingest(ORGANIZATION, [Reported(event(), time_supplied=False)], from_edge=False)
    intake.settle(*intake.queued()[0])

    later = event(event_time=START, receive_time=START + SECOND)
    _, [result] = intake.operations.ingest(
        ORGANIZATION, [Reported(later, time_supplied=False)], from_edge=False
    )

    assert result.state.value == "duplicate"


def test_a_future_time_is_lowered_and_flagged_and_still_the_same_claim(intake: Intake) -> None:
    ahead = event(event_time=START + SECOND)
    intake.ingest(ahead)

    assert queued_events(intake) == [event(event_time=START, flags=("time_clamped",))]

    intake.settle(*intake.queued()[0])
    assert intake.answers(dataclasses.replace(ahead, receive_time=START + 2 * SECOND)) == [DUPLICATE]


def test_the_organization_as_its_own_customer_has_one_name(intake: Intake) -> None:
    intake.ingest(event(attribution=Attribution(customer_id=ORGANIZATION)))

    assert queued_events(intake) == [event(attribution=Attribution())]

    intake.settle(*intake.queued()[0])
    assert intake.answers(event(attribution=Attribution())) == [DUPLICATE]


def test_an_edge_may_set_what_is_its_own(intake: Intake) -> None:
    made = edge_event(outcome=Outcome.ZERO, lines=(), wallet_id="wal_1", unfunded=True)

    assert intake.answers(made) == [ACCEPTED]
    assert queued_events(intake) == [made]


def test_an_edges_conflict_is_left_to_settlement(intake: Intake) -> None:
    intake.ingest(edge_event())
    intake.settle(*intake.queued()[0])

    assert intake.answers(edge_event(), edge_event(lines=OTHER_LINES)) == [DUPLICATE, ACCEPTED]
    # The duplicate too: settlement drops it, and tells the edge that it is settled.
    assert queued_events(intake) == [edge_event(), edge_event(lines=OTHER_LINES)]


@pytest.mark.parametrize(
    ("invalid", "name", "reason"),
    [
        (edge_event(lines=()), "evt_1", "EVENT_EMPTY"),
        (edge_event(""), f"{POSITION.edge_id}:3:17", "EVENT_ID_MISSING"),
    ],
)
def test_an_edges_invalid_event_becomes_a_dead_letter_and_its_neighbour_is_queued(
    intake: Intake, invalid: Event, name: str, reason: str
) -> None:
    _, results = intake.ingest(invalid, edge_event("evt_2"))

    assert [one.state.value for one in results] == ["accepted", "accepted"]
    assert queued_events(intake) == [edge_event("evt_2")]
    [letter] = letters_of(intake)
    assert (letter.event_id, letter.source, letter.reason) == (name, SOURCE_PROXY, reason)
    assert (letter.attempt_count, letter.receive_time, letter.create_time) == (0, START, START)
    assert envelope.unpack(letter.envelope) == [invalid]


def test_an_edges_old_event_is_taken(intake: Intake) -> None:
    made = edge_event(event_time=0)

    assert intake.answers(made) == [ACCEPTED]
    assert queued_events(intake) == [
        dataclasses.replace(made, event_time=START - EVENT_AGE_MAX, flags=("time_clamped",))
    ]


def test_what_cannot_be_read_is_kept_as_it_was_sent(intake: Intake) -> None:
    unread = envelope.Unread(b"sent", "edg_1")
    intake.operations.set_aside(ORGANIZATION, "evt_1", InvalidArgument("lines", "too many"), unread=unread)

    [letter] = letters_of(intake)
    assert (letter.event_id, letter.reason, letter.message) == (
        "evt_1",
        "INVALID_ARGUMENT",
        "lines: too many",
    )
    assert letter.envelope == envelope.pack_unread(unread)


def test_an_event_that_is_set_aside_again_is_the_same_letter(intake: Intake) -> None:
    set_aside(intake, "evt_1")
    before = letters_of(intake)[0].dead_letter_id

    set_aside(intake, "evt_1")

    assert [letter.dead_letter_id for letter in letters_of(intake)] == [before]


def test_dead_letters_are_listed_oldest_first_page_by_page(intake: Intake) -> None:
    names = [f"evt_{number}" for number in range(5)]
    set_aside(intake, names[0])
    intake.clock.now += SECOND
    # At one moment the ids decide, so that no page loses one.
    set_aside(intake, *names[1:])

    seen: list[str] = []
    token, sizes = "", []
    while True:
        letters, token = intake.operations.list_dead_letters(ORGANIZATION, PageRequest.of(2, token))
        seen += [letter.event_id for letter in letters]
        sizes.append(len(letters))
        if not token:
            break

    assert (seen, sizes) == (names, [2, 2, 1])


def test_a_last_page_that_is_full_has_no_next(intake: Intake) -> None:
    set_aside(intake, "evt_1", "evt_2")

    letters, token = intake.operations.list_dead_letters(ORGANIZATION, PageRequest.of(2))

    assert (len(letters), token) == (2, "")


@pytest.mark.parametrize("token", ["x", "W10", "WyJjMTg1NDk4OWE5MTQiXQ"])
def test_a_token_of_nobody_is_refused(intake: Intake, token: str) -> None:
    with pytest.raises(PageTokenInvalid):
        intake.operations.list_dead_letters(ORGANIZATION, PageRequest.of(2, token))


def test_dead_letters_are_one_organizations_own(intake: Intake) -> None:
    set_aside(intake, "evt_1")
    intake.operations.set_aside("org_2", "evt_1", EventEmpty(), unread=envelope.Unread(b""))

    assert len(letters_of(intake)) == len(letters_of(intake, "org_2")) == 1
    assert letters_of(intake, "org_3") == []


def test_the_status_says_what_waits_and_for_how_long(intake: Intake) -> None:
    assert intake.operations.status(ORGANIZATION) == PipelineStatus(0, 0, 0)

    intake.ingest(event("e1"), event("e2"))
    intake.clock.now += SECOND
    intake.ingest(event("e3"))
    set_aside(intake, "evt_1")
    intake.clock.now += SECOND

    assert intake.operations.status(ORGANIZATION) == PipelineStatus(2, 2 * SECOND, 1)
    assert intake.operations.status("org_2") == PipelineStatus(0, 0, 0)


def test_a_clock_that_fell_makes_no_negative_age(intake: Intake) -> None:
    intake.ingest(event())
    intake.clock.now -= SECOND

    assert intake.operations.status(ORGANIZATION).oldest_age_us == 0
