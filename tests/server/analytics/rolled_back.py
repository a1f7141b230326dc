"""Keeps a database fresh between the examples of one property."""

from collections.abc import Callable
from typing import TypeVar

from om_server.storage.database import Database

T = TypeVar("T")


class _UndoError(Exception):
    pass


def rolled_back(database: Database, fn: Callable[[], T]) -> T:
    """Run `fn` in a transaction that leaves nothing behind."""
    results: list[T] = []

    def run() -> None:
        results.append(fn())
        raise _UndoError

    try:
        database.write(run)
    except _UndoError:
        return results[0]
    raise AssertionError("the transaction was kept")
