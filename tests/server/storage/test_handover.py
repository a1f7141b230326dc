from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from om_server.storage.handover import Handover
from om_server.storage.inbox import SqlInbox
from om_server.storage.redis_stream import RedisStream
from tests.server.storage.conftest import SECOND, Consumer, batch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from om_server.storage.database import Database
    from om_server.storage.queue import Batch
    from tests.redis_server import RedisServer

_START = 1_000 * SECOND


@pytest.fixture(name="inbox")
def make_inbox(database: Database) -> SqlInbox:
    return SqlInbox(database, lambda: _START)


@pytest.fixture(name="stream")
def make_stream(database: Database, redis_server: RedisServer) -> RedisStream:
    return RedisStream(redis_server.client, database, lambda: _START + SECOND)


def test_new_batches_wait_in_redis(inbox: SqlInbox, stream: RedisStream) -> None:
    Handover(inbox, stream).append([batch("bat_1")])

    assert inbox.status("org")[0] == 0
    assert stream.status("org")[0] == 1


def test_what_waits_in_the_database_is_settled_too(inbox: SqlInbox, stream: RedisStream) -> None:
    worker = Consumer(Handover(inbox, stream))
    worker.queue.append([batch("bat_2")])
    inbox.append([batch("bat_1")])
    assert worker.queue.status("org") == (2, _START)

    assert worker.take_all() == ["bat_1", "bat_2"]
    assert worker.queue.status("org") == (0, None)


def test_each_batch_is_postponed_where_it_waits(inbox: SqlInbox, stream: RedisStream) -> None:
    queue = Handover(inbox, stream)
    queue.append([batch("bat_2")])
    inbox.append([batch("bat_1")])

    def postpone(batches: Sequence[Batch]) -> None:
        for each in batches:
            queue.postpone(each, _START + 60 * SECOND)

    assert queue.process(10, postpone)
    assert queue.process(10, postpone)
    assert not queue.process(10, postpone)
    assert (inbox.status("org")[0], stream.status("org")[0]) == (1, 1)


def test_a_redis_that_is_away_does_not_hold_up_what_waits_in_the_database(
    inbox: SqlInbox, stream: RedisStream, redis_server: RedisServer
) -> None:
    inbox.append([batch("bat_1")])
    redis_server.kill()

    assert Consumer(Handover(inbox, stream)).take() == ["bat_1"]


def test_a_handover_is_woken(inbox: SqlInbox, stream: RedisStream) -> None:
    queue = Handover(inbox, stream)
    queue.wake()

    queue.wait(30)

    assert not Consumer(queue).take()


def test_a_search_looks_where_that_is_cheap(inbox: SqlInbox, stream: RedisStream) -> None:
    queue = Handover(inbox, stream)
    queue.append([batch("bat_2")])
    inbox.append([batch("bat_1")])

    assert queue.search("org", "{}") == ["{}"]
