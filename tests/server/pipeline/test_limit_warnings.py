"""What soft limits say: to an edge that admits a call, and to whoever checks, over a real socket."""

from collections.abc import Iterator

import pytest

from om.type.v1 import error_reason_pb2, event_pb2, limit_warning_pb2
from om.wallet.v1 import entitlement_service_pb2 as pb
from om_server.storage.database import Database
from tests.server.pipeline.harness import CREDIT, SetClock
from tests.server.pipeline.races.scene import EdgeProcess, Office, Server, line, running

GRANTED = 10 * CREDIT
CHAT = event_pb2.Attribution(feature_id="chat")
LIMIT_REACHED = error_reason_pb2.ERROR_REASON_LIMIT_REACHED
HARD, SOFT, NONE = pb.LIMIT_TYPE_HARD, pb.LIMIT_TYPE_SOFT, pb.LIMIT_TYPE_NONE


@pytest.fixture(name="clock")
def make_clock() -> SetClock:
    return SetClock()


@pytest.fixture(name="server")
def serve(database: Database, clock: SetClock) -> Iterator[Server]:
    with running(database, clock) as server:
        yield server


@pytest.fixture(name="office")
def make_office(server: Server) -> Office:
    return server.office(granted=GRANTED)


@pytest.fixture(name="edge")
def make_edge(server: Server, office: Office) -> EdgeProcess:
    return server.edge(office)


def limited(
    office: Office, server: Server, kind: pb.LimitType.ValueType, value: int, **changes: object
) -> str:
    """A limit on credits of a feature, or of whatever is said; its id."""
    wanted = pb.Entitlement(type=kind, limit_value=value, feature_id="chat", unit="credits")
    wanted.MergeFrom(pb.Entitlement(**changes))  # type: ignore[arg-type] # A table's row.
    request = pb.CreateEntitlementRequest(entitlement=wanted, idempotency_key=f"{wanted}")
    return server.entitlements.CreateEntitlement(request, metadata=office.metadata).entitlement.entitlement_id


def check(server: Server, office: Office) -> pb.CheckEntitlementResponse:
    request = pb.CheckEntitlementRequest(attribution=CHAT, lines=[line(400)])
    return server.entitlements.CheckEntitlement(request, metadata=office.metadata)


def test_an_admitted_call_is_told_every_soft_limit_that_it_passes_the_longest_first(
    server: Server, office: Office, edge: EdgeProcess
) -> None:
    day = limited(office, server, SOFT, 1, unit="requests", window=pb.LIMIT_WINDOW_DAY)
    ever = limited(office, server, SOFT, CREDIT - 1)
    today = limited(office, server, SOFT, 0, unit="events", window=pb.LIMIT_WINDOW_DAY)
    limited(office, server, SOFT, CREDIT)
    limited(office, server, NONE, 0)
    limited(office, server, SOFT, 0, feature_id="search")

    answer = edge.admit("evt_1", attribution=CHAT)

    assert answer.allowed
    assert list(answer.warnings) == [
        limit_warning_pb2.LimitWarning(limit_id=ever, window="total", unit="credits", remaining=CREDIT - 1),
        limit_warning_pb2.LimitWarning(limit_id=today, window="day", unit="events", remaining=0),
    ]
    # One request is what the first limit allows.
    assert day not in {warning.limit_id for warning in answer.warnings}


def test_what_was_used_beyond_a_soft_limit_shows_in_what_remains(
    server: Server, office: Office, edge: EdgeProcess
) -> None:
    soft = limited(office, server, SOFT, CREDIT)
    first = edge.admit("evt_1", attribution=CHAT)
    assert (first.allowed, list(first.warnings)) == (True, [])
    outcome = edge.outcome("evt_1", first, lines=[line(800)])
    outcome.attribution.CopyFrom(CHAT)
    edge.ship(outcome)
    server.settle()

    second = edge.admit("evt_2", attribution=CHAT)
    only_asked = edge.admit("evt_3", attribution=CHAT, want_nanos=0)

    assert second.lease.lease_id
    [warning] = second.warnings
    assert (warning.limit_id, warning.remaining) == (soft, -CREDIT)
    assert list(only_asked.warnings) == [warning]


def test_a_check_names_every_soft_limit_and_its_old_fields_the_first(server: Server, office: Office) -> None:
    ever = limited(office, server, SOFT, 0)
    today = limited(office, server, SOFT, 0, window=pb.LIMIT_WINDOW_DAY)

    answer = check(server, office)

    assert (answer.allowed, answer.reason, answer.entitlement_id) == (True, LIMIT_REACHED, ever)
    assert [warning.limit_id for warning in answer.warnings] == [ever, today]


@pytest.mark.parametrize("kind", ["limit", "wallet"])
def test_a_refusal_warns_of_nothing(server: Server, clock: SetClock, kind: str) -> None:
    office = server.office(granted=GRANTED if kind == "limit" else 1)
    edge = server.edge(office)
    limited(office, server, SOFT, 0)
    if kind == "limit":
        limited(office, server, HARD, 0)
    clock.advance(60)

    admitted, checked = edge.admit("evt_1", attribution=CHAT), check(server, office)

    reason = LIMIT_REACHED if kind == "limit" else error_reason_pb2.ERROR_REASON_INSUFFICIENT_FUNDS
    assert (admitted.allowed, admitted.refusal.reason, list(admitted.warnings)) == (False, reason, [])
    assert (checked.allowed, checked.reason, list(checked.warnings)) == (False, reason, [])


def test_a_call_under_a_hard_limit_is_told_of_soft_ones_too(
    server: Server, office: Office, edge: EdgeProcess, clock: SetClock
) -> None:
    soft = limited(office, server, SOFT, 0)
    limited(office, server, HARD, CREDIT)
    clock.advance(60)

    answer = edge.admit("evt_1", attribution=CHAT)

    assert answer.lease.max_intents == 1
    assert [warning.limit_id for warning in answer.warnings] == [soft]
