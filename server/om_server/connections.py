"""What a process is connected to as its settings say: database, queue, and others that hear of commits."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from om_server.core.clock import MICROS_PER_SECOND, system_clock
from om_server.schema import MODELS
from om_server.storage.change_hint import Announcer, Listener
from om_server.storage.handover import Handover
from om_server.storage.inbox import SqlInbox
from om_server.storage.postgresql import PostgresStore
from om_server.storage.redis_stream import RedisStream
from om_server.storage.sqlite import SqliteStore
from om_server.storage.stream_group import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from om_server.settings import Settings
    from om_server.storage.database import Database
    from om_server.storage.queue import Queue


def open_database(settings: Settings) -> Database:
    """Open the database that the settings name. Connections are made when they are needed."""
    if settings.on_sqlite:
        return SqliteStore(settings.sqlite_path, MODELS)
    # Each thread of the pool may hold a connection, and so may the worker and a poller.
    return PostgresStore(settings.database_url, MODELS, pool_size=settings.grpc_thread_count + 2)


@contextlib.contextmanager
def open_queue(settings: Settings, database: Database) -> Iterator[Queue]:
    """Give the queue that the settings name. Redis is connected to when it is needed."""
    inbox = SqlInbox(database, system_clock)
    if not settings.redis_url:
        yield inbox
        return
    with connect(settings.redis_url) as client:
        abandoned_after_us = settings.queue_abandoned_after_s * MICROS_PER_SECOND
        stream = RedisStream(client, database, system_clock, abandoned_after_us=abandoned_after_us)
        yield Handover(inbox, stream)


@contextlib.contextmanager
def hinting(
    settings: Settings, database: Database, *, heard: Callable[[], None] | None = None
) -> Iterator[None]:
    """Tell other processes of commits through Redis for the block, where the settings name one.

    `heard` is called soon after another has committed; without it this process only tells.
    """
    # A SQLite file has one process, which wakes itself.
    if not settings.redis_url or settings.on_sqlite:
        yield
        return
    with connect(settings.redis_url) as client:
        announcer = Announcer(client)
        listener = None if heard is None else Listener(client, heard)
        database.after_commit(announcer.announce)
        announcer.start()
        if listener is not None:
            listener.start()
        try:
            yield
        finally:
            if listener is not None:
                listener.stop()
            announcer.stop()
