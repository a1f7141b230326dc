"""PostgreSQL through peewee's pool and psycopg 3, at READ COMMITTED with guarded updates.

A transaction is one pipeline: BEGIN goes out with the statement that follows it, and so does every
write whose result nobody reads, while this process goes on. What such a write has to say, that it
failed or how many rows it changed, is heard by the next statement that is read, at the latest before
the commit, and nothing is committed that was not heard. Whose rows it may see (row-level security)
goes out with BEGIN, or with the statement where there is no transaction.
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
from om_server.storage.tenancy import SETTING, visible

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from om_server.storage.database import Counted

T = TypeVar("T")

#: A transaction that waits longer than this for a lock is given up and may be retried.
_LOCK_TIMEOUT_MS = 2000
_STATEMENT_TIMEOUT_MS = 30_000

#: SET takes no parameter; a function does, and a statement alone has no isolation level to choose.
_WHOSE_ROWS = f"SELECT set_config('{SETTING}', %s, true)"

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
            self._say_whose_rows()
        except BaseException:
            self._abandon()
            raise

    def execute_sql(self, sql: str, params: Sequence[object] | None = None) -> psycopg.Cursor[Any]:
        if self._transaction.pipeline is None and visible() is not None:
            return self._execute_alone(sql, params)
        cursor: psycopg.Cursor[Any] = super().execute_sql(sql, params)
        self._hear()
        return cursor

    def execute_anew(self, sql: str, params: Sequence[object]) -> psycopg.Cursor[Any]:
        """Run a statement that is never prepared, so that it is planned each time."""
        connection: psycopg.Connection[Any] = self.connection()
        threshold, connection.prepare_threshold = connection.prepare_threshold, None
        try:
            return self.execute_sql(sql, params)
        finally:
            connection.prepare_threshold = threshold

    def _execute_alone(self, sql: str, params: Sequence[object] | None) -> psycopg.Cursor[Any]:
        """Run a statement outside of a transaction: what is in one pipeline is one transaction."""
        connection: psycopg.Connection[Any] = self.connection()
        with _translated(), connection.pipeline():
            connection.execute(_WHOSE_ROWS, (visible(),))
            cursor: psycopg.Cursor[Any] = super().execute_sql(sql, params)
        return cursor

    def _say_whose_rows(self) -> None:
        """Tell row-level security, with the statement that follows; nobody waits for it."""
        whose = visible()
        if whose is not None:
            # Not by a query, which would fix the transaction's isolation level.
            with _translated():
                self.cursor().execute(f"SET LOCAL {SETTING} = {_quoted(whose)}")

    def send(self, sql: str, values: Sequence[object], counted: Counted) -> None:
        """Run a write and go on; outside a transaction, wait for it."""
        if self._transaction.pipeline is None and visible() is not None:
            counted(self._execute_alone(sql, values).rowcount)
            return
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
        self._listeners: list[Callable[[], None]] = []
        super().__init__(engine, models)

    def _transact(self, fn: Callable[[], T]) -> T:
        with unavailable_as_domain_error(), self._pool.connection_context(), self._pool.atomic():
            result = fn()
        for listener in self._listeners:
            listener()
        return result

    def after_commit(self, listener: Callable[[], None]) -> None:
        """Call `listener` after every commit of this process; it must not wait."""
        self._listeners.append(listener)

    @property
    def connections_in_use(self) -> int:
        """How many connections of the pool are taken."""
        return len(self._pool._in_use)  # noqa: SLF001 - peewee's pool tells it nowhere else.

    def send(self, sql: str, values: Sequence[object], *, counted: Counted = uncounted) -> None:
        """Run a write and go on, within a transaction."""
        self._pool.send(sql, values, counted)

    def _executed_anew(self, sql: str, values: Sequence[object]) -> psycopg.Cursor[Any]:
        return self._pool.execute_anew(sql, values)

    def close(self) -> None:
        self._pool.close_all()


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _translated() -> peewee.ExceptionWrapper:
    return peewee.ExceptionWrapper({error.__name__: error for error in _TRANSLATED})
