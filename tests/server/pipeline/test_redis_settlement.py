"""From intake to the ledger with Redis between them: what is delivered again is charged once."""

from __future__ import annotations

import functools
import itertools
import threading
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from om_server.core.errors import DependencyUnavailable
from om_server.core.page import PageRequest
from om_server.ingestion.operations import IntakeState, Reported
from om_server.pipeline.settle import Settler
from om_server.pipeline.worker import Worker, WorkerLimits, drain
from om_server.storage.redis_stream import RedisStream
from tests.server.pipeline.harness import CREDIT, INPUT_CHARGE, Tenant, World, rows_of
from tests.server.wallet.conftest import audit

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from om_server.core.event import Event
    from om_server.rating.operations import RatingOperations
    from om_server.storage.database import Database
    from om_server.storage.queue import Batch
    from tests.redis_server import RedisServer

GRANTED = 1_000 * CREDIT
CHARGE = 1_000 * INPUT_CHARGE

_TIMEOUT_S = 30
_numbers = itertools.count(1)


class Crash(BaseException):
    """The end of a process, as far as one thread can play it."""


class CrashesBeforeAcknowledging(RedisStream):
    """Dies when the transaction has committed and before Redis is told."""

    def _finish(self, batches: Sequence[Batch]) -> None:
        raise Crash


class CrashesBeforeCommit(Settler):
    def settle(self, events: Sequence[Event]) -> int:
        super().settle(events)
        raise Crash


@pytest.fixture(name="world")
def make_world(database: Database, rating: RatingOperations, redis_server: RedisServer) -> Iterator[World]:
    world = World(database, rating, make_queue=functools.partial(RedisStream, redis_server.client))
    yield world
    database.read(lambda: audit(world.wallet_store))


@pytest.fixture(name="stream")
def make_stream(world: World, redis_server: RedisServer) -> RedisStream:
    """The queue as another worker sees it, which takes over at once what the first was given."""
    return RedisStream(redis_server.client, world.database, world.clock, abandoned_after_us=0)


def worker_of(world: World, stream: RedisStream, settler: Settler | None = None) -> Worker:
    return Worker(
        world.database,
        stream,
        settler or world.settler,
        store=world.ingestion_store,
        ids=world.ids,
        clock=world.clock,
        limits=WorkerLimits(poll_interval_s=0.01),
    )


def ingest(world: World, tenant: Tenant, count: int = 1) -> list[Event]:
    """Send new events through intake, as an SDK's."""
    events = [world.event(tenant, f"e{next(_numbers)}") for _ in range(count)]
    reports = [Reported(event, time_supplied=True) for event in events]
    batch_id, results = world.ingestion.ingest(tenant.organization_id, reports, from_edge=False)
    assert batch_id
    assert {result.state for result in results} == {IntakeState.ACCEPTED}
    return events


def test_what_was_taken_in_is_charged(world: World, tenant: Tenant) -> None:
    ingest(world, tenant, 3)
    ingest(world, tenant, 2)
    assert world.ingestion.status(tenant.organization_id).queued_batch_count == 2
    world.clock.advance(3)
    assert world.ingestion.status(tenant.organization_id).oldest_age_us == 3_000_000

    assert drain(world.worker()) == 1

    assert world.money(tenant)[0] == GRANTED - 5 * CHARGE
    assert world.ingestion.status(tenant.organization_id).queued_batch_count == 0
    assert not rows_of(world.database)["inbox"]


def test_a_crash_between_commit_and_acknowledgement_charges_once(
    world: World, tenant: Tenant, stream: RedisStream, redis_server: RedisServer
) -> None:
    dying = CrashesBeforeAcknowledging(redis_server.client, world.database, world.clock)
    ingest(world, tenant, 4)
    with pytest.raises(Crash):
        worker_of(world, dying).settle_once()
    assert world.money(tenant)[0] == GRANTED - 4 * CHARGE
    settled = rows_of(world.database)

    assert drain(worker_of(world, stream)) == 1

    assert rows_of(world.database) == settled
    assert stream.status(tenant.organization_id) == (0, None)


def test_a_crash_before_the_commit_charges_once(world: World, tenant: Tenant, stream: RedisStream) -> None:
    ingest(world, tenant, 4)
    with pytest.raises(Crash):
        world.worker(CrashesBeforeCommit(world.database, world.slices, world.clock)).settle_once()
    assert world.money(tenant)[0] == GRANTED

    assert drain(worker_of(world, stream)) == 1

    assert world.money(tenant)[0] == GRANTED - 4 * CHARGE


