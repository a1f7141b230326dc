"""Which of an edge's events it may forget: all that are terminal, and none that is not."""

import dataclasses
from collections.abc import Sequence

import pytest

from om_server.core.errors import DependencyUnavailable, InvalidArgument
from om_server.core.event import EdgePosition, Event, Outcome
from om_server.ingestion.envelope import Unread
from om_server.ingestion.operations import Reported
from om_server.pipeline.settle import Settler
from om_server.pipeline.settled_ranges import by_epoch
from om_server.wallet.leases.lease import Lease
from tests.server.pipeline.edge_scene import leased, outcome
from tests.server.pipeline.harness import CREDIT, EDGE, Tenant, World, tokens


def at(sequence: int, epoch: int = 1) -> EdgePosition:
    return EdgePosition(EDGE.edge_id, epoch, sequence)


def settled(world: World) -> dict[int, Sequence[tuple[int, int]]]:
    return dict(world.changes.settled([EDGE.edge_id]).get(EDGE.edge_id, {}))


@pytest.fixture(name="lease")
def make_lease(world: World, tenant: Tenant) -> Lease:
    return leased(world, tenant, max_intents=0)


def event(
    world: World, tenant: Tenant, lease: Lease, sequence: int, *, epoch: int = 1, **changes: object
) -> Event:
    found = outcome(world, tenant, lease, f"evt_{sequence}", retained=CREDIT // 100)
    return dataclasses.replace(found, edge=at(sequence, epoch), **changes)  # type: ignore[arg-type]


def test_positions_are_ranges_by_edge_and_epoch_and_no_number_is_no_position() -> None:
    other = EdgePosition("edg_other", 1, 2)

    found = by_epoch([at(2), at(1), at(4), at(1, epoch=2), other, at(0)])

    assert found == {
        (EDGE.edge_id, 1): ((1, 2), (4, 4)),
        (EDGE.edge_id, 2): ((1, 1),),
        ("edg_other", 1): ((2, 2),),
    }


def test_charged_unrated_and_zero_events_are_terminal_and_a_gap_is_not(
    world: World, tenant: Tenant, lease: Lease
) -> None:
    world.settler.settle(
        [
            event(world, tenant, lease, 1),
            event(world, tenant, lease, 2, lines=(tokens(1, model="unheard-of"),)),
            event(world, tenant, lease, 4, outcome=Outcome.ZERO, lines=()),
        ]
    )

    assert settled(world) == {1: ((1, 2), (4, 4))}


def test_events_that_no_edge_reported_are_in_no_journal(world: World, tenant: Tenant) -> None:
    world.settler.settle([world.event(tenant)])

    assert settled(world) == {}


def test_a_late_event_of_an_earlier_epoch_is_told_under_it(
    world: World, tenant: Tenant, lease: Lease
) -> None:
    world.settler.settle([event(world, tenant, lease, 1), event(world, tenant, lease, 9, epoch=7)])

    assert settled(world) == {1: ((1, 1),), 7: ((9, 9),)}


def test_a_duplicate_and_a_conflict_are_terminal(world: World, tenant: Tenant, lease: Lease) -> None:
    first = event(world, tenant, lease, 1)
    world.settler.settle([first])
    twin = dataclasses.replace(first, edge=at(2))
    conflict = dataclasses.replace(first, edge=at(3), payload_hash="other")

    assert world.settler.settle([twin, conflict]) == 0

    assert settled(world) == {1: ((1, 3),)}


def test_twins_in_one_batch_are_both_terminal(world: World, tenant: Tenant, lease: Lease) -> None:
    first = event(world, tenant, lease, 1)

    world.settler.settle([first, dataclasses.replace(first, edge=at(2))])

    assert settled(world) == {1: ((1, 2),)}


def test_a_settlement_that_fails_tells_nothing(world: World, tenant: Tenant, lease: Lease) -> None:
    class Failing(Settler):
        def _settle(self, events: Sequence[Event]) -> int:
            super()._settle(events)
            raise DependencyUnavailable

    with pytest.raises(DependencyUnavailable):
        Failing(world.database, world.slices, world.clock).settle([event(world, tenant, lease, 1)])

    assert settled(world) == {}


def test_an_invalid_event_is_terminal_when_its_money_has_moved(
    world: World, tenant: Tenant, lease: Lease
) -> None:
    broken = event(world, tenant, lease, 1, lines=())
    world.ingestion.ingest(tenant.organization_id, [Reported(broken, time_supplied=True)], from_edge=True)
    before = settled(world)

    world.settler.count_dead_letters()

    assert (before, settled(world)) == ({}, {1: ((1, 1),)})


def test_a_broken_twin_of_a_settled_event_is_terminal(world: World, tenant: Tenant, lease: Lease) -> None:
    good = event(world, tenant, lease, 1)
    world.settler.settle([good])
    broken = dataclasses.replace(good, edge=at(2), lines=())
    world.ingestion.ingest(tenant.organization_id, [Reported(broken, time_supplied=True)], from_edge=True)

    world.settler.count_dead_letters()

    assert settled(world) == {1: ((1, 2),)}


def test_an_event_that_cannot_be_read_is_terminal_by_its_place(
    world: World, tenant: Tenant, lease: Lease
) -> None:
    unread = Unread(b"sent", EDGE.edge_id, edge_epoch=3, sequence=8)
    world.ingestion.set_aside(
        tenant.organization_id, "evt_8", InvalidArgument("event", "unreadable"), unread=unread
    )

    world.settler.count_dead_letters()

    assert settled(world) == {3: ((8, 8),)}


def test_an_edge_that_sends_again_what_was_forgotten_is_told_again(
    world: World, tenant: Tenant, lease: Lease
) -> None:
    first = event(world, tenant, lease, 1)
    world.settler.settle([first])
    world.database.write(lambda: world.database.engine.execute_sql("DELETE FROM changes"))

    report = Reported(dataclasses.replace(first), time_supplied=True)
    world.ingestion.ingest(tenant.organization_id, [report], from_edge=True)
    worker = world.worker()
    while worker.settle_once():
        pass

    assert settled(world) == {1: ((1, 1),)}
