"""Invariants that no single rule holds: what time does alone, what became of all, what others may touch."""

from __future__ import annotations

import pytest

from om.edge.v1 import edge_service_pb2 as edge_pb
from om.ingestion.v1 import ingestion_service_pb2 as ingestion_pb
from om.type.v1 import event_pb2
from om.wallet.v1 import entitlement_service_pb2 as entitlement_pb
from om.wallet.v1 import wallet_service_pb2 as wallet_pb
from om_server.core.page import PageRequest
from om_server.rpc.convert import credits_to_proto
from om_server.storage.database import Database
from om_server.wallet.holds.suspense import Decision
from om_server.wallet.leases.lease import LeaseState
from tests.rpc import failing
from tests.server.pipeline.harness import CREDIT, SetClock, rows_of
from tests.server.pipeline.races.scene import EdgeProcess, Office, Server, line, report

GRANTED = 100 * CREDIT
UNKNOWN_MODEL = "a-model-nobody-knows"
OWNER = Decision("mem_1", "the disk is gone")


@pytest.fixture(name="office")
def make_office(server: Server) -> Office:
    return server.office(granted=GRANTED)


def bad(event: event_pb2.UsageEvent) -> event_pb2.UsageEvent:
    """The same event with a unit that nobody knows, which makes it a dead letter."""
    event.lines[0].usage.quantities[0].unit = "no-such-unit"
    return event


def everything_open(server: Server, office: Office) -> list[EdgeProcess]:
    """A credit in every state that waits for somebody; returns the edges that can still speak."""
    edge, lost, doubted = server.edge(office), server.edge(office, 1), server.edge(office, 2)
    edge.admit("open")
    closing = edge.admit("closing")
    edge.close(closing.lease.lease_id, 1, CREDIT)
    unrated = edge.admit("unrated")
    edge.ship(edge.outcome("unrated", unrated, lines=[line(model=UNKNOWN_MODEL)]))
    edge.ship(bad(edge.outcome("dead", edge.admit("dead"))))
    lost.admit("lost")
    doubted.admit("doubted")
    resolved = doubted.admit("resolved")
    after = doubted.successor()
    after.resync(clean=False)
    server.platform.wallet.resolve_lease(office.organization_id, resolved.lease.lease_id, decision=OWNER)
    server.settle()
    return [edge, after]


def test_time_alone_makes_nothing_spendable(server: Server, office: Office, clock: SetClock) -> None:
    """Leases, dead letters, unrated events and suspense wait for a proof or an owner, for ever."""
    everything_open(server, office)
    before = server.money(office)
    assert before == (GRANTED - 7 * CREDIT, 6 * CREDIT, 0)
    [suspense] = server.platform.wallet.list_suspense(office.organization_id, page=PageRequest.of()).suspense
    assert suspense.remaining == CREDIT

    for seconds in (61, 3_600, 25 * 3_600, 400 * 24 * 3_600):
        clock.advance(seconds)
        server.settle()

        assert server.money(office) == before
        assert server.platform.wallet.list_suspense(
            office.organization_id, page=PageRequest.of()
        ).suspense == (suspense,)


