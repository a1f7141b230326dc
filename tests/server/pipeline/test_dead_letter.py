"""The money of edges' events that could not be settled."""

import dataclasses
from collections.abc import Iterable, Sequence

import pytest
from structlog.testing import capture_logs

from om_server.core.errors import DependencyUnavailable, InvalidArgument
from om_server.core.event import SOURCE_PROXY, Event, Funding
from om_server.core.page import PageRequest
from om_server.core.usage import UnitUnknown
from om_server.ingestion.envelope import Unread
from om_server.ingestion.operations import Reported
from om_server.pipeline.settle import Settler
from om_server.wallet.holds.suspense import Decision
from om_server.wallet.leases.lease import Lease, LeaseReport, LeaseState
from tests.server.pipeline.edge_scene import leased, outcome
from tests.server.pipeline.harness import CREDIT, EDGE, INPUT_CHARGE, Tenant, World

GRANTED = 1_000 * CREDIT
USED = 200 * INPUT_CHARGE
OWNER = Decision("mem_1", "nobody will ever read it")


class Stubborn(Settler):
    """Settles for real, but fails at the end of a transaction with a poisoned event in it."""

    def __init__(self, world: World, poison: Iterable[str]) -> None:
        super().__init__(world.database, world.slices, world.clock)
        self.poison = set(poison)

    def _settle(self, events: Sequence[Event]) -> int:
        count = super()._settle(events)
        if self.poison & {event.event_id for event in events}:
            raise UnitUnknown("poison")
        return count


def kill(world: World, *events: Event) -> None:
    """Let a worker set events aside."""
    world.queue(events)
    worker = world.worker(Stubborn(world, [event.event_id for event in events]))
    while worker.settle_once():
        pass


def the_lease(world: World, tenant: Tenant) -> Lease:
    wallet_id = world.wallet.get_wallet(tenant.organization_id).wallet_id
    [lease] = world.wallet.list_leases(tenant.organization_id, wallet_id, page=PageRequest.of()).leases
    return lease


