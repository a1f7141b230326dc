"""What whoever runs an installation must know of its database: its role, its clock, and what waits in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from om_server.core.clock import MICROS_PER_SECOND
from om_server.storage.row_security import SERVER_ROLE, WORKER_ROLE
from om_server.storage.tenancy import seeing_everybody

if TYPE_CHECKING:
    from om_server.storage.database import Database

# A superuser has every role and is held by no policy, and so does an owner of the tables.
_ROLE = f"""
SELECT current_user::text, r.rolsuper OR r.rolbypassrls,
  EXISTS (SELECT FROM pg_class c WHERE c.relname = 'migrations' AND pg_has_role(c.relowner, 'USAGE')),
  EXISTS (SELECT FROM pg_roles s WHERE s.rolname = '{SERVER_ROLE}' AND pg_has_role(s.oid, 'USAGE')),
  EXISTS (SELECT FROM pg_roles w WHERE w.rolname = '{WORKER_ROLE}' AND pg_has_role(w.oid, 'USAGE'))
FROM pg_roles r WHERE r.rolname = current_user
"""  # noqa: S608 - fixed names
_CLOCK = f"SELECT (extract(epoch FROM clock_timestamp()) * {MICROS_PER_SECOND})::bigint"  # noqa: S608 - as above


@dataclass(frozen=True, slots=True)
class RoleStanding:
    """Who a process is to PostgreSQL, and what that lets it see."""

    name: str
    #: No policy holds it: a superuser, or the owner of the tables.
    unbound: bool
    is_server: bool
    is_worker: bool


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits for settlement in the database, and since when in microseconds of its own time."""

    batch_count: int
    oldest_time: int | None


def role_standing(database: Database) -> RoleStanding:
    """Tell as whom PostgreSQL is used."""
    name, bypasses, owns, server, worker = database.read(
        lambda: database.engine.execute_sql(_ROLE).fetchone()
    )
    return RoleStanding(name, bypasses or owns, server, worker)


def clock_of(database: Database) -> int:
    """Tell PostgreSQL's time, in microseconds since 1970."""
    return int(database.read(lambda: database.engine.execute_sql(_CLOCK).fetchone()[0]))


def backlog(database: Database) -> Backlog:
    """Count what waits in the table of the queue, for every organization."""
    query = "SELECT COUNT(*), MIN(create_time) FROM inbox"
    with seeing_everybody():
        count, oldest = database.read(lambda: database.engine.execute_sql(query).fetchone())
    return Backlog(count, oldest)
