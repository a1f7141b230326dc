"""The settling loop: batches, poison events, envelopes that cannot be read, and faults that pass."""

import dataclasses
import threading
from collections.abc import Callable, Iterable, Sequence

import pytest
from structlog.testing import capture_logs

from om.type.v1 import error_reason_pb2
from om_server.core.errors import DependencyUnavailable, DomainError
from om_server.core.event import SOURCE_PROXY, EdgePosition, Event, Funding
from om_server.core.page import PageRequest
from om_server.core.usage import UnitUnknown
from om_server.ingestion import envelope
from om_server.ingestion.store import DeadLetter
from om_server.pipeline.settle import Settler
from om_server.pipeline.worker import Worker, drain
from om_server.storage.batch import RowsContended
from om_server.storage.inbox import Inbox
from tests.server.pipeline.harness import CREDIT, EDGE, INPUT_CHARGE, Tenant, World, rows_of, tokens

GRANTED = 1_000 * CREDIT
CHARGE = 1_000 * INPUT_CHARGE

_TIMEOUT_S = 30


class Stubborn(Settler):
    """Settles for real, but fails at the end of a transaction with a poisoned event in it."""

    def __init__(self, world: World, poison: Iterable[str] = (), *, error: Exception | None = None) -> None:
        super().__init__(world.database, world.slices, world.clock)
        self.poison = set(poison)
        self.error: Exception = error or UnitUnknown("poison")
        self.sizes: list[int] = []

    def _settle(self, events: Sequence[Event]) -> int:
        self.sizes.append(len(events))
        count = super()._settle(events)
        if self.poison & {event.event_id for event in events}:
            raise self.error
        return count


def letters_of(world: World, tenant: Tenant) -> list[DeadLetter]:
    return world.ingestion.list_dead_letters(tenant.organization_id, PageRequest.of())[0]


def waiting(world: World) -> list[tuple[str, int, int]]:
    """Batches in the queue: envelope, attempts, and when the next one is due."""
    return world.database.read(
        lambda: [(row.envelope, row.attempt_count, row.retry_time) for row in Inbox.select()]
    )


def events_of(world: World, tenant: Tenant, count: int) -> list[Event]:
    return [world.event(tenant, f"e{number}") for number in range(count)]


def test_a_worker_settles_the_queue_until_it_is_empty(world: World, tenant: Tenant) -> None:
    events = events_of(world, tenant, 5)
    world.queue(events[:2], events[2:4], events[4:])
    worker = world.worker(event_count_max=4)

    assert drain(worker) == 2

    assert world.money(tenant)[0] == GRANTED - 5 * CHARGE
    assert waiting(world) == []
    assert drain(worker) == 0


def test_a_redelivered_batch_is_finished_and_charges_nothing(world: World, tenant: Tenant) -> None:
    events = events_of(world, tenant, 2)
    world.queue(events, events)

    drain(world.worker(event_count_max=2))

    assert world.money(tenant)[0] == GRANTED - 2 * CHARGE
    assert waiting(world) == []


def test_a_poison_event_alone_is_set_aside_and_its_neighbours_are_charged(
    world: World, tenant: Tenant
) -> None:
    events = events_of(world, tenant, 4)
    world.queue(events[:3], events[3:])
    settler = Stubborn(world, ["e1"])

    with capture_logs() as logs:
        drain(world.worker(settler))

    assert world.money(tenant)[0] == GRANTED - 3 * CHARGE
    [letter] = letters_of(world, tenant)
    assert (letter.event_id, letter.source, letter.reason) == ("e1", "api", "UNKNOWN_UNIT")
    assert letter.message == "the unit 'poison' is not registered"
    assert (letter.attempt_count, letter.create_time) == (2, world.clock.now)
    assert envelope.unpack(letter.envelope) == [events[1]]
    assert settler.sizes == [4, 2, 1, 1, 2]
    assert [entry["event"] for entry in logs] == ["batch_taken_apart", "event_set_aside"]
    assert waiting(world) == []
    assert world.ingestion.status(tenant.organization_id).dead_letter_count == 1


def test_poison_in_a_large_batch_costs_few_transactions(world: World, tenant: Tenant) -> None:
    events = [world.event(tenant, f"e{number}", lines=(tokens(1),)) for number in range(500)]
    world.queue(*(events[start : start + 100] for start in range(0, 500, 100)))
    settler = Stubborn(world, ["e123"])

    with capture_logs():
        drain(world.worker(settler))

    assert len(settler.sizes) <= 1 + 2 * 9
    assert world.money(tenant)[0] == GRANTED - 499 * INPUT_CHARGE
    assert [letter.event_id for letter in letters_of(world, tenant)] == ["e123"]
    assert waiting(world) == []


