"""Numbered forward migrations: SQL files that both databases read, all that are missing in one transaction.

The files use the part of SQL that SQLite and PostgreSQL share, but for statements that are marked as
one database's. A lock keeps two processes from migrating at once, and a file is never changed after a
release: what it did is done.
"""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

import peewee

from om_server.core.errors import Code, DomainError
from om_server.storage.row_security import secure

if TYPE_CHECKING:
    from om_server.storage.database import Database

#: Any constant will do, as long as every version of this program uses the same one.
_ADVISORY_LOCK = 7_305_112_019

#: What PostgreSQL calls it.
_INSUFFICIENT_PRIVILEGE = "42501"


class MigrationRefused(DomainError):
    """The database's user may not make tables or policies."""

    code = Code.FAILED_PRECONDITION
    reason = "DEPENDENCY_UNAVAILABLE"

    def __init__(self) -> None:
        super().__init__("the database's user may not migrate it: connect as the owner of the tables")


def migrations() -> list[tuple[str, str]]:
    """Every migration as (name, SQL), in order."""
    folder = resources.files(__package__) / "migrations"
    files = [file for file in folder.iterdir() if file.name.endswith(".sql")]
    ordered = sorted(files, key=lambda file: file.name)
    return [(file.name.removesuffix(".sql"), file.read_text()) for file in ordered]


def migrate(database: Database, *, incarnation: str, now_us: int) -> list[str]:
    """Apply what is missing and return its names.

    `incarnation` names this life of the store; it is written once, with the first migration, so
    that edges notice when a store is replaced by an older copy.
    """
    try:
        return database.write(lambda: _apply(database, incarnation, now_us))
    except peewee.ProgrammingError as error:
        # Peewee raises its own error in the place of the driver's.
        if getattr(error.__context__, "sqlstate", "") == _INSUFFICIENT_PRIVILEGE:
            raise MigrationRefused from error
        raise


def _apply(database: Database, incarnation: str, now_us: int) -> list[str]:
    engine = database.engine
    if database.supports_row_locks:
        _wait_for_others(engine)
    engine.execute_sql(
        "CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY, apply_time BIGINT NOT NULL)"
    )
    done = {row[0] for row in engine.execute_sql("SELECT name FROM migrations").fetchall()}
    dialect, mark = ("postgresql", "%s") if database.supports_row_locks else ("sqlite", "?")
    applied = []
    for name, sql in migrations():
        if name in done:
            continue
        for statement in _statements(sql, dialect):
            engine.execute_sql(statement)
        engine.execute_sql(_insert("migrations", "name, apply_time", mark), (name, now_us))
        applied.append(name)
    if not done:
        engine.execute_sql(_insert("incarnations", "incarnation, create_time", mark), (incarnation, now_us))
    secure(database)
    return applied


def _wait_for_others(engine: peewee.Database) -> None:
    """Let nobody else migrate until the transaction ends.

    Whoever migrates is waited for, and a statement may take as long as a year of events needs. Tables
    that others use are waited for as briefly as ever: who comes later waits behind a migration that waits.
    """
    engine.execute_sql("SET LOCAL statement_timeout = 0")
    engine.execute_sql("SET LOCAL lock_timeout = 0")
    engine.execute_sql(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})")
    engine.execute_sql("SET LOCAL lock_timeout = DEFAULT")


def _insert(table: str, columns: str, mark: str) -> str:
    return f"INSERT INTO {table} ({columns}) VALUES ({mark}, {mark})"  # noqa: S608 - fixed names


def renew_incarnation(database: Database, *, incarnation: str, now_us: int) -> None:
    """Begin another life of a store that was restored: edges send again what it does not have."""
    mark = "%s" if database.supports_row_locks else "?"
    statement = f"UPDATE incarnations SET incarnation = {mark}, create_time = {mark}"  # noqa: S608 - fixed names
    database.write(lambda: database.engine.execute_sql(statement, (incarnation, now_us)))


def read_incarnation(database: Database) -> str:
    """Which life of the store this is."""
    query = "SELECT incarnation FROM incarnations"
    return database.read(lambda: str(database.engine.execute_sql(query).fetchone()[0]))


def pending(database: Database) -> list[str]:
    """Names of migrations that have not been applied, oldest first."""
    if "migrations" not in database.read(database.engine.get_tables):
        return [name for name, _ in migrations()]
    rows = database.read(lambda: database.engine.execute_sql("SELECT name FROM migrations").fetchall())
    done = {row[0] for row in rows}
    return [name for name, _ in migrations() if name not in done]


def _statements(sql: str, dialect: str) -> list[str]:
    """Split a file at semicolons that end a line; the files hold no other kind.

    A statement below the comment `-- only sqlite` or `-- only postgresql` is for that database.
    """
    found = []
    for part in f"{sql}\n".split(";\n"):
        lines = part.splitlines()
        only = {line.removeprefix("-- only ") for line in lines if line.startswith("-- only ")}
        statement = "\n".join(line for line in lines if not line.lstrip().startswith("--")).strip()
        if statement and (not only or dialect in only):
            found.append(statement)
    return found
