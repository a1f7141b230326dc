"""The log of when events of an organization were settled: written with them, read by one poller per process.

A transaction number is given before a commit, so a later commit may have a lower one. On PostgreSQL a
reader therefore remembers the snapshot of its last statement and asks for what that did not see, as
storage/change_log.py does and explains. SQLite has one writer, so ids are in the order of commits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import peewee

from om_server.storage.database import Database, Record

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Any constant will do that nothing else in the program uses.
_ADVISORY_LOCK = 7_305_112_021

_HEAD_POSTGRESQL = """
SELECT now.*, s.* FROM (
  SELECT (SELECT incarnation FROM incarnations) AS incarnation,
    (SELECT COALESCE(MIN(transaction_id), 0) FROM settlements) AS oldest,
    pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS floor, pg_current_snapshot()::text AS snapshot
) now LEFT JOIN (SELECT organization_id, settle_time FROM settlements WHERE {condition}) s ON TRUE
"""
_HEAD_SQLITE = """
SELECT now.*, s.* FROM (
  SELECT (SELECT incarnation FROM incarnations) AS incarnation,
    (SELECT COALESCE(MIN(settlement_id), 0) FROM settlements) AS oldest,
    (SELECT COALESCE(MAX(settlement_id), 0) + 1 FROM settlements) AS floor, '' AS snapshot
) now LEFT JOIN (SELECT organization_id, settle_time FROM settlements WHERE {condition}) s ON TRUE
"""
_UNSEEN_POSTGRESQL = (
    "transaction_id >= %s AND NOT pg_visible_in_snapshot(transaction_id::text::xid8, %s::pg_snapshot)"
)


class SettlementRow(Record):
    """A row of the log; the columns that are not written have the database's defaults."""

    settlement_id = peewee.BigAutoField()
    transaction_id = peewee.BigIntegerField()
    organization_id = peewee.TextField()
    settle_time = peewee.BigIntegerField()
    create_time = peewee.BigIntegerField()

    class Meta:
        """Deleted some minutes later."""

        table_name = "settlements"


#: Whose events were settled, and when: all that settled at one moment have the same time.
Settlement = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a reader has come: everything below the floor is read; the snapshot says what above it."""

    incarnation: str
    floor: int
    snapshot: str = ""


@dataclass(frozen=True, slots=True)
class News:
    """What a read found, how far it came, and from which floor on the log is complete."""

    progress: Progress
    complete_from: int
    settlements: frozenset[Settlement]


class SettlementLog:
    """Reads and writes of the log. Each call is one transaction, or joins the one that is open."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def note(self, settlements: Iterable[Settlement]) -> None:
        """Write that events were settled, in the transaction that settles them."""
        rows = [
            {SettlementRow.organization_id: organization_id, SettlementRow.settle_time: settle_time}
            for organization_id, settle_time in sorted(set(settlements))
        ]
        if rows:
            self._database.write(lambda: self._database.send_query(SettlementRow.insert_many(rows)))

    def now(self) -> News:
        """Return where the log ends, and nothing of what is in it."""
        return self._read("FALSE", ())

    def since(self, progress: Progress) -> News:
        """Return what was committed since an answer of this class to this reader."""
        if self._database.supports_row_locks:
            return self._read(_UNSEEN_POSTGRESQL, (progress.floor, progress.snapshot))
        return self._read("settlement_id >= ?", (progress.floor,))

    def missed(self, organization_id: str, floor: int) -> News:
        """Return what happened to an organization from a floor on, of which some may be known already."""
        column, mark = (
            ("transaction_id", "%s") if self._database.supports_row_locks else ("settlement_id", "?")
        )
        return self._read(f"{column} >= {mark} AND organization_id = {mark}", (floor, organization_id))

    def prune(self, *, before: int) -> None:
        """Delete what was written before a time, but for the last of it, which says that there was more."""
        on_postgresql = self._database.supports_row_locks
        column = SettlementRow.transaction_id if on_postgresql else SettlementRow.settlement_id

        def run() -> None:
            if on_postgresql:
                lock = f"SELECT pg_try_advisory_xact_lock({_ADVISORY_LOCK})"
                if not self._database.engine.execute_sql(lock).fetchone()[0]:
                    return
            last = SettlementRow.select(peewee.fn.MAX(column)).where(SettlementRow.create_time < before)
            condition = column < last
            if on_postgresql:
                # Transactions that have not begun: the rows came from another server with a dump, and
                # would be new to every snapshot.
                condition |= column >= peewee.SQL("pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
            SettlementRow.delete().where(condition).execute()

        self._database.write(run)

    def _read(self, condition: str, arguments: tuple[int | str, ...]) -> News:
        template = _HEAD_POSTGRESQL if self._database.supports_row_locks else _HEAD_SQLITE
        sql = template.format(condition=condition)

        def run() -> list[tuple[Any, ...]]:
            found: list[tuple[Any, ...]] = self._database.engine.execute_sql(sql, arguments).fetchall()
            return found

        rows = self._database.read(run)
        incarnation, oldest, floor, snapshot = rows[0][:4]
        settlements = frozenset((row[4], row[5]) for row in rows if row[4] is not None)
        return News(Progress(incarnation, floor, snapshot), oldest + 1, settlements)
