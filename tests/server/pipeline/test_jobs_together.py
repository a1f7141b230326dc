"""Several workers at the two events of one job: exactly one completes it, whoever is first."""

import random
from collections.abc import Callable

import pytest

from om_server.core.event import Event
from om_server.pipeline.job_deadlines import JobDeadlines
from om_server.pipeline.settle import Settler
from tests.server.pipeline.edge_scene import leased
from tests.server.pipeline.harness import CREDIT, INPUT_CHARGE, Tenant, World
from tests.server.pipeline.job_scene import DAY_S, JOB, deferred, suspense_of, terminal
from tests.server.pipeline.test_rerating import counters
from tests.server.pipeline.test_settle_together import together

GRANTED = 1_000 * CREDIT
USED = 200 * INPUT_CHARGE


def other_settler(world: World) -> Settler:
    return Settler(world.database, world.slices, world.clock)


def other_deadlines(world: World) -> JobDeadlines:
    return JobDeadlines(world.database, world.slices, world.clock)


def jobs(world: World, tenant: Tenant, count: int) -> tuple[list[Event], list[Event]]:
    """Calls, each with a lease of its own, and the ends of their jobs."""
    names = [f"evt_{number}" for number in range(count)]
    calls = [
        deferred(world, tenant, leased(world, tenant, admit_key=name), name, job_id=name) for name in names
    ]
    return calls, [terminal(world, tenant, name) for name in names]


@pytest.mark.parametrize("_again", range(5))
def test_a_call_and_its_end_at_two_workers_meet_once(world: World, tenant: Tenant, _again: int) -> None:
    calls, ends = jobs(world, tenant, 8)
    other = other_settler(world)

    together(lambda: world.settler.settle(calls), lambda: other.settle(ends[::-1]))

    assert world.money(tenant) == (GRANTED - 8 * USED, 0, 0)
    assert counters(world, tenant).event_count == 8
    assert counters(world, tenant).charge == 8 * USED


@pytest.mark.parametrize("seed", range(5))
def test_both_at_both_workers_in_any_order_meet_once(world: World, tenant: Tenant, seed: int) -> None:
    """As after a redelivery: every event is in two batches, in other places."""
    calls, ends = jobs(world, tenant, 8)
    dice = random.Random(seed)
    mixed = [dice.sample([*calls, *ends], 16) for _ in range(2)]
    for order in mixed:
        world.queue(*[order[place : place + 4] for place in range(0, 16, 4)])
    workers = [world.worker(event_count_max=4), world.worker(event_count_max=4)]

    together(*[lambda worker=worker: _until_empty(worker.settle_once) for worker in workers])
    while workers[0].settle_once():
        pass

    assert world.money(tenant) == (GRANTED - 8 * USED, 0, 0)
    assert counters(world, tenant).charge == 8 * USED


@pytest.mark.parametrize("_again", range(3))
def test_two_workers_end_the_waiting_of_each_job_once(world: World, tenant: Tenant, _again: int) -> None:
    calls, _ = jobs(world, tenant, 4)
    world.settler.settle([*calls, *(terminal(world, tenant, f"alone-{number}") for number in range(4))])
    world.clock.advance(DAY_S)
    chores = [world.job_deadlines, other_deadlines(world)]

    together(*[lambda chore=chore: int(chore.advance()) for chore in chores])

    assert world.money(tenant) == (GRANTED - 4 * CREDIT - 4 * USED, 0, 0)
    assert len(suspense_of(world, tenant)) == 4
    assert counters(world, tenant).event_count == 8


@pytest.mark.parametrize("_again", range(5))
def test_an_end_that_comes_while_nobody_waits_any_longer_is_charged_once(
    world: World, tenant: Tenant, _again: int
) -> None:
    """From the hold or from suspense: the wallet is left with the same."""
    calls, ends = jobs(world, tenant, 4)
    world.settler.settle(calls)
    world.clock.advance(DAY_S)

    together(lambda: int(world.job_deadlines.advance()), lambda: world.settler.settle(ends))

    assert world.money(tenant) == (GRANTED - 4 * USED, 0, 0)
    assert suspense_of(world, tenant) == []
    assert world.wallet.verify(tenant.organization_id).first is None


@pytest.mark.parametrize("_again", range(5))
def test_a_call_that_comes_while_its_end_is_charged_pays_once(
    world: World, tenant: Tenant, _again: int
) -> None:
    call = deferred(world, tenant, leased(world, tenant))
    world.settler.settle([terminal(world, tenant, JOB)])
    world.clock.advance(DAY_S)

    together(lambda: int(world.job_deadlines.advance()), lambda: world.settler.settle([call]))

    assert world.money(tenant) == (GRANTED - USED, 0, 0)
    assert counters(world, tenant).charge == USED


def _until_empty(settle_once: Callable[[], bool]) -> int:
    count = 0
    while settle_once():
        count += 1
    return count