def test_rows_that_others_changed_meanwhile_are_no_attempt(world: World, tenant: Tenant) -> None:
    world.queue(events_of(world, tenant, 2))
    settler = Stubborn(world, ["e1"], error=RowsContended("wallets"))

    with pytest.raises(RowsContended):
        world.worker(settler).settle_once()

    assert settler.sizes == [2]
    assert letters_of(world, tenant) == []
    assert [attempts for _, attempts, _ in waiting(world)] == [0]


def test_the_text_of_an_unexpected_error_is_kept_nowhere(world: World, tenant: Tenant) -> None:
    """It may quote the event, and so anything at all."""
    world.queue(events_of(world, tenant, 1))

    with capture_logs() as logs:
        drain(world.worker(Stubborn(world, ["e0"], error=RuntimeError("told by a customer"))))

    [letter] = letters_of(world, tenant)
    assert (letter.reason, letter.message) == ("INTERNAL", "RuntimeError")
    assert "told by a customer" not in repr(rows_of(world.database)) + repr(logs)


def test_an_event_that_fails_again_is_still_one_dead_letter(world: World, tenant: Tenant) -> None:
    worker = world.worker(Stubborn(world, ["e0"]))
    world.queue(events_of(world, tenant, 1))
    drain(worker)
    before = [letter.dead_letter_id for letter in letters_of(world, tenant)]

    world.queue(events_of(world, tenant, 1))
    drain(worker)

    assert [letter.dead_letter_id for letter in letters_of(world, tenant)] == before
    assert waiting(world) == []


def test_a_dead_letter_of_an_edge_leaves_its_lease_held(world: World, tenant: Tenant) -> None:
    """Nothing is lost in silence: the money stays set aside and the letter is counted."""
    world.resync()
    lease = world.admit(tenant).lease
    assert lease is not None
    event = dataclasses.replace(
        world.event(tenant, source=SOURCE_PROXY),
        edge=EdgePosition(EDGE.edge_id, EDGE.edge_epoch, 1),
        funding=(Funding(lease.lease_id, CREDIT, CREDIT),),
    )
    world.queue([event])

    drain(world.worker(Stubborn(world, ["e1"])))

    assert world.money(tenant) == (GRANTED - CREDIT, CREDIT, 0)
    assert world.ingestion.status(tenant.organization_id).dead_letter_count == 1


def test_a_database_that_is_away_counts_no_attempt_and_loses_nothing(world: World, tenant: Tenant) -> None:
    world.queue(events_of(world, tenant, 2))
    settler = Stubborn(world, ["e1"], error=DependencyUnavailable())
    before = rows_of(world.database)

    with pytest.raises(DependencyUnavailable):
        world.worker(settler).settle_once()

    assert rows_of(world.database) == before
    settler.poison.clear()
    assert drain(world.worker(settler)) == 1
    assert world.money(tenant)[0] == GRANTED - 2 * CHARGE


def test_a_database_that_goes_away_while_a_batch_is_apart_loses_nothing(world: World, tenant: Tenant) -> None:
    class _GoesAway(Stubborn):
        def settle(self, events: Sequence[Event]) -> int:
            if len(events) == 1 and events[0].event_id == "e2":
                raise DependencyUnavailable
            return super().settle(events)

    world.queue(events_of(world, tenant, 3))

    with pytest.raises(DependencyUnavailable):
        world.worker(_GoesAway(world, ["e1"])).settle_once()

    assert len(waiting(world)) == 1
    assert waiting(world)[0][1] == 0
    drain(world.worker(Stubborn(world, ["e1"])))
    assert world.money(tenant)[0] == GRANTED - 2 * CHARGE
    assert [letter.event_id for letter in letters_of(world, tenant)] == ["e1"]
    assert waiting(world) == []


def newer_version(packed: str) -> str:
    return packed.replace('{"version":1', '{"version":2')


def newer_unit(packed: str) -> str:
    return packed.replace("input_tokens", "thoughts_of_tomorrow")


@pytest.mark.parametrize("newer", [newer_version, newer_unit, lambda packed: "no envelope"])
def test_an_envelope_of_a_newer_program_waits_and_its_neighbours_do_not(
    world: World, tenant: Tenant, newer: Callable[[str], str]
) -> None:
    text = newer(envelope.pack([world.event(tenant, "new")]))
    world.inbox.append([world.batch(text, tenant.organization_id)])
    world.queue(events_of(world, tenant, 2))
    settler = Stubborn(world)

    with capture_logs() as logs:
        assert drain(world.worker(settler)) == 1

    assert settler.sizes == [2]
    assert world.money(tenant)[0] == GRANTED - 2 * CHARGE
    [(kept, attempts, due)] = waiting(world)
    assert (kept, attempts) == (text, 1)
    assert 1_000_000 <= due - world.clock.now <= 3_000_000
    assert letters_of(world, tenant) == []
    assert [entry["event"] for entry in logs] == ["envelope_unreadable"]

    world.clock.advance(3)
    assert drain(world.worker(settler)) == 1
    assert [attempts for _, attempts, _ in waiting(world)] == [2]


