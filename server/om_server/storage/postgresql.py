"""PostgreSQL through peewee's pool and psycopg 3, at READ COMMITTED with guarded updates.

A transaction is one pipeline: BEGIN goes out with the statement that follows it, and so does every
write whose result nobody reads, while this process goes on. What such a write has to say, that it
failed or how many rows it changed, is heard by the next statement that is read, at the latest before
the commit, and nothing is committed that was not heard.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any, TypeVar

import peewee
import psycopg
from playhouse.pool import PooledPostgresqlDatabase
from psycopg.pq import PipelineStatus

from om_server.storage.database import Database, unavailable_as_domain_error, uncounted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from om_server.storage.database import Counted

T = TypeVar("T")

#: A transaction that waits longer than this for a lock is given up and may be retried.
_LOCK_TIMEOUT_MS = 2000
_STATEMENT_TIMEOUT_MS = 30_000

# As peewee translates what its own calls raise: who tells errors apart knows only peewee's.
_TRANSLATED = (
    peewee.DataError,
    peewee.DatabaseError,
    peewee.IntegrityError,
    peewee.InterfaceError,
    peewee.InternalError,
    peewee.NotSupportedError,
    peewee.OperationalError,
    peewee.ProgrammingError,
)


class _Transaction(threading.local):
    """What this thread has sent in its transaction and not heard of yet."""

    def __init__(self) -> None:
        self.connection: psycopg.Connection[Any] | None = None
        #: Of that connection, with what ends it.
        self.pipeline: psycopg.Pipeline | None = None
        self.ending = contextlib.ExitStack()
        self.unheard: list[tuple[psycopg.Cursor[Any], Counted]] = []


class _Engine(PooledPostgresqlDatabase):  # type: ignore[misc]  # Peewee's pool has no types.
    """A pool whose transactions are pipelines. A statement of `execute_sql` has its result, as ever."""

    def __init__(self, url: str, **settings: object) -> None:
        self._transaction = _Transaction()
        super().__init__(url, **settings)

    def begin(self, *arguments: object, **settings: object) -> None:
        sent = self._transaction
        with _translated():
            sent.connection = self.connection()
            sent.pipeline = sent.ending.enter_context(sent.connection.pipeline())
        try:
            super().begin(*arguments, **settings)
        except BaseException:
            self._abandon()
            raise

    def execute_sql(self, sql: str, params: Sequence[object] | None = None) -> psycopg.Cursor[Any]:
        cursor: psycopg.Cursor[Any] = super().execute_sql(sql, params)
        self._hear()
        return cursor

    def send(self, sql: str, values: Sequence[object], counted: Counted) -> None:
        """Run a write and go on; outside a transaction, wait for it."""
        cursor: psycopg.Cursor[Any] = super().execute_sql(sql, values)
        self._transaction.unheard.append((cursor, counted))
        if self._transaction.pipeline is None:
            self._hear()

    def commit(self) -> None:
        if self._transaction.unheard:
            self._hear()
        super().commit()
        with _translated():
            self._leave()

    def rollback(self) -> None:
        self._abandon()
        super().rollback()

    def _hear(self) -> None:
        """Wait for everything that was sent, and raise the first failure.

        Not at the pipeline's end: where the first failure arrives early, psycopg raises a later one in its
        place there, that the pipeline was aborted, and a bad row would look like a database that is away.
        """
        sent = self._transaction
        if sent.pipeline is not None:
            with _translated():
                sent.pipeline.sync()
        unheard, sent.unheard = sent.unheard, []
        for cursor, counted in unheard:
            counted(cursor.rowcount)

    def _abandon(self) -> None:
        """Leave without a word: what failed is known, and the rest only says that it was not run."""
        with contextlib.suppress(psycopg.Error):
            self._leave()

    def _leave(self) -> None:
        """End the pipeline. A connection that cannot is closed, so that nobody gets it from the pool."""
        sent = self._transaction
        connection, sent.connection, sent.pipeline = sent.connection, None, None
        sent.unheard.clear()
        try:
            sent.ending.close()
        finally:
            if connection is not None and connection.pgconn.pipeline_status != PipelineStatus.OFF:
                connection.close()


class PostgresStore(Database):
    """A pool of connections to one PostgreSQL database; any number of processes may have one."""

    supports_row_locks = True

    def __init__(self, url: str, models: Sequence[type[peewee.Model]], *, pool_size: int) -> None:
        engine = _Engine(
            url,
            max_connections=pool_size,
            timeout=10,
            stale_timeout=300,
            autoconnect=False,
            prefer_psycopg3=True,
            options=f"-c lock_timeout={_LOCK_TIMEOUT_MS} -c statement_timeout={_STATEMENT_TIMEOUT_MS}"
            " -c timezone=UTC",
        )
        self._pool = engine
        super().__init__(engine, models)

    def _transact(self, fn: Callable[[], T]) -> T:
        with unavailable_as_domain_error(), self._pool.connection_context(), self._pool.atomic():
            return fn()

    def send(self, sql: str, values: Sequence[object], *, counted: Counted = uncounted) -> None:
        """Run a write and go on, within a transaction."""
        self._pool.send(sql, values, counted)

    def close(self) -> None:
        self._pool.close_all()


def _translated() -> peewee.ExceptionWrapper:
    return peewee.ExceptionWrapper({error.__name__: error for error in _TRANSLATED})
