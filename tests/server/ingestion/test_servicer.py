"""IngestionService over a real socket, for applications and for edges."""

import dataclasses
from collections.abc import Iterator, Sequence

import grpc
import pytest
from structlog.testing import capture_logs

from om.ingestion.v1 import ingestion_service_pb2 as pb
from om.ingestion.v1 import ingestion_service_pb2_grpc
from om.type.v1 import error_reason_pb2, event_pb2, usage_pb2
from om_server.core.event import EdgePosition, Event, Funding
from om_server.core.page import PageRequest
from om_server.ingestion.envelope import unpack_unread
from om_server.ingestion.quota_desk import QuotaDesk
from om_server.ingestion.servicer import IngestionServicer
from om_server.ingestion.standing import EventStanding, EventState, LetterResult, LetterState
from om_server.rpc.caller import Scope
from om_server.rpc.convert import timestamp_to_proto
from tests.rpc import Keyring, bearer, failing, key_caller, made, serving
from tests.server.ingestion.harness import ORGANIZATION, POSITION, SECOND, START, Intake

Stub = ingestion_service_pb2_grpc.IngestionServiceStub

KEY = bearer("om_live_ingest")
EDGE = pb.EdgeSource(edge_id=POSITION.edge_id, edge_epoch=POSITION.edge_epoch)
LEASE = "lse_" + "0" * 26

ACCEPTED, DUPLICATE, REJECTED = (
    pb.INGEST_STATE_ACCEPTED,
    pb.INGEST_STATE_DUPLICATE,
    pb.INGEST_STATE_REJECTED,
)


@dataclasses.dataclass(frozen=True)
class Owner:
    organization_id: str
    team_id: str


OWNERS = {
    "key_a": Owner(ORGANIZATION, "team_a"),
    "key_b": Owner("org_b", "team_b"),
}


def find_owners(key_ids: Sequence[str]) -> dict[str, Owner]:
    """Find owners as a database does, which takes no zero character in a question."""
    assert not any("\0" in key_id for key_id in key_ids)
    return {key_id: OWNERS[key_id] for key_id in key_ids if key_id in OWNERS}


