"""Several settlers at one database at the same time: each event is settled by exactly one of them."""

import dataclasses
import threading
from collections.abc import Callable, Sequence

import pytest
from structlog.testing import capture_logs

from om_server.core.event import Attribution, Event
from om_server.ingestion.store import IngestionStore
from om_server.pipeline.settle import Settler
from om_server.storage.database import Database
from tests.server.pipeline.harness import CREDIT, INPUT_CHARGE, Tenant, World, tokens

_TIMEOUT_S = 30


def together(*works: Callable[[], int]) -> list[int]:
    """Run these on threads that start at the same moment; an error of any of them is raised."""
    start = threading.Barrier(len(works))
    results: list[int | BaseException] = [0] * len(works)

    def run(place: int, work: Callable[[], int]) -> None:
        start.wait(_TIMEOUT_S)
        try:
            results[place] = work()
        except BaseException as error:  # noqa: BLE001 - raised again on the test's own thread
            results[place] = error

    threads = [threading.Thread(target=run, args=(place, work)) for place, work in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(_TIMEOUT_S)
    done: list[int] = []
    for result in results:
        if isinstance(result, BaseException):
            raise result
        done.append(result)
    return done


def events_of(world: World, tenant: Tenant, count: int) -> list[Event]:
    """Events of several users, half of them with an idempotency key."""
    return [
        world.event(
            tenant,
            f"e{number}",
            attribution=Attribution(
                customer_id=f"c{number % 3}", user_id=f"u{number % 5}", team_id=tenant.team_id
            ),
            lines=(tokens(number),),
            idempotency_key=f"k{number}" if number % 2 else "",
        )
        for number in range(count)
    ]


def charged(world: World, tenant: Tenant) -> int:
    available, held, owed = world.money(tenant)
    assert (held, owed) == (0, 0)
    return 1_000 * CREDIT - available


@pytest.mark.parametrize("_again", range(3))
def test_two_settlers_with_the_same_events_settle_each_once(
    world: World, tenant: Tenant, _again: int
) -> None:
    """The second one has them in the opposite order, which is where deadlocks come from."""
    events = events_of(world, tenant, 60)
    other = Settler(world.database, world.slices, world.clock)

    with capture_logs() as logs:
        counts = together(lambda: world.settler.settle(events), lambda: other.settle(events[::-1]))

    assert sum(counts) == 60
    assert charged(world, tenant) == sum(range(60)) * INPUT_CHARGE
    assert not logs


def test_two_settlers_that_share_a_wallet_lose_no_charge(world: World, tenant: Tenant) -> None:
    events = events_of(world, tenant, 60)
    batches = [events[:30], events[30:]]
    works = [lambda batch=batch: _one_by_one(world.settler, batch) for batch in batches]

    assert together(*works) == [30, 30]

    assert charged(world, tenant) == sum(range(60)) * INPUT_CHARGE


def test_two_workers_empty_one_queue(world: World, tenant: Tenant) -> None:
    events = events_of(world, tenant, 40)
    # Every event is in two batches, as after a redelivery.
    world.queue(*[events[place : place + 5] for place in range(0, 40, 5)])
    world.queue(*[events[place : place + 8][::-1] for place in range(0, 40, 8)])
    workers = [world.worker(event_count_max=8), world.worker(event_count_max=8)]

    together(*[lambda worker=worker: _until_empty(worker.settle_once) for worker in workers])

    assert charged(world, tenant) == sum(range(40)) * INPUT_CHARGE
    assert world.inbox.status(tenant.organization_id)[0] == 0


def _one_by_one(settler: Settler, events: Sequence[Event]) -> int:
    return sum(settler.settle([event]) for event in events)


def _until_empty(settle_once: Callable[[], bool]) -> int:
    """A worker passes over what another has claimed, so it may find nothing while something waits."""
    count = 0
    while settle_once():
        count += 1
    return count


class _Watched(IngestionStore):
    """Notes in which order identities and keys are claimed."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.claims: list[list[tuple[str, ...]]] = []

    def claim_identities(self, events: Sequence[Event]) -> set[tuple[str, str, str]]:
        self.claims.append([event.identity for event in events])
        return super().claim_identities(events)

    def claim_keys(self, events: Sequence[Event]) -> dict[tuple[str, str], tuple[str, str]]:
        self.claims.append([(event.organization_id, event.idempotency_key) for event in events])
        return super().claim_keys(events)


def test_claims_are_made_in_one_order_whatever_the_batch(world: World, tenant: Tenant) -> None:
    """Two settlers that claim the same events in two orders would wait for each other for ever."""
    store = _Watched(world.database)
    settler = Settler(world.database, dataclasses.replace(world.slices, ingestion=store), world.clock)
    other = world.tenant("Milliner")
    events = [*events_of(world, tenant, 9), *events_of(world, other, 9)]

    settler.settle(events[::-1])

    identities, keys = store.claims
    assert identities == sorted(event.identity for event in events)
    assert keys == sorted(
        (event.organization_id, event.idempotency_key) for event in events if event.idempotency_key
    )
