"""What is particular to the queue as a table; what every queue promises is in test_queue.py."""

from __future__ import annotations

import dataclasses
import threading
from typing import TYPE_CHECKING

import pytest

from om_server.storage.inbox import SqlInbox
from tests.server.storage.conftest import Consumer, batch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from om_server.storage.database import Database
    from om_server.storage.queue import Batch

_TIMEOUT_S = 30


def _consumer(database: Database) -> Consumer:
    return Consumer(SqlInbox(database, lambda: 1_000))


# SQLite has one writer at a time, so there is nobody to pass over.
@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_worker_passes_over_what_another_settles_and_waits_for_nobody(database: Database) -> None:
    first, second = _consumer(database), _consumer(database)
    first.queue.append([batch("bat_1", 500), batch("bat_2", 500), batch("bat_3", 500)])

    def settle(batches: Sequence[Batch]) -> None:
        beside = threading.Thread(target=second.take, args=[1_000])
        beside.start()
        beside.join(_TIMEOUT_S)
        first.queue.finish(batches)

    first.queue.process(500, settle)

    assert [each.batch_id for each in second.given] == ["bat_2", "bat_3"]
    assert first.queue.status("org") == (0, None)


def test_a_batch_is_finished_in_the_transaction_that_settles_it(database: Database) -> None:
    worker = _consumer(database)
    worker.queue.append([batch("bat_1")])

    def settle(batches: Sequence[Batch]) -> None:
        worker.queue.finish(batches)
        assert worker.queue.status("org") == (0, None)
        raise LookupError

    with pytest.raises(LookupError):
        worker.queue.process(10, settle)

    assert worker.queue.status("org") == (1, 1_000)


def test_only_an_arrival_ends_a_wait_early(database: Database) -> None:
    inbox = SqlInbox(database, lambda: 1_000)
    inbox.append([batch("bat_1")])
    inbox.wait(_TIMEOUT_S)

    assert not inbox.arrived.is_set()


def test_a_search_finds_what_waits_for_an_organization(database: Database) -> None:
    inbox = SqlInbox(database, lambda: 1_000)
    for number, organization_id in enumerate(("org", "org", "other")):
        found = dataclasses.replace(batch(f"bat_{number}"), organization_id=organization_id)
        inbox.append([dataclasses.replace(found, envelope=f"text {number}")])

    assert inbox.search("org", "text") == ["text 0", "text 1"]
    assert inbox.search("org", "xt 1") == ["text 1"]
    assert inbox.search("org", "xt 2") == []