class Desk:
    """Settles or drops what it is asked to, and remembers who asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, list[str], str]] = []

    def replay(self, organization_id: str, letter_ids: Sequence[str], *, actor: str) -> list[LetterResult]:
        self.asked.append((organization_id, list(letter_ids), actor))
        return [
            LetterResult("dlt_1", "e1", LetterState.SETTLED),
            LetterResult("dlt_2", "e2", LetterState.FAILED, "UNKNOWN_UNIT", "the unit is odd"),
        ]

    def discard(self, organization_id: str, letter_ids: Sequence[str], *, actor: str) -> list[LetterResult]:
        self.asked.append((organization_id, list(letter_ids), actor))
        return [LetterResult("dlt_1", "e1", LetterState.DISCARDED)]


@pytest.fixture(name="desk")
def make_desk() -> Desk:
    return Desk()


def find_settled(organization_id: str, *, source: str, event_id: str) -> EventStanding | None:
    if (organization_id, source, event_id) != (ORGANIZATION, "api", "settled"):
        return None
    return EventStanding(EventState.CHARGED, START)


@pytest.fixture(name="servicer")
def make_servicer(intake: Intake, desk: Desk) -> IngestionServicer:
    return servicer_of(intake, desk)


def servicer_of(intake: Intake, desk: Desk) -> IngestionServicer:
    return made(
        IngestionServicer,
        intake.operations,
        key_owners=find_owners,
        count_unrated=lambda organization_id: 7 if organization_id == ORGANIZATION else 0,
        settled=find_settled,
        letters=desk,
        clock=intake.clock,
    )


@pytest.fixture(name="stub")
def serve(servicer: IngestionServicer) -> Iterator[Stub]:
    keys = Keyring(
        {
            "om_live_ingest": key_caller(Scope.INGEST, organization_id=ORGANIZATION),
            "om_live_admin": key_caller(Scope.ADMIN, organization_id=ORGANIZATION),
            "om_live_read": key_caller(Scope.READ, organization_id=ORGANIZATION),
            "om_live_other": key_caller(organization_id="org_b"),
        }
    )
    with serving([servicer], keys) as channel:
        yield Stub(channel)


def line(tokens: int = 2, *, unit: str = "input_tokens") -> event_pb2.UsageLine:
    quantity = usage_pb2.Quantity(unit=unit, amount=tokens, certainty=usage_pb2.CERTAINTY_MEASURED)
    return event_pb2.UsageLine(
        provider="openai", model="gpt-4o", usage=usage_pb2.Usage(quantities=[quantity])
    )


def message(event_id: str = "e1", /, **fields: object) -> event_pb2.UsageEvent:
    given: dict[str, object] = {"lines": [line()], **fields}
    return event_pb2.UsageEvent(event_id=event_id, **given)  # type: ignore[arg-type] # A table's row.


def send(stub: Stub, *events: event_pb2.UsageEvent) -> pb.IngestEventsResponse:
    return stub.IngestEvents(pb.IngestEventsRequest(events=events), metadata=KEY)


def test_what_is_left_of_a_month_is_told_where_a_quota_applies(intake: Intake, desk: Desk) -> None:
    plans = {ORGANIZATION: "STARTER", "org_b": "ENTERPRISE"}
    intake.limit(QuotaDesk(intake.database, {"STARTER": 3}, plan_of=plans.__getitem__, clock=intake.clock))
    keys = {
        "om_live_ingest": key_caller(Scope.INGEST, organization_id=ORGANIZATION),
        "om_live_other": key_caller(organization_id="org_b"),
    }
    with serving([servicer_of(intake, desk)], Keyring(keys)) as channel:
        stub = Stub(channel)
        quota = send(stub, message("e1"), message("")).monthly_quota
        assert (quota.limit, quota.remaining) == (3, 2)
        other = pb.IngestEventsRequest(events=[message("e1")])
        assert not stub.IngestEvents(other, metadata=bearer("om_live_other")).HasField("monthly_quota")
        with failing() as failures:
            send(stub, message("e2"), message("e3"), message("e4"))
    assert failures[0].reason == "MONTHLY_QUOTA_EXCEEDED"
    assert failures[0].metadata["current_usage"] == "1"


def send_as_edge(stub: Stub, *events: event_pb2.UsageEvent) -> pb.IngestEventsResponse:
    return stub.IngestEvents(pb.IngestEventsRequest(edge=EDGE, events=events), metadata=bearer())


def answers(response: pb.IngestEventsResponse) -> list[tuple[str, int, str, str]]:
    """Id, state, reason and field of each answer."""
    return [
        (
            one.event_id,
            one.state,
            error_reason_pb2.ErrorReason.Name(one.reason).removeprefix("ERROR_REASON_"),
            one.field,
        )
        for one in response.results
    ]


def states(response: pb.IngestEventsResponse) -> list[int]:
    return [one.state for one in response.results]


def queued(intake: Intake) -> list[Event]:
    return [one for batch in intake.queued() for one in batch]


def letters(
    stub: Stub, metadata: tuple[tuple[str, str], ...] = bearer("om_live_read")
) -> list[pb.DeadLetter]:
    return list(stub.ListDeadLetters(pb.ListDeadLettersRequest(), metadata=metadata).dead_letters)


def test_an_event_belongs_to_the_key_that_it_came_with(stub: Stub, intake: Intake) -> None:
    response = send(stub, message(attribution=event_pb2.Attribution(team_id="forged", user_id="ada")))

    assert (response.accepted_count, response.duplicate_count, response.rejected_count) == (1, 0, 0)
    assert answers(response) == [("e1", ACCEPTED, "UNSPECIFIED", "")]
    assert response.batch_id.startswith("bat_")
    [event] = queued(intake)
    assert (event.organization_id, event.key_id, event.source) == (ORGANIZATION, "key_test", "api")
    assert (event.attribution.team_id, event.attribution.user_id) == ("team_test", "ada")
    assert (event.event_time, event.receive_time, event.edge) == (START, START, None)


def test_one_bad_event_costs_no_neighbour(stub: Stub, intake: Intake) -> None:
    response = send(
        stub,
        message("e1"),
        message(""),
        message("e2", lines=[line(-1)]),
        message("e3", lines=[line(unit="thoughts")]),
        message("e4", lines=[]),
        message("e" * 256),
        message("e5", source="x" * 65),
        message("e6\0"),
        message("e7"),
    )

    assert answers(response) == [
        ("e1", ACCEPTED, "UNSPECIFIED", ""),
        ("", REJECTED, "EVENT_ID_MISSING", ""),
        ("e2", REJECTED, "NEGATIVE_QUANTITY", "lines[0].usage.quantities[0]"),
        ("e3", REJECTED, "UNKNOWN_UNIT", "lines[0].usage.quantities[0]"),
        ("e4", REJECTED, "EVENT_EMPTY", ""),
        ("e" * 256, REJECTED, "INVALID_ARGUMENT", "event_id"),
        ("e5", REJECTED, "INVALID_ARGUMENT", "source"),
        ("e6\0", REJECTED, "INVALID_ARGUMENT", "event_id"),
        ("e7", ACCEPTED, "UNSPECIFIED", ""),
    ]
    assert (response.accepted_count, response.rejected_count) == (2, 7)
    assert all(one.message for one in response.results if one.state == REJECTED)
    assert [one.event_id for one in queued(intake)] == ["e1", "e7"]
    assert letters(stub) == []


def test_repeats_and_conflicts_are_told(stub: Stub, intake: Intake) -> None:
    assert states(send(stub, message(), message())) == [ACCEPTED, DUPLICATE]
    intake.settle(*queued(intake))

    response = send(stub, message(), message(lines=[line(9)]))

    assert [(state, reason) for _, state, reason, _ in answers(response)] == [
        (DUPLICATE, "UNSPECIFIED"),
        (REJECTED, "EVENT_CONFLICT"),
    ]
    assert (response.batch_id, response.duplicate_count) == ("", 1)


def test_without_a_time_a_repeat_is_the_same_whenever_it_comes(stub: Stub, intake: Intake) -> None:
    send(stub, message())
    intake.settle(*queued(intake))
    intake.clock.now += SECOND

    assert states(send(stub, message())) == [DUPLICATE]
    assert states(send(stub, message(occur_time=timestamp_to_proto(START)))) == [REJECTED]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("source", "proxy"),
        ("funding", [event_pb2.Funding(lease_id=LEASE, bound_nanos=1, retained_nanos=1)]),
        ("wallet_id", "wal_1"),
        ("job_id", "batch_1"),
        ("unfunded", True),
        ("outcome", event_pb2.OUTCOME_ZERO),
        ("key_id", "key_a"),
        ("sequence", 1),
    ],
)
def test_an_application_may_not_speak_for_an_edge(
    stub: Stub, intake: Intake, field: str, value: object
) -> None:
    response = send(stub, message(**{field: value}), message("e2"))

    assert answers(response) == [
        ("e1", REJECTED, "EDGE_FIELD_FORBIDDEN", field),
        ("e2", ACCEPTED, "UNSPECIFIED", ""),
    ]
    assert [one.event_id for one in queued(intake)] == ["e2"]


def test_an_application_may_not_ship_an_edges_batch(stub: Stub, intake: Intake) -> None:
    with failing() as failures:
        stub.IngestEvents(pb.IngestEventsRequest(edge=EDGE, events=[message()]), metadata=KEY)

    [failure] = failures
    assert (failure.code, failure.reason) == (grpc.StatusCode.PERMISSION_DENIED, "EDGE_FIELD_FORBIDDEN")
    assert failure.metadata == {"field": "edge"}
    assert queued(intake) == []


def test_an_edges_batch_belongs_to_the_keys_of_its_events(stub: Stub, intake: Intake) -> None:
    forged = event_pb2.Attribution(team_id="forged", user_id="ada")
    funding = [event_pb2.Funding(lease_id=LEASE, bound_nanos=5, retained_nanos=4)]
    response = send_as_edge(
        stub,
        message("evt_1", key_id="key_a", sequence=1, attribution=forged, source="api", funding=funding),
        message("evt_2", key_id="key_b", sequence=2),
        message("evt_3", key_id="key_a", sequence=3),
    )

    assert answers(response) == [(f"evt_{n}", ACCEPTED, "UNSPECIFIED", "") for n in (1, 2, 3)]
    assert response.batch_id
    first, third, second = sorted(
        queued(intake), key=lambda one: (one.organization_id == "org_b", one.event_id)
    )
    assert [one.event_id for one in (first, second, third)] == ["evt_1", "evt_2", "evt_3"]
    assert (first.organization_id, first.attribution.team_id) == (ORGANIZATION, "team_a")
    assert (second.organization_id, second.attribution.team_id) == ("org_b", "team_b")
    assert (first.source, first.key_id, first.attribution.user_id) == ("proxy", "key_a", "ada")
    assert first.edge == EdgePosition(POSITION.edge_id, POSITION.edge_epoch, 1)
    assert first.funding == (Funding(LEASE, 5, 4),)


def test_a_batch_is_named_although_its_last_organization_queued_nothing(stub: Stub, intake: Intake) -> None:
    # One that breaks a rule is set aside at once.
    response = send_as_edge(
        stub,
        message("evt_2", key_id="key_a", sequence=2),
        message("evt_1", key_id="key_b", sequence=1, lines=[]),
    )

    assert states(response) == [ACCEPTED, ACCEPTED]
    assert response.batch_id


@pytest.mark.parametrize(
    ("event_id", "invalid", "name", "reason"),
    [
        ("", {"sequence": 5}, f"{POSITION.edge_id}:3:5", "EVENT_ID_MISSING"),
        ("evt\0", {"sequence": 5}, f"{POSITION.edge_id}:3:5", "INVALID_ARGUMENT"),
        ("evt_1", {"lines": [line(-1)]}, "evt_1", "NEGATIVE_QUANTITY"),
        ("evt_1", {"lines": [line(unit="x\0")]}, "evt_1", "UNKNOWN_UNIT"),
        ("evt_1", {"lines": []}, "evt_1", "EVENT_EMPTY"),
        ("evt_1", {"job_id": "x" * 256}, "evt_1", "INVALID_ARGUMENT"),
        ("evt_1", {"outcome": 99}, "evt_1", "INVALID_ARGUMENT"),
    ],
)
def test_an_edges_event_is_never_rejected(
    stub: Stub, intake: Intake, event_id: str, invalid: dict[str, object], name: str, reason: str
) -> None:
    """It is money that moved already, so an invalid one is set aside, with its reason."""
    batch = [message(event_id, key_id="key_a", **invalid), message("evt_2", key_id="key_a", sequence=6)]

    assert states(send_as_edge(stub, *batch)) == [ACCEPTED, ACCEPTED]
    assert states(send_as_edge(stub, *batch)) == [ACCEPTED, ACCEPTED]

    assert [one.event_id for one in queued(intake)] == ["evt_2", "evt_2"]
    [letter] = letters(stub)
    assert letter.event_id == name
    assert error_reason_pb2.ErrorReason.Name(letter.reason) == f"ERROR_REASON_{reason}"
    assert (letter.attempt_count, letter.create_time) == (0, timestamp_to_proto(START))
    assert letters(stub, bearer("om_live_other")) == []


def test_an_event_that_cannot_be_read_keeps_its_place_in_the_journal(stub: Stub, intake: Intake) -> None:
    send_as_edge(stub, message("evt_1", key_id="key_a", sequence=5, lines=[line(unit="x")]))

    [letter], _ = intake.operations.list_dead_letters(ORGANIZATION, PageRequest.of())
    unread = unpack_unread(letter.envelope)
    position = EdgePosition(unread.edge_id, unread.edge_epoch, unread.sequence)
    assert position == EdgePosition(POSITION.edge_id, POSITION.edge_epoch, 5)


@pytest.mark.parametrize("key_id", ["key_nobody", "", "key\0"])
def test_an_edges_event_of_no_key_is_nobodys_and_is_told(stub: Stub, intake: Intake, key_id: str) -> None:
    with capture_logs() as logs:
        response = send_as_edge(
            stub,
            message("evt_1", key_id=key_id, sequence=1),
            message("evt_2", key_id="key_a", sequence=2),
        )

    assert answers(response) == [
        ("evt_1", REJECTED, "INVALID_ARGUMENT", "key_id"),
        ("evt_2", ACCEPTED, "UNSPECIFIED", ""),
    ]
    assert [one.event_id for one in queued(intake)] == ["evt_2"]
    [entry] = [entry for entry in logs if entry["event"] == "edge_event_without_key"]
    assert (entry["edge_id"], entry["at"]) == (POSITION.edge_id, 1)


def test_a_service_ingests_for_an_edge_or_not_at_all(stub: Stub) -> None:
    with failing() as failures:
        stub.IngestEvents(pb.IngestEventsRequest(events=[message()]), metadata=bearer())

    [failure] = failures
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")
    assert list(failure.violations) == ["edge"]


@pytest.mark.parametrize("count", [0, 1_001])
def test_a_batch_has_1_to_1000_events(stub: Stub, count: int) -> None:
    with failing() as failures:
        send(stub, *[message(f"e{number}") for number in range(count)])

    assert list(failures[0].violations) == ["events"]


def test_a_batch_of_1000_events_is_taken(stub: Stub, intake: Intake) -> None:
    assert send(stub, *[message(f"e{number}") for number in range(1_000)]).accepted_count == 1_000
    assert len(queued(intake)) == 1_000


def test_a_key_needs_the_scope(stub: Stub) -> None:
    with failing() as ingesting:
        stub.IngestEvents(pb.IngestEventsRequest(events=[message()]), metadata=bearer("om_live_read"))
    with failing() as reading:
        stub.GetPipelineStatus(pb.GetPipelineStatusRequest(), metadata=KEY)

    assert (ingesting[0].reason, ingesting[0].metadata) == ("SCOPE_MISSING", {"scope": "INGEST"})
    assert (reading[0].reason, reading[0].metadata) == ("SCOPE_MISSING", {"scope": "READ"})


def test_the_status_is_the_callers_own(stub: Stub, intake: Intake) -> None:
    send(stub, message())
    send_as_edge(stub, message("evt_1", key_id="key_a", lines=[]))
    intake.clock.now += 1_500_000

    mine = stub.GetPipelineStatus(pb.GetPipelineStatusRequest(), metadata=bearer("om_live_read"))
    other = stub.GetPipelineStatus(pb.GetPipelineStatusRequest(), metadata=bearer("om_live_other"))

    assert mine == pb.GetPipelineStatusResponse(
        queued_batch_count=1, oldest_age_ms=1_500, dead_letter_count=1, unrated_count=7
    )
    assert other == pb.GetPipelineStatusResponse()


def test_dead_letters_come_in_pages(stub: Stub) -> None:
    send_as_edge(stub, *[message(f"evt_{n}", key_id="key_a", lines=[]) for n in range(3)])
    metadata = bearer("om_live_read")

    first = stub.ListDeadLetters(pb.ListDeadLettersRequest(page_size=2), metadata=metadata)
    rest = stub.ListDeadLetters(
        pb.ListDeadLettersRequest(page_token=first.next_page_token), metadata=metadata
    )

    assert [one.event_id for one in (*first.dead_letters, *rest.dead_letters)] == ["evt_0", "evt_1", "evt_2"]
    assert rest.next_page_token == ""
    with failing() as failures:
        stub.ListDeadLetters(pb.ListDeadLettersRequest(page_token="forged"), metadata=metadata)
    assert failures[0].reason == "PAGE_TOKEN_INVALID"


def status(
    stub: Stub, event_id: str, *, source: str = "", key: str = "om_live_read"
) -> pb.GetEventStatusResponse:
    request = pb.GetEventStatusRequest(event_id=event_id, source=source)
    return stub.GetEventStatus(request, metadata=bearer(key))


def test_an_event_is_found_wherever_it_stands(stub: Stub, intake: Intake) -> None:
    send(stub, message("waits"))
    send_as_edge(stub, message("evt_bad", key_id="key_a", sequence=1, lines=[line(unit="odd")]))

    assert status(stub, "waits") == pb.GetEventStatusResponse(state=pb.EVENT_STATE_QUEUED)
    assert status(stub, "settled") == pb.GetEventStatusResponse(
        state=pb.EVENT_STATE_CHARGED, settle_time=timestamp_to_proto(START)
    )
    dead = status(stub, "evt_bad", source="proxy")
    assert (dead.state, dead.reason) == (
        pb.EVENT_STATE_DEAD_LETTER,
        error_reason_pb2.ERROR_REASON_UNKNOWN_UNIT,
    )
    assert dead.message


@pytest.mark.parametrize(
    ("event_id", "source", "key"),
    [
        ("other", "", "om_live_read"),
        ("waits", "proxy", "om_live_read"),
        ("waits", "", "om_live_other"),
        ("settled", "", "om_live_other"),
    ],
)
def test_an_event_that_is_nowhere_is_not_found(stub: Stub, event_id: str, *, source: str, key: str) -> None:
    """Another organization's is not, either."""
    send(stub, message("waits"))

    with failing() as failures:
        status(stub, event_id, source=source, key=key)

    assert failures[0].reason == "NOT_FOUND"


