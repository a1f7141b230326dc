"""A database of the platform, and every byte that is in it."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from om_server.schema import MODELS
from om_server.storage.postgresql import PostgresStore
from om_server.storage.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from om_server.storage.database import Database


@dataclass(frozen=True, slots=True)
class Stored:
    """An open database; `dump` gives all that it holds."""

    database: Database
    dump: Callable[[], bytes]


@contextlib.contextmanager
def stored_in_sqlite(template: Path, folder: Path) -> Iterator[Stored]:
    """Copy a migrated file; its dump has deleted rows too, as far as their pages were not reused."""
    path = folder / "om.db"
    shutil.copy(template, path)
    database = SqliteStore(path, MODELS)
    try:
        yield Stored(database, lambda: b"".join(file.read_bytes() for file in sorted(folder.glob("om.db*"))))
    finally:
        database.close()


@contextlib.contextmanager
def stored_in_postgresql(url: str) -> Iterator[Stored]:
    """Open a database as its owner."""
    database = PostgresStore(url, MODELS, pool_size=20)
    try:
        yield Stored(database, lambda: _copied(url))
    finally:
        database.close()


def _copied(url: str) -> bytes:
    parts: list[bytes] = []
    with psycopg.connect(url) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        for (table,) in tables:
            statement = sql.SQL("COPY {} TO STDOUT").format(sql.Identifier(table))
            with connection.cursor().copy(statement) as rows:
                parts.extend(bytes(row) for row in rows)
    return b"".join(parts)