def test_a_batch_that_is_sent_again_because_its_answer_was_lost_charges_once(
    world: World, tenant: Tenant
) -> None:
    [event] = ingest(world, tenant)
    world.ingestion.ingest(tenant.organization_id, [Reported(event, time_supplied=True)], from_edge=False)
    assert world.ingestion.status(tenant.organization_id).queued_batch_count == 2

    drain(world.worker())

    assert world.money(tenant)[0] == GRANTED - CHARGE


def test_workers_that_steal_from_one_another_charge_everything_once(
    world: World, tenant: Tenant, redis_server: RedisServer
) -> None:
    """Each thinks at once that the others are dead, so batches are settled at the same time."""
    for _ in range(30):
        ingest(world, tenant, 5)
    streams = [
        RedisStream(redis_server.client, world.database, world.clock, abandoned_after_us=0) for _ in range(3)
    ]

    def work(worker: Worker) -> None:
        while streams[0].status(tenant.organization_id)[0]:
            worker.settle_once()

    threads = [threading.Thread(target=work, args=[worker_of(world, stream)]) for stream in streams]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(_TIMEOUT_S)

    assert world.money(tenant) == (GRANTED - 150 * CHARGE, 0, 0)
    assert world.ingestion.status(tenant.organization_id).dead_letter_count == 0


def test_a_redis_that_is_away_takes_nothing_in_and_loses_nothing_that_is_settled(
    world: World, tenant: Tenant, redis_server: RedisServer
) -> None:
    ingest(world, tenant)
    worker = world.worker()
    drain(worker)
    redis_server.kill()

    with pytest.raises(DependencyUnavailable):
        ingest(world, tenant)
    with pytest.raises(DependencyUnavailable):
        worker.settle_once()

    redis_server.start()
    ingest(world, tenant)
    assert drain(worker) == 1
    assert world.money(tenant)[0] == GRANTED - 2 * CHARGE


def test_a_poison_event_is_set_aside_and_its_neighbours_are_charged(world: World, tenant: Tenant) -> None:
    class _Poisoned(Settler):
        def _settle(self, events: Sequence[Event]) -> int:
            count = super()._settle(events)
            if poison.event_id in {event.event_id for event in events}:
                raise LookupError
            return count

    poison, *_ = ingest(world, tenant, 3)

    with capture_logs():
        assert drain(world.worker(_Poisoned(world.database, world.slices, world.clock))) == 1

    assert world.money(tenant)[0] == GRANTED - 2 * CHARGE
    letters, _ = world.ingestion.list_dead_letters(tenant.organization_id, PageRequest.of())
    assert [letter.event_id for letter in letters] == [poison.event_id]
    assert world.ingestion.status(tenant.organization_id).queued_batch_count == 0


def test_an_envelope_of_a_newer_program_waits_for_its_time(
    world: World, tenant: Tenant, stream: RedisStream
) -> None:
    world.inbox.append([world.batch("no envelope", tenant.organization_id)])
    ingest(world, tenant)
    worker = world.worker()

    with capture_logs() as logs:
        drain(worker)
        drain(worker_of(world, stream))
    assert [entry["event"] for entry in logs].count("envelope_unreadable") == 1
    assert world.money(tenant)[0] == GRANTED - CHARGE

    world.clock.advance(3)  # The longest that it may wait.
    with capture_logs() as logs:
        drain(worker)
    assert [entry["event"] for entry in logs].count("envelope_unreadable") == 1
    assert stream.status(tenant.organization_id)[0] == 1


def test_new_events_wake_a_waiting_worker(world: World, tenant: Tenant) -> None:
    """The poll interval is longer than the test may take."""
    settled = threading.Event()

    class _Tells(Settler):
        def settle(self, events: Sequence[Event]) -> int:
            count = super().settle(events)
            settled.set()
            return count

    worker = world.worker(_Tells(world.database, world.slices, world.clock), poll_interval_s=600)
    worker.start()
    try:
        ingest(world, tenant)
        assert settled.wait(_TIMEOUT_S)
    finally:
        worker.stop()

    assert world.money(tenant)[0] == GRANTED - CHARGE