def test_letters_are_replayed_and_each_has_an_answer(stub: Stub, desk: Desk) -> None:
    response = stub.ReplayDeadLetters(
        pb.ReplayDeadLettersRequest(dead_letter_ids=["dlt_1", "dlt_2"]), metadata=bearer("om_live_admin")
    )

    assert response == pb.ReplayDeadLettersResponse(
        replayed_count=1,
        results=[
            pb.ReplayResult(dead_letter_id="dlt_1", event_id="e1", state=pb.REPLAY_STATE_SETTLED),
            pb.ReplayResult(
                dead_letter_id="dlt_2",
                event_id="e2",
                state=pb.REPLAY_STATE_FAILED,
                reason=error_reason_pb2.ERROR_REASON_UNKNOWN_UNIT,
                message="the unit is odd",
            ),
        ],
    )
    assert [(organization, ids) for organization, ids, _ in desk.asked] == [
        (ORGANIZATION, ["dlt_1", "dlt_2"])
    ]
    assert desk.asked[0][2]


def test_letters_are_dropped_on_request(stub: Stub) -> None:
    response = stub.ReplayDeadLetters(
        pb.ReplayDeadLettersRequest(discard=True), metadata=bearer("om_live_admin")
    )

    assert response.replayed_count == 1
    assert [result.state for result in response.results] == [pb.REPLAY_STATE_DISCARDED]


def test_only_an_administrator_replays(stub: Stub) -> None:
    with failing() as failures:
        stub.ReplayDeadLetters(pb.ReplayDeadLettersRequest(), metadata=bearer("om_live_read"))

    assert failures[0].reason == "SCOPE_MISSING"
