from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from om_server import connections
from om_server.settings import load_settings
from om_server.storage.inbox import SqlInbox
from om_server.storage.queue import Batch
from om_server.storage.stream_group import STREAM

if TYPE_CHECKING:
    from om_server.storage.database import Database
    from tests.redis_server import RedisServer

_PATIENCE_S = 30
_BATCH = Batch("org", "bat_1", "{}", event_count=1)


def test_without_redis_events_wait_in_the_database(database: Database) -> None:
    with connections.open_queue(load_settings(OM_REDIS_URL=""), database) as queue:
        queue.append([_BATCH])
        assert SqlInbox(database, lambda: 0).status("org")[0] == 1


def test_with_redis_events_wait_there(database: Database, redis_server: RedisServer) -> None:
    with connections.open_queue(load_settings(OM_REDIS_URL=redis_server.url), database) as queue:
        queue.append([_BATCH])
        assert queue.status("org")[0] == 1

    assert redis_server.client.xlen(STREAM) == 1
    assert SqlInbox(database, lambda: 0).status("org")[0] == 0


def test_a_process_hears_of_commits_of_others_where_there_is_redis(
    database: Database, redis_server: RedisServer
) -> None:
    elsewhere = load_settings(OM_REDIS_URL=redis_server.url, OM_DATABASE_URL="postgresql://om@db/om")
    told = threading.Semaphore(0)
    with (
        connections.hinting(elsewhere, database, heard=told.release),
        connections.hinting(elsewhere, database),
    ):
        # What happened before it listened may have been lost.
        assert told.acquire(timeout=_PATIENCE_S)

        database.write(lambda: None)

        assert told.acquire(timeout=_PATIENCE_S)


@pytest.mark.parametrize("url", ["", "redis://127.0.0.1:1"])
def test_the_one_process_of_a_sqlite_file_tells_nobody(database: Database, url: str) -> None:
    settings = load_settings(OM_REDIS_URL=url, OM_DATABASE_URL="")
    before = threading.active_count()

    with connections.hinting(settings, database, heard=lambda: pytest.fail("nobody told")):
        assert threading.active_count() == before
