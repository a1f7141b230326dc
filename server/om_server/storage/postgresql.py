"""PostgreSQL through peewee's pool and psycopg 3, at READ COMMITTED with guarded updates."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from playhouse.pool import PooledPostgresqlDatabase

from om_server.storage.database import Database, unavailable_as_domain_error

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import peewee

T = TypeVar("T")

#: A transaction that waits longer than this for a lock is given up and may be retried.
_LOCK_TIMEOUT_MS = 2000
_STATEMENT_TIMEOUT_MS = 30_000


class PostgresStore(Database):
    """A pool of connections to one PostgreSQL database; any number of processes may have one."""

    supports_row_locks = True

    def __init__(self, url: str, models: Sequence[type[peewee.Model]], *, pool_size: int) -> None:
        engine = PooledPostgresqlDatabase(
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

    def close(self) -> None:
        self._pool.close_all()
