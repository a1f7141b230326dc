"""One blocking interface over SQLite and PostgreSQL: `read` and `write` run a function on a connection.

`write` is the one way to change anything. It opens a transaction, or joins the one that is already
open on this thread, so that settlement composes the operations of several slices into one.
"""

from __future__ import annotations

import abc
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import peewee
from playhouse.pool import MaxConnectionsExceeded

from om_server.core.errors import DependencyUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    #: Is told how many rows a write changed.
    Counted = Callable[[int], None]

T = TypeVar("T")


def uncounted(_rows: int, /) -> None:
    """Take any number of changed rows."""


class Record(peewee.Model):
    """Base of every table's model. Models are bound to a database by `Database`, not at import."""

    class Meta:
        """No database: a query before the bind fails loudly."""

        legacy_table_names = False


class Database(abc.ABC):
    """Runs functions of blocking SQL on this thread's connection."""

    #: Appended to a SELECT whose rows the transaction will change; SQLite's one writer needs none.
    supports_row_locks: bool

    def __init__(self, engine: peewee.Database, models: Sequence[type[peewee.Model]]) -> None:
        self._engine = engine
        #: What this thread does once its transaction has committed.
        self._afterwards = threading.local()
        engine.bind(models)

    @property
    def engine(self) -> peewee.Database:
        """The peewee database, for migrations and raw SQL."""
        return self._engine

    def read(self, fn: Callable[[], T]) -> T:
        """Run `fn` on a connection that is given back afterwards; inside `write`, on that one."""
        if self._engine.in_transaction():
            return fn()
        with unavailable_as_domain_error(), self._engine.connection_context():
            return fn()

    def write(self, fn: Callable[[], T]) -> T:
        """Run `fn` in one transaction, committed when it returns and rolled back when it raises."""
        if self._engine.in_transaction():
            return fn()
        self._afterwards.acts = []
        result = self._transact(fn)
        for act in self._afterwards.acts:
            act()
        return result

    def once_committed(self, act: Callable[[], None]) -> None:
        """Call `act` when the transaction that is open on this thread has committed, and else never."""
        self._afterwards.acts.append(act)

    @property
    def connections_in_use(self) -> int:
        """How many connections of a pool are taken; 0 where there is no pool."""
        return 0

    @abc.abstractmethod
    def _transact(self, fn: Callable[[], T]) -> T:
        """Run `fn` in a new transaction."""

    def on_write(self, listener: Callable[[], None]) -> None:  # noqa: B027 - most have nothing to call
        """Call `listener` after every commit, where all of them are this process's own; else never."""

    def after_commit(self, listener: Callable[[], None]) -> None:
        """Call `listener` after every commit of this process, whoever else commits; it must not wait."""
        self.on_write(listener)

    def send(self, sql: str, values: Sequence[object], *, counted: Counted = uncounted) -> None:
        """Run a write, in the caller's transaction, whose result nobody waits for.

        What it changed is there for the next statement. That it failed is raised, and `counted` is
        called and may raise, now or by a later statement, at the latest by the commit.
        """
        counted(int(self._engine.execute_sql(sql, values).rowcount))

    def send_query(self, query: peewee.Query) -> None:
        """Run a write of peewee's as `send` does."""
        sql, values = self._engine.get_sql_context().sql(query).query()
        self.send(sql, values)

    def ask(self, query: peewee.Query) -> list[tuple[Any, ...]]:
        """Run a question whose best plan depends on its values, and give its rows: no plan is kept for it.

        A plan that fits any range and any customer reads all of the rows, where its values would need few.
        """
        sql, values = self._engine.get_sql_context().sql(query).query()
        found: list[tuple[Any, ...]] = self._executed_anew(sql, values).fetchall()
        return found

    def _executed_anew(self, sql: str, values: Sequence[object]) -> Any:  # noqa: ANN401 - a cursor of either driver
        return self._engine.execute_sql(sql, values)

    def locked(self, query: peewee.ModelSelect) -> peewee.ModelSelect:
        """Lock the rows of `query` until the transaction ends. The caller orders them."""
        return query.for_update() if self.supports_row_locks else query

    def answers(self) -> bool:
        """Whether a statement can be run now."""
        try:
            self.read(lambda: self._engine.execute_sql("SELECT 1"))
        except DependencyUnavailable:
            return False
        return True

    @abc.abstractmethod
    def close(self) -> None:
        """Give up every connection. Nothing may be running."""


@contextmanager
def unavailable_as_domain_error() -> Iterator[None]:
    """Turn lost connections, a drained pool and lock timeouts into one retryable error without SQL text."""
    try:
        yield
    except (peewee.OperationalError, peewee.InterfaceError, MaxConnectionsExceeded) as error:
        raise DependencyUnavailable("the database is not available; retry") from error