def test_a_worker_that_met_what_it_cannot_read_looks_less_often_until_it_reads_something(
    world: World, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.inbox.append([world.batch("no envelope", tenant.organization_id)])
    worker = world.worker(Stubborn(world))
    waits: list[float] = []

    def wait(timeout_s: float) -> None:
        waits.append(timeout_s)
        if len(waits) == 1:
            world.queue(events_of(world, tenant, 1))
        else:
            worker._stopping.set()

    monkeypatch.setattr(world.inbox, "wait", wait)
    worker.run()

    assert waits[0] == 5 * waits[1]


def test_an_unreadable_envelope_beside_a_poison_event_waits_too(world: World, tenant: Tenant) -> None:
    world.queue(events_of(world, tenant, 2))
    world.inbox.append([world.batch("no envelope", tenant.organization_id)])

    drain(world.worker(Stubborn(world, ["e0"])))

    assert world.money(tenant)[0] == GRANTED - CHARGE
    assert [(text, attempts) for text, attempts, _ in waiting(world)] == [("no envelope", 1)]


def test_nothing_is_settled_twice_if_the_queue_cannot_forget(
    world: World, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Effect and acknowledgement are one transaction."""
    world.queue(events_of(world, tenant, 1))
    before = rows_of(world.database)

    def failing(batches: object) -> None:
        raise DependencyUnavailable

    monkeypatch.setattr(world.inbox, "finish", failing)
    with pytest.raises(DependencyUnavailable):
        world.worker().settle_once()

    assert rows_of(world.database) == before


class _Held(Stubborn):
    """Settles, then waits inside the transaction until the test lets it go on."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.reached = threading.Event()
        self.go = threading.Event()

    def _settle(self, events: Sequence[Event]) -> int:
        count = super()._settle(events)
        self.reached.set()
        assert self.go.wait(_TIMEOUT_S)
        return count


def test_stop_finishes_the_transaction_that_runs_and_no_more(world: World, tenant: Tenant) -> None:
    events = events_of(world, tenant, 2)
    world.queue(events[:1], events[1:])
    settler = _Held(world)
    worker = world.worker(settler, event_count_max=1)
    worker.start()
    assert settler.reached.wait(_TIMEOUT_S)

    stopping = threading.Thread(target=worker.stop)
    stopping.start()
    # Stop waits for the transaction, which waits for us.
    assert worker._stopping.wait(_TIMEOUT_S)
    settler.go.set()
    stopping.join(_TIMEOUT_S)

    assert not stopping.is_alive()
    assert settler.sizes == [1]
    assert world.money(tenant)[0] == GRANTED - CHARGE
    assert len(waiting(world)) == 1


def test_a_worker_that_never_started_can_be_stopped(world: World) -> None:
    worker = world.worker()
    worker.stop()

    worker.run()

    assert waiting(world) == []


@pytest.mark.parametrize(
    ("error", "logged"),
    [(DependencyUnavailable(), "settle_postponed"), (RuntimeError("broken"), "settle_failed")],
)
def test_the_loop_outlives_a_failure(world: World, error: Exception, logged: str) -> None:
    """The second round is reached, and ends the test."""
    worker = world.worker()
    rounds = iter([error, None])

    def settle_once() -> bool:
        failure = next(rounds)
        if failure is None:
            worker.stop()
            return False
        raise failure

    worker.settle_once = settle_once  # type: ignore[method-assign] # The loop alone is tested.
    with capture_logs() as logs:
        worker.run()

    assert [entry["event"] for entry in logs] == [logged]


def test_new_events_wake_a_waiting_worker(world: World, tenant: Tenant) -> None:
    """The poll interval is longer than the test may take."""
    settled = threading.Event()

    class _Tells(Stubborn):
        def settle(self, events: Sequence[Event]) -> int:
            count = super().settle(events)
            settled.set()
            return count

    worker: Worker = world.worker(_Tells(world), poll_interval_s=600)
    worker.start()
    try:
        world.queue(events_of(world, tenant, 1))
        assert settled.wait(_TIMEOUT_S)
    finally:
        worker.stop()

    assert world.money(tenant)[0] == GRANTED - CHARGE


def test_every_reason_of_a_dead_letter_is_in_the_contract() -> None:
    """Else no page that has the letter could be listed."""
    known = {name.removeprefix("ERROR_REASON_") for name, _ in error_reason_pb2.ErrorReason.items()}
    assert {error.reason for error in _all_errors(DomainError) if hasattr(error, "reason")} <= known


def _all_errors(parent: type[DomainError]) -> set[type[DomainError]]:
    return {parent}.union(*(_all_errors(child) for child in parent.__subclasses__()))