def test_its_lease_counts_it_and_its_money_is_held_in_its_own_name(world: World, tenant: Tenant) -> None:
    lease = leased(world, tenant)

    kill(world, outcome(world, tenant, lease, retained=CREDIT // 4))

    ended = the_lease(world, tenant)
    assert (ended.state, ended.settled_count, ended.remaining) == (LeaseState.CLOSED, 1, 0)
    assert world.money(tenant) == (GRANTED - CREDIT // 4, CREDIT // 4, 0)


def test_a_letter_replayed_after_its_lease_closed_settles_from_its_hold(world: World, tenant: Tenant) -> None:
    """Its lease counted it once, so the second event of the lease is still the last."""
    lease = leased(world, tenant, max_intents=0)
    dead = outcome(world, tenant, lease, "dead", retained=CREDIT // 2)
    kill(world, dead)
    world.wallet.close_lease(EDGE, LeaseReport(lease.lease_id, 2, CREDIT))
    world.settler.settle([outcome(world, tenant, lease, "other", retained=CREDIT // 2)])
    assert the_lease(world, tenant).state is LeaseState.CLOSED
    assert world.money(tenant) == (GRANTED - USED - CREDIT // 2, CREDIT // 2, 0)

    assert world.settler.settle([dead]) == 1

    assert world.money(tenant) == (GRANTED - 2 * USED, 0, 0)
    assert world.settled(dead).flags == ()
    assert the_lease(world, tenant).settled_count == 2


def test_a_replay_before_its_lease_closes_is_counted_once(world: World, tenant: Tenant) -> None:
    lease = leased(world, tenant, max_intents=0)
    dead = outcome(world, tenant, lease, retained=CREDIT // 2)
    kill(world, dead)

    world.settler.settle([dead])

    assert the_lease(world, tenant).settled_count == 1
    assert world.money(tenant) == (GRANTED - USED - CREDIT // 2, CREDIT // 2, 0)


@pytest.mark.parametrize("retained", [0, 7])
def test_a_letter_is_counted_once_however_often_it_fails(world: World, tenant: Tenant, retained: int) -> None:
    lease = leased(world, tenant, max_intents=0)
    dead = outcome(world, tenant, lease, retained=retained, lines=())

    kill(world, dead)
    kill(world, dead)
    world.settler.count_dead_letters()
    world.settler.settle([dead])

    assert the_lease(world, tenant).settled_count == 1
    assert world.money(tenant) == (GRANTED - CREDIT, CREDIT, 0)


def test_a_broken_twin_of_a_settled_event_counts_nothing(world: World, tenant: Tenant) -> None:
    lease = leased(world, tenant, max_intents=0)
    event = outcome(world, tenant, lease, retained=CREDIT // 2)
    world.settler.settle([event])
    broken = dataclasses.replace(event, lines=())
    report = Reported(broken, time_supplied=True)
    world.ingestion.ingest(tenant.organization_id, [report], from_edge=True)

    assert world.settler.count_dead_letters() == 1
    assert world.settler.count_dead_letters() == 0

    assert the_lease(world, tenant).settled_count == 1
    assert world.money(tenant) == (GRANTED - CREDIT, CREDIT - USED, 0)


def test_what_intake_refuses_is_counted_too(world: World, tenant: Tenant) -> None:
    event = outcome(world, tenant, leased(world, tenant), lines=(), retained=CREDIT // 4)
    world.ingestion.ingest(tenant.organization_id, [Reported(event, time_supplied=True)], from_edge=True)

    world.worker().settle_once()

    assert the_lease(world, tenant).state is LeaseState.CLOSED
    assert world.money(tenant) == (GRANTED - CREDIT // 4, CREDIT // 4, 0)


def test_what_cannot_be_read_keeps_its_bound(world: World, tenant: Tenant) -> None:
    lease = leased(world, tenant)
    funding = (
        Funding(lease.lease_id, CREDIT, 1),
        Funding("lse_\0", 1, 1),
        Funding("lse_" + "0" * 26, -1, 0),
    )
    unread = Unread(b"sent", EDGE.edge_id, lease.wallet_id, funding)
    error = InvalidArgument("lines", "too many")
    world.ingestion.set_aside(tenant.organization_id, "evt_1", error, unread=unread)

    world.worker().settle_once()

    assert the_lease(world, tenant).state is LeaseState.CLOSED
    assert world.money(tenant) == (GRANTED - CREDIT, CREDIT, 0)


def test_a_letter_that_names_no_lease_only_waits(world: World, tenant: Tenant) -> None:
    unread = Unread(b"sent", EDGE.edge_id)
    error = InvalidArgument("lines", "too many")
    world.ingestion.set_aside(tenant.organization_id, "evt_1", error, unread=unread)

    assert (world.settler.count_dead_letters(), world.settler.count_dead_letters()) == (1, 0)
    assert world.money(tenant) == (GRANTED, 0, 0)


def test_a_discarded_letter_frees_its_money_once_and_says_who_did_it(world: World, tenant: Tenant) -> None:
    lease = leased(world, tenant)
    dead = outcome(world, tenant, lease, retained=CREDIT // 4)
    kill(world, dead)
    event = (SOURCE_PROXY, "evt_1")

    freed = world.wallet.discard_event(tenant.organization_id, event, decision=OWNER)
    again = world.wallet.discard_event(tenant.organization_id, event, decision=OWNER)

    assert (freed, again) == (CREDIT // 4, 0)
    assert world.wallet.discard_event(tenant.organization_id, ("api", "other"), decision=OWNER) == 0
    assert world.money(tenant) == (GRANTED, 0, 0)
    entries = world.wallet.list_entries(
        tenant.organization_id, lease.wallet_id, page=PageRequest.of()
    ).entries
    assert entries[0].description == "mem_1: nobody will ever read it"
    # Its edge sends it again: it has happened, so it is paid.
    world.settler.settle([dead])
    assert world.money(tenant) == (GRANTED - USED, 0, 0)


def test_a_letter_that_fails_stops_no_other(
    world: World, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = leased(world, tenant, max_intents=0)
    events = [outcome(world, tenant, lease, f"e{number}", retained=7) for number in range(2)]
    settle = world.wallet.settle_charges
    monkeypatch.setattr(world.wallet, "settle_charges", lambda *_: 1 // 0)
    kill(world, *events)
    monkeypatch.setattr(world.wallet, "settle_charges", settle)
    settler = Settler(world.database, world.slices, world.clock)

    class _FailsOnce:
        def __call__(self, organization_id: str, charges: Sequence[object]) -> object:
            monkeypatch.setattr(world.wallet, "settle_charges", settle)
            raise RuntimeError("secret")

    monkeypatch.setattr(world.wallet, "settle_charges", _FailsOnce())
    with capture_logs() as logs:
        assert settler.count_dead_letters() == 2

    assert [(log["event"], log["cause"]) for log in logs] == [("dead_letter_not_counted", "RuntimeError")]
    assert the_lease(world, tenant).settled_count == 1
    assert settler.count_dead_letters() == 0


def test_a_database_that_is_away_loses_no_letter(
    world: World, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = outcome(world, tenant, leased(world, tenant), lines=())
    world.ingestion.ingest(tenant.organization_id, [Reported(event, time_supplied=True)], from_edge=True)

    def away(*_: object) -> None:
        raise DependencyUnavailable

    monkeypatch.setattr(world.wallet, "settle_charges", away)
    with pytest.raises(DependencyUnavailable):
        world.settler.count_dead_letters()
    monkeypatch.undo()

    assert world.settler.count_dead_letters() == 1
