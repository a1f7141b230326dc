"""The queue's promises, on both databases: nothing is lost, nothing is claimed twice."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from om_server.storage.queue import Batch, SqlInbox

if TYPE_CHECKING:
    from om_server.storage.database import Database


@pytest.fixture
def inbox(database: Database) -> SqlInbox:
    """A queue whose clock stands at 1,000."""
    return SqlInbox(database, lambda: 1_000)


def _batch(batch_id: str, event_count: int = 1) -> Batch:
    return Batch("org", batch_id, envelope="{}", event_count=event_count)


def test_batches_come_out_in_the_order_they_went_in(database: Database, inbox: SqlInbox) -> None:
    inbox.append([_batch("bat_1"), _batch("bat_2")])
    inbox.append([_batch("bat_3")])

    claimed = database.write(lambda: inbox.claim(10))

    assert [batch.batch_id for batch in claimed] == ["bat_1", "bat_2", "bat_3"]


def test_a_claim_takes_as_many_events_as_asked_but_at_least_one_batch(
    database: Database, inbox: SqlInbox
) -> None:
    inbox.append([_batch("bat_1", 800), _batch("bat_2", 100), _batch("bat_3", 200)])

    assert [batch.batch_id for batch in database.write(lambda: inbox.claim(500))] == ["bat_1"]
    assert [batch.batch_id for batch in database.write(lambda: inbox.claim(950))] == ["bat_1", "bat_2"]


def test_a_rollback_brings_a_finished_batch_back(database: Database, inbox: SqlInbox) -> None:
    inbox.append([_batch("bat_1")])

    def finish_and_fail() -> None:
        inbox.finish(inbox.claim(10))
        raise LookupError

    with pytest.raises(LookupError):
        database.write(finish_and_fail)
    assert len(database.write(lambda: inbox.claim(10))) == 1

    database.write(lambda: inbox.finish(inbox.claim(10)))
    assert database.write(lambda: inbox.claim(10)) == []


def test_a_postponed_batch_is_not_due_before_its_time(database: Database) -> None:
    now = [1_000]
    inbox = SqlInbox(database, lambda: now[0])
    inbox.append([_batch("bat_1")])

    inbox.postpone(database.write(lambda: inbox.claim(10))[0], retry_time=2_000)
    assert database.write(lambda: inbox.claim(10)) == []

    now[0] = 2_000
    (again,) = database.write(lambda: inbox.claim(10))
    assert again.attempt_count == 1


def test_two_workers_never_claim_the_same_batch(database: Database, inbox: SqlInbox) -> None:
    inbox.append([_batch(f"bat_{number:03}") for number in range(60)])
    settled: list[str] = []
    lock = threading.Lock()

    def settle_some() -> bool:
        claimed = inbox.claim(3)
        with lock:
            settled.extend(batch.batch_id for batch in claimed)
        inbox.finish(claimed)
        return bool(claimed)

    def work() -> None:
        while database.write(settle_some):
            pass

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(settled) == [f"bat_{number:03}" for number in range(60)]


def test_an_arrival_wakes_a_worker_of_the_same_process(inbox: SqlInbox) -> None:
    assert not inbox.arrived.is_set()

    inbox.append([_batch("bat_1")])

    assert inbox.arrived.is_set()


def test_what_waits_is_counted_for_its_organization_alone(inbox: SqlInbox) -> None:
    inbox.append([_batch("bat_1"), Batch("other", "bat_2", "{}", 1)])

    assert inbox.status("org") == (1, 1_000)
    assert inbox.status("nobody") == (0, None)
