"""A disk of the database that has no room left, for as long as a block lasts.

SQLite's is the kernel's word: no file of the process may grow. PostgreSQL's is an error like its own, from
the two tables that grow with every event: a server of databases is shared by all tests. On either there is
room to queue one batch more, and none to settle it.
"""

from __future__ import annotations

import contextlib
import resource
from typing import TYPE_CHECKING

import psycopg

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.site import Site

#: What is left for each file, in bytes.
_ROOM = 32 * 1024
_FULL = """
CREATE FUNCTION disk_full() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_TABLE_NAME = 'inbox' AND NOT EXISTS (SELECT FROM inbox) THEN
    RETURN NULL;
  END IF;
  RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full';
END $$
"""
_TABLES = ("usage_events", "inbox")


@contextlib.contextmanager
def full_disk(site: Site) -> Iterator[None]:
    """Leave the database of a running site no room."""
    with _bounded_files(site) if site.on_sqlite else _failing_tables(site):
        yield


@contextlib.contextmanager
def _bounded_files(site: Site) -> Iterator[None]:
    process = site.process(site.settler)
    # What is written goes to the log first, and stays there for as long as this is short.
    process.limit_files((site.folder / "openmonetize.db-wal").stat().st_size + _ROOM)
    try:
        yield
    finally:
        process.limit_files(resource.RLIM_INFINITY)


@contextlib.contextmanager
def _failing_tables(site: Site) -> Iterator[None]:
    with psycopg.connect(site.database_url, autocommit=True) as connection:
        connection.execute(_FULL)
        for table in _TABLES:
            connection.execute(
                f"CREATE TRIGGER disk_full BEFORE INSERT ON {table} EXECUTE FUNCTION disk_full()".encode()
            )
        try:
            yield
        finally:
            connection.execute("DROP FUNCTION disk_full CASCADE")
