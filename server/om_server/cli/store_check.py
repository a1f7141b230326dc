"""What `doctor` finds in a database that answers: its role, its policies, its clock, and what waits in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from om_server import connections
from om_server.cli.finding import Finding
from om_server.core.clock import MICROS_PER_SECOND, system_clock
from om_server.settings import Environment
from om_server.storage.condition import Backlog, RoleStanding, backlog, clock_of, role_standing
from om_server.storage.row_security import SERVER_ROLE, unguarded
from om_server.storage.sqlite import DatabaseOwned

if TYPE_CHECKING:
    from collections.abc import Iterator

    from om_server.settings import Settings

#: Leases end five seconds early for clocks that differ, and an answer takes its time too.
_SKEW_MAX_S = 2.0
#: Settlement is a matter of a second; what waits longer waits for a worker.
LAG_MAX_S = 60


def store_findings(settings: Settings) -> Iterator[Finding]:
    """Look into a database that is up to date; nothing where a running server owns its file."""
    if settings.on_sqlite and not settings.sqlite_path.exists():
        return
    try:
        database = connections.open_database(settings)
    except DatabaseOwned:
        return
    try:
        if not settings.on_sqlite:
            production = settings.environment is Environment.PRODUCTION
            yield role_finding(role_standing(database), production=production)
            yield policy_finding(unguarded(database))
            yield clock_finding(database_time=clock_of(database), now=system_clock())
        yield backlog_finding(backlog(database), now=system_clock())
    finally:
        database.close()


def role_finding(role: RoleStanding, *, production: bool) -> Finding:
    """Whether row-level security holds this role. In development a superuser will do."""
    if role.unbound:
        text = f"{role.name} sees the rows of every organization: it is a superuser or owns the tables"
        remedy = f"connect as {SERVER_ROLE} or a member of it; see docs/deploy.md" if production else ""
        return Finding("database role", text, remedy=remedy)
    if role.is_worker:
        return Finding("database role", f"{role.name} sees the rows of every organization, as a worker must")
    if role.is_server:
        return Finding("database role", f"{role.name} sees the rows of one organization at a time")
    return Finding(
        "database role",
        f"{role.name} may read nothing",
        remedy=f"GRANT {SERVER_ROLE} TO {role.name}, and run `openmonetize migrate` as the owner once more",
    )


def policy_finding(tables: list[str]) -> Finding:
    """Whether every table of organizations is guarded."""
    if tables:
        return Finding(
            "row-level security",
            f"does not guard {', '.join(tables)}",
            remedy="openmonetize migrate, as the owner of the tables",
        )
    return Finding("row-level security", "guards every table of organizations")


def clock_finding(*, database_time: int, now: int) -> Finding:
    """Whether this machine and the database agree about the time."""
    skew_s = (now - database_time) / MICROS_PER_SECOND
    if abs(skew_s) > _SKEW_MAX_S:
        direction = "ahead of" if skew_s > 0 else "behind"
        return Finding(
            "clock",
            f"{abs(skew_s):.1f} s {direction} the database's",
            remedy="synchronize both machines, as by NTP",
        )
    return Finding("clock", "agrees with the database's")


def backlog_finding(waiting: Backlog, *, now: int) -> Finding:
    """Whether somebody settles what waits in the database."""
    return lag_finding("queue in the database", waiting.batch_count, oldest_time=waiting.oldest_time, now=now)


def lag_finding(check: str, count: int, *, oldest_time: int | None, now: int) -> Finding:
    """Whether what waits has waited for too long. Times are microseconds since 1970."""
    age_s = 0 if oldest_time is None else max(0, now - oldest_time) // MICROS_PER_SECOND
    batches = "1 batch waits" if count == 1 else f"{count} batches wait"
    if count and age_s > LAG_MAX_S:
        return Finding(check, f"{batches}, since {age_s} s", remedy="start a worker, or see its log")
    return Finding(check, f"{batches} for settlement" if count else "nothing waits")
