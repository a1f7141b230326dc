"""Many spenders against one hard limit: exactly what it is worth is admitted, on every interleaving."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest

from om_server.core.event import SOURCE_PROXY, Attribution, EdgePosition, Event, Funding
from om_server.pipeline.admission import Decision
from om_server.wallet.leases.lease import Lease, LeaseReport
from om_server.wallet.limits.limit import CREDITS, EVENTS, Limit, LimitMode, Selector, Terms
from om_server.wallet.limits.operations import LimitWish
from om_server.wallet.limits.record import CounterRow, ReservationRow
from om_server.wallet.limits.window import Window, WindowKind
from tests.server.pipeline.harness import CREDIT, EDGE, Tenant, World, tokens

SPENDERS = 50
#: Below what the pool of connections has.
THREADS = 12
WORTH = 17
GRANTED = 1_000 * CREDIT

T = TypeVar("T")


@pytest.fixture(autouse=True)
def _resynced(world: World) -> None:
    world.resync()


def limited(world: World, tenant: Tenant, amount: int, unit: str, **selector: bool) -> Limit:
    """A limit that holds."""
    terms = Terms(LimitMode.HARD, amount, Window(WindowKind.MONTH))
    wish = LimitWish(Selector(**selector), unit, terms)  # type: ignore[arg-type] # A table's row.
    limit = world.limits.create(tenant.organization_id, wish, idempotency_key=world.ids.new("key"))
    world.clock.advance(60)
    return limit


def at_once(work: Callable[[int], T], count: int = SPENDERS) -> list[T]:
    """Run the work for each number, so that the first ones meet."""
    barrier = threading.Barrier(THREADS)

    def run(number: int) -> T:
        if number < THREADS:
            barrier.wait(30)
        return work(number)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(run, range(count)))


def outcome(world: World, tenant: Tenant, lease: Lease) -> Event:
    return world.event(
        tenant,
        lease.admit_key,
        source=SOURCE_PROXY,
        edge=EdgePosition(EDGE.edge_id, EDGE.edge_epoch, 1),
        wallet_id=lease.wallet_id,
        funding=(Funding(lease.lease_id, lease.amount, lease.amount),),
        lines=(tokens(400),),
    )


def count_of(decisions: Sequence[Decision]) -> int:
    return sum(decision.refusal is None for decision in decisions)


def left_over(world: World) -> tuple[int, int]:
    """What counters have, and how many parts there are."""

    def read() -> tuple[int, int]:
        return sum(row.reserved for row in CounterRow.select()), ReservationRow.select().count()

    return world.database.read(read)


@pytest.mark.parametrize("granted", [0, GRANTED])
def test_fifty_spenders_are_admitted_exactly_as_often_as_the_limit_is_worth(
    world: World, granted: int
) -> None:
    tenant = world.tenant(granted=granted)
    limited(world, tenant, WORTH, EVENTS)

    decisions = at_once(lambda number: world.admit(tenant, admit_key=f"evt_{number}"))

    assert count_of(decisions) == WORTH
    assert {decision.refusal.error.reason for decision in decisions if decision.refusal} == {"LIMIT_REACHED"}
    assert left_over(world) == (WORTH, WORTH)


@pytest.mark.parametrize("granted", [0, GRANTED])
def test_while_others_settle_the_limit_is_neither_passed_nor_left_unused(world: World, granted: int) -> None:
    """An admission sees a call as reserved or as used, never as both and never as neither."""
    tenant = world.tenant(granted=granted)
    limit = limited(world, tenant, WORTH * CREDIT, CREDITS)

    def spend(number: int) -> Decision:
        decision = world.admit(tenant, admit_key=f"evt_{number}")
        if decision.lease is not None:
            world.settler.settle([outcome(world, tenant, decision.lease)])
        return decision

    decisions = at_once(spend)

    assert count_of(decisions) == WORTH
    assert world.limits.used(tenant.organization_id, limit) == WORTH * CREDIT
    assert left_over(world) == (0, 0)


def test_the_same_call_asked_for_at_once_is_admitted_once_and_always_answered_alike(world: World) -> None:
    tenant = world.tenant()
    limited(world, tenant, 1, EVENTS)

    decisions = at_once(lambda number: world.admit(tenant, admit_key="evt_same"), THREADS)

    assert len({decision.lease.lease_id for decision in decisions if decision.lease}) == 1
    assert count_of(decisions) == THREADS
    assert left_over(world) == (1, 1)


def test_admitting_settling_and_closing_under_several_limits_never_wait_for_each_other_for_ever(
    world: World,
) -> None:
    tenant = world.tenant(granted=GRANTED)
    limited(world, tenant, 1_000, EVENTS)
    limited(world, tenant, 1_000 * CREDIT, CREDITS)
    limited(world, tenant, 1_000, EVENTS, each_user=True)

    def spend(number: int) -> None:
        who = Attribution(user_id=f"user_{number % 3}", customer_id="acme")
        lease = world.admit(tenant, admit_key=f"evt_{number}", attribution=who).lease
        assert lease is not None
        if number % 2:
            world.settler.settle([outcome(world, tenant, lease)])
        else:
            world.wallet.close_lease(EDGE, LeaseReport(lease.lease_id, 0, 0))

    at_once(spend)

    assert left_over(world) == (0, 0)