def test_nothing_stays_held_when_traffic_stops_all_edges_resync_and_owners_have_decided(
    server: Server, office: Office, clock: SetClock
) -> None:
    edge, _ = everything_open(server, office)
    reports = [
        report(lease.lease_id, 1, CREDIT)
        for lease in server.leases(office).values()
        if lease.edge_id == edge.edge_id and lease.admit_key != "open"
    ]
    edge.successor().resync(*reports)
    closing = next(lease for lease in server.leases(office).values() if lease.admit_key == "closing")
    answer = edge_pb.AdmitResponse(
        wallet_id=closing.wallet_id, lease=edge_pb.Lease(lease_id=closing.lease_id, amount_nanos=CREDIT)
    )
    edge.ship(edge.outcome("closing", answer))
    server.settle()
    discarded = server.ingestion.ReplayDeadLetters(
        ingestion_pb.ReplayDeadLettersRequest(discard=True), metadata=office.metadata
    )
    assert discarded.replayed_count == 1
    clock.advance(25 * 3_600)
    wallet = server.platform.wallet
    for lease in server.leases(office).values():
        if lease.state in (LeaseState.OPEN, LeaseState.QUARANTINED):
            wallet.resolve_lease(office.organization_id, lease.lease_id, decision=OWNER)
    for one in wallet.list_suspense(office.organization_id, page=PageRequest.of()).suspense:
        wallet.release_suspense(office.organization_id, one.escrow_id, charge=0, decision=OWNER)

    # What nobody can price is not a leak: it waits for its price.
    assert server.money(office) == (GRANTED - CREDIT // 2 - CREDIT, CREDIT, 0)
    assert {lease.state for lease in server.leases(office).values()} <= {
        LeaseState.CLOSED,
        LeaseState.RESOLVED,
    }


def test_every_event_that_was_acknowledged_is_settled_or_a_dead_letter_and_the_counts_add_up(
    server: Server, office: Office
) -> None:
    edge = server.edge(office)
    expected: dict[str, ingestion_pb.EventState.ValueType] = {}
    shipped: list[event_pb2.UsageEvent] = []
    for number in range(5):
        for kind in ("charged", "zero", "unrated", "dead"):
            event_id = f"{kind}_{number}"
            event = edge.outcome(event_id, edge.admit(event_id))
            if kind == "zero":
                event.outcome = event_pb2.OUTCOME_ZERO
                del event.lines[:]
            elif kind == "unrated":
                event.lines[0].model = UNKNOWN_MODEL
            elif kind == "dead":
                bad(event)
            shipped.append(event)
            name = {"dead": "DEAD_LETTER"}.get(kind, kind.upper())
            expected[event_id] = ingestion_pb.EventState.Value(f"EVENT_STATE_{name}")
    # Each part twice, and all of it once more: answers are lost.
    for part in (shipped[:7], shipped[7:]):
        edge.ship(*part)
        edge.ship(*part)
    server.settle()
    edge.ship(*shipped)
    server.settle()

    found = {
        event_id: server.ingestion.GetEventStatus(
            ingestion_pb.GetEventStatusRequest(source="proxy", event_id=event_id), metadata=office.metadata
        ).state
        for event_id in expected
    }

    assert found == expected
    status = server.ingestion.GetPipelineStatus(
        ingestion_pb.GetPipelineStatusRequest(), metadata=office.metadata
    )
    assert (status.queued_batch_count, status.dead_letter_count, status.unrated_count) == (0, 5, 5)
    assert server.money(office) == (GRANTED - 5 * CREDIT // 2 - 10 * CREDIT, 10 * CREDIT, 0)


def test_what_one_organization_does_touches_no_row_of_another(
    server: Server, office: Office, database: Database
) -> None:
    """The other organization has money in every state too, and its ids are named by the first one."""
    other = server.office(granted=GRANTED)
    [theirs, *_] = everything_open(server, other)
    foreign = server.leases(other)

    def of_other() -> dict[str, list[str]]:
        name = other.organization_id
        found = {table: [row for row in rows if name in row] for table, rows in rows_of(database).items()}
        return {table: rows for table, rows in found.items() if rows}

    before = of_other()
    assert {"wallets", "leases", "lease_slices", "escrows", "usage_events", "dead_letters"} <= set(before)

    everything_of(
        server, office, foreign=next(iter(foreign)), wallet_id=next(iter(foreign.values())).wallet_id
    )

    assert of_other() == before
    assert theirs.admit("open").lease.lease_id in foreign


def everything_of(server: Server, office: Office, *, foreign: str, wallet_id: str) -> None:
    """Use all that moves money, with another organization's lease and wallet where an id is asked for."""
    edge = server.edge(office, 7)
    answer = edge.admit("evt_1")
    stranger = edge_pb.AdmitResponse(
        wallet_id=wallet_id, lease=edge_pb.Lease(lease_id=foreign, amount_nanos=CREDIT)
    )
    edge.ship(edge.outcome("evt_1", answer), edge.outcome("evt_2", stranger))
    edge.ship(bad(edge.outcome("evt_3", edge.admit("evt_3"))))
    server.settle()
    with failing() as failures:
        edge.close(foreign, 0, 0)
    assert failures[0].reason == "NOT_FOUND"
    edge.successor().resync(report(foreign, 0, 0))
    hold = wallet_pb.CreateHoldRequest(
        wallet_id=wallet_id, amount=credits_to_proto(CREDIT), idempotency_key="hold"
    )
    with failing() as failures:
        server.wallets.CreateHold(hold, metadata=office.metadata)
    assert failures[0].reason == "NOT_FOUND"
    limit = entitlement_pb.Entitlement(unit="events", limit_value=1, type=entitlement_pb.LIMIT_TYPE_HARD)
    server.entitlements.CreateEntitlement(
        entitlement_pb.CreateEntitlementRequest(entitlement=limit, idempotency_key="limit"),
        metadata=office.metadata,
    )
    server.ingestion.ReplayDeadLetters(
        ingestion_pb.ReplayDeadLettersRequest(discard=True), metadata=office.metadata
    )
