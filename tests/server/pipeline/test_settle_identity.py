"""Identities and idempotency keys: each event is settled once, whatever is sent again or under its name."""

from collections.abc import Mapping, Sequence

import pytest
from structlog.testing import capture_logs

from om_server.core.event import Outcome
from om_server.wallet.leases.lease import LeaseReport, LeaseState
from tests.server.pipeline.edge_scene import leased, outcome
from tests.server.pipeline.harness import CREDIT, EDGE, INPUT_CHARGE, Tenant, World, rows_of, tokens
from tests.server.pipeline.test_dead_letter import the_lease

GRANTED = 1_000 * CREDIT
CHARGE = 1_000 * INPUT_CHARGE


def conflicts(logs: Sequence[Mapping[str, object]]) -> list[object]:
    return [entry["event_id"] for entry in logs if entry["event"] == "event_conflict_dropped"]


def test_a_redelivered_batch_changes_no_byte_of_any_table(world: World, tenant: Tenant) -> None:
    batch = [world.event(tenant, f"e{n}", idempotency_key=f"k{n}" if n % 2 else "") for n in range(5)]
    world.settler.settle(batch)
    before = rows_of(world.database)
    world.clock.advance(3600)

    with capture_logs() as logs:
        assert world.settler.settle(batch) == 0
        assert world.settler.settle(batch[::-1]) == 0

    assert rows_of(world.database) == before
    assert not logs


def test_twins_in_one_batch_are_one_event(world: World, tenant: Tenant) -> None:
    event = world.event(tenant)

    with capture_logs() as logs:
        assert world.settler.settle([event, event, event]) == 1

    assert world.money(tenant)[0] == GRANTED - CHARGE
    assert not conflicts(logs)


def test_the_first_of_two_that_claim_one_identity_wins(world: World, tenant: Tenant) -> None:
    first, second = world.event(tenant), world.event(tenant, lines=(tokens(9),))

    with capture_logs() as logs:
        assert world.settler.settle([first]) == 1
        assert world.settler.settle([second, world.event(tenant, "other")]) == 1

    assert world.settled(first).charge == CHARGE
    assert conflicts(logs) == ["e1"]


def test_a_conflict_within_a_batch_is_reported_too(world: World, tenant: Tenant) -> None:
    first, second = world.event(tenant), world.event(tenant, lines=(tokens(9),))

    with capture_logs() as logs:
        assert world.settler.settle([first, second]) == 1

    assert world.settled(first).charge == CHARGE
    assert conflicts(logs) == ["e1"]


def test_the_same_id_from_another_source_or_organization_is_another_event(
    world: World, tenant: Tenant
) -> None:
    other = world.tenant("Milliner")
    events = [world.event(tenant), world.event(tenant, source="batch"), world.event(other)]

    with capture_logs() as logs:
        assert world.settler.settle(events) == 3

    assert world.money(tenant)[0] == GRANTED - 2 * CHARGE
    assert not conflicts(logs)


def test_an_idempotency_key_is_a_second_identity(world: World, tenant: Tenant) -> None:
    first = world.event(tenant, "e1", idempotency_key="k")
    renamed = world.event(tenant, "e2", idempotency_key="k")

    with capture_logs() as logs:
        assert world.settler.settle([first, renamed]) == 1
        assert world.settler.settle([renamed]) == 0

    assert world.money(tenant)[0] == GRANTED - CHARGE
    assert world.settled(first).charge == CHARGE
    assert not conflicts(logs)


def test_another_payload_under_an_idempotency_key_is_a_conflict(world: World, tenant: Tenant) -> None:
    first = world.event(tenant, "e1", idempotency_key="k")
    other = world.event(tenant, "e2", idempotency_key="k", lines=(tokens(9),))

    with capture_logs() as logs:
        world.settler.settle([first])
        assert world.settler.settle([other]) == 0

    assert conflicts(logs) == ["e2"]


def test_an_idempotency_key_is_one_organizations_own(world: World, tenant: Tenant) -> None:
    other = world.tenant("Milliner")
    events = [world.event(tenant, idempotency_key="k"), world.event(other, "e2", idempotency_key="k")]

    assert world.settler.settle(events) == 2


def test_who_loses_by_its_key_keeps_no_identity(world: World, tenant: Tenant) -> None:
    world.settler.settle([world.event(tenant, "e1", idempotency_key="k")])
    world.settler.settle([world.event(tenant, "e2", idempotency_key="k")])

    assert world.settler.settle([world.event(tenant, "e2")]) == 1

    assert world.money(tenant)[0] == GRANTED - 2 * CHARGE


def test_who_loses_by_its_identity_keeps_no_key(world: World, tenant: Tenant) -> None:
    world.settler.settle([world.event(tenant, "e1", idempotency_key="k1")])
    world.settler.settle([world.event(tenant, "e1", idempotency_key="k2")])

    assert world.settler.settle([world.event(tenant, "e2", idempotency_key="k2")]) == 1

    assert world.money(tenant)[0] == GRANTED - 2 * CHARGE


@pytest.mark.parametrize("end", [Outcome.CHARGED, Outcome.DEFERRED, Outcome.UNKNOWN])
def test_what_an_edge_reports_under_anothers_key_is_counted_and_its_money_is_free(
    world: World, tenant: Tenant, end: Outcome
) -> None:
    """Its lease waits for it as for any other, and its edge for the word that it may forget it."""
    lease = leased(world, tenant)
    world.settler.settle([world.event(tenant, "e1", idempotency_key="k", sandbox=True)])
    late = outcome(world, tenant, lease, idempotency_key="k", outcome=end, job_id="batch_1")

    assert world.settler.settle([late]) == 0

    assert world.money(tenant) == (GRANTED, 0, 0)
    assert the_lease(world, tenant).state is LeaseState.CLOSED
    assert dict(world.changes.settled([EDGE.edge_id])[EDGE.edge_id]) == {1: ((1, 1),)}
    assert world.analytics.find_event(tenant.organization_id, source="proxy", event_id="evt_1") is None


def test_it_is_counted_once_however_often_it_is_sent(world: World, tenant: Tenant) -> None:
    leased(world, tenant, admit_key="earlier")
    lease = leased(world, tenant, want_nanos=3 * CREDIT, max_intents=0)
    world.settler.settle([world.event(tenant, "e1", idempotency_key="k", sandbox=True)])
    late = outcome(world, tenant, lease, idempotency_key="k", retained=CREDIT)

    for batch in ([late, late], [late], [outcome(world, tenant, lease, "evt_2", retained=CREDIT), late]):
        world.settler.settle(batch)

    world.wallet.close_lease(EDGE, LeaseReport(lease.lease_id, 3, 3 * CREDIT))
    found = world.database.read(
        lambda: world.wallet_store.leases.lock(tenant.organization_id, [lease.lease_id])
    )
    assert [one.settled_count for one in found] == [2]
    assert world.money(tenant) == (GRANTED - 4 * CREDIT, 4 * CREDIT - 200 * INPUT_CHARGE, 0)


def test_the_key_of_a_second_edges_event_in_one_batch_counts_too(world: World, tenant: Tenant) -> None:
    leases = [leased(world, tenant, admit_key=name) for name in ("evt_1", "evt_2")]
    events = [
        outcome(world, tenant, lease, name, idempotency_key="k")
        for name, lease in zip(("evt_1", "evt_2"), leases, strict=True)
    ]

    assert world.settler.settle(events) == 1

    assert world.money(tenant) == (GRANTED - 200 * INPUT_CHARGE, 0, 0)
