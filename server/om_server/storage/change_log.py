"""The log of what edges must know: written by triggers and by settlement, read by one poller per process.

Ids and transaction numbers are given before a commit, so a later commit may have lower ones, and a
reader that remembers only "the highest so far" loses it. On PostgreSQL a reader therefore remembers
the snapshot of its last statement, and the next one asks for what that snapshot did not see. A change
is read once, as soon as it is committed, and a transaction that stays open delays no other's.
SQLite has one writer, so ids are in the order of commits and the highest is enough.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import peewee

from om_server.core.sequence_range import SequenceRange, merged
from om_server.storage.change import Change, ChangeKind, Position, Reading, Settled
from om_server.storage.database import Database, Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

#: Any constant will do that nothing else in the program uses.
_ADVISORY_LOCK = 7_305_112_020

#: Ids in one IN list; keeps the parameters of a statement below SQLite's limit.
_CHUNK = 1000

_COLUMNS = "kind, organization_id, subject_id, edge_id, edge_epoch, value, last_sequence"

# The LEFT JOIN gives a row without a change where there is none: one statement always tells the position.
_READ_POSTGRESQL = f"""
SELECT now.incarnation, now.snapshot, now.floor, c.* FROM (
  SELECT pg_current_snapshot()::text AS snapshot,
    pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS floor,
    (SELECT incarnation FROM incarnations) AS incarnation
) now LEFT JOIN (
  SELECT change_id, transaction_id, {_COLUMNS} FROM changes WHERE {{condition}} LIMIT %s
) c ON TRUE ORDER BY c.change_id
"""  # noqa: S608 - fixed names
_READ_SQLITE = f"""
SELECT now.incarnation, '', now.floor, c.* FROM (
  SELECT (SELECT COALESCE(MAX(change_id), 0) + 1 FROM changes) AS floor,
    (SELECT incarnation FROM incarnations) AS incarnation
) now LEFT JOIN (
  SELECT change_id, change_id AS transaction_id, {_COLUMNS} FROM changes WHERE {{condition}} LIMIT ?
) c ON TRUE ORDER BY c.change_id
"""  # noqa: S608 - fixed names
_KINDS = frozenset(kind.value for kind in ChangeKind)
_NEWEST = "TRUE ORDER BY transaction_id DESC, change_id DESC"
_UNSEEN_POSTGRESQL = (
    "transaction_id >= %s AND NOT pg_visible_in_snapshot(transaction_id::text::xid8, %s::pg_snapshot)"
)
_UNSEEN_SQLITE = "change_id >= ?"


class ChangeRow(Record):
    """A row of the log; the columns that are not written have the database's defaults."""

    change_id = peewee.BigAutoField()
    transaction_id = peewee.BigIntegerField()
    kind = peewee.TextField()
    organization_id = peewee.TextField()
    subject_id = peewee.TextField()
    edge_id = peewee.TextField()
    edge_epoch = peewee.BigIntegerField()
    value = peewee.BigIntegerField()
    last_sequence = peewee.BigIntegerField()
    create_time = peewee.BigIntegerField()

    class Meta:
        """Deleted some minutes later."""

        table_name = "changes"


class SettledRangeRow(Record):
    """What left the log of an edge's settled sequences."""

    edge_id = peewee.TextField()
    edge_epoch = peewee.BigIntegerField()
    first_sequence = peewee.BigIntegerField()
    last_sequence = peewee.BigIntegerField()
    update_time = peewee.BigIntegerField()

    class Meta:
        """Written by `prune` alone."""

        table_name = "settled_ranges"
        primary_key = peewee.CompositeKey("edge_id", "edge_epoch", "first_sequence")


MODELS: tuple[type[Record], ...] = (ChangeRow, SettledRangeRow)


class ChangeLog:
    """Reads and writes of the log. Each call is one transaction, or joins the one that is open."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def note_settled(self, edge_id: str, edge_epoch: int, ranges: Iterable[SequenceRange]) -> None:
        """Write, in the transaction that settles them, that positions of a journal are terminal."""
        rows = [
            {
                ChangeRow.kind: ChangeKind.SETTLED,
                ChangeRow.organization_id: "",
                ChangeRow.subject_id: "",
                ChangeRow.edge_id: edge_id,
                ChangeRow.edge_epoch: edge_epoch,
                ChangeRow.value: part.first,
                ChangeRow.last_sequence: part.last,
            }
            for part in ranges
        ]
        if rows:
            self._database.write(lambda: self._database.send_query(ChangeRow.insert_many(rows)))

    def newest(self, limit: int) -> Reading:
        """Return where the log ends, and its last changes."""
        return self._read(_NEWEST, (), limit)

    def since(self, position: Position, limit: int) -> Reading:
        """Return what was committed since `position`; more than `limit` changes are cut off."""
        if self._database.supports_row_locks:
            reading = self._read(_UNSEEN_POSTGRESQL, (position.floor, position.snapshot), limit + 1)
        else:
            reading = self._read(_UNSEEN_SQLITE, (position.floor,), limit + 1)
        if len(reading.changes) > limit:
            return Reading(reading.incarnation, reading.position, (), cut_off=True)
        return reading

    def _read(self, condition: str, arguments: tuple[int | str, ...], limit: int) -> Reading:
        template = _READ_POSTGRESQL if self._database.supports_row_locks else _READ_SQLITE
        sql = template.format(condition=condition)

        def run() -> list[tuple[Any, ...]]:
            cursor = self._database.engine.execute_sql(sql, (*arguments, limit))
            found: list[tuple[Any, ...]] = cursor.fetchall()
            return found

        rows = self._database.read(run)
        incarnation, snapshot, floor = rows[0][:3]
        # A kind that only a newer program writes is for newer edges.
        changes = tuple(_change_of(row[4:]) for row in rows if row[5] in _KINDS)
        return Reading(incarnation, Position(floor, snapshot), changes)

    def settled(self, edge_ids: Sequence[str]) -> Mapping[str, Settled]:
        """Return everything that is known to be settled of these edges, by edge and epoch."""
        mark = "%s" if self._database.supports_row_locks else "?"
        found: list[tuple[str, int, int, int]] = []

        def run() -> None:
            for start in range(0, len(edge_ids), _CHUNK):
                part = edge_ids[start : start + _CHUNK]
                ids = ", ".join([mark] * len(part))
                # One statement: what `prune` moves from one table to the other is in neither of two.
                sql = (
                    f"SELECT edge_id, edge_epoch, first_sequence, last_sequence FROM settled_ranges "  # noqa: S608 - fixed names
                    f"WHERE edge_id IN ({ids}) UNION ALL SELECT edge_id, edge_epoch, value, last_sequence "
                    f"FROM changes WHERE kind = 'settled' AND edge_id IN ({ids})"
                )
                found.extend(self._database.engine.execute_sql(sql, (*part, *part)).fetchall())

        self._database.read(run)
        settled: dict[str, dict[int, tuple[SequenceRange, ...]]] = {}
        for (edge_id, epoch), ranges in _grouped(found).items():
            settled.setdefault(edge_id, {})[epoch] = ranges
        return settled

    def prune(self, *, before: int, now: int, forget_before: int) -> None:
        """Delete changes that were made before a time, and keep what they say of settled sequences.

        An epoch of which nothing was settled since `forget_before` is forgotten; an event that is
        sent once more is settled, as a duplicate, once more.
        """

        def run() -> None:
            if self._database.supports_row_locks:
                lock = f"SELECT pg_try_advisory_xact_lock({_ADVISORY_LOCK})"
                if not self._database.engine.execute_sql(lock).fetchone()[0]:
                    return
            self._fold(self._delete(before), now)
            SettledRangeRow.delete().where(SettledRangeRow.update_time < forget_before).execute()

        self._database.write(run)

    def _delete(self, before: int) -> list[tuple[str, int, int, int]]:
        """Delete all changes below the last of those that are old, and return the settled ones.

        That last one stays: whoever starts to read knows by it that there were others before it.
        """
        order = ChangeRow.transaction_id if self._database.supports_row_locks else ChangeRow.change_id
        last = ChangeRow.select(peewee.fn.MAX(order)).where(ChangeRow.create_time < before)
        condition = order < last
        if self._database.supports_row_locks:
            # Transactions that have not begun: the rows came from another server with a dump, and would
            # be new to every snapshot.
            condition |= order >= peewee.SQL("pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
        deleted = ChangeRow.delete().where(condition).returning(ChangeRow)
        return [
            (row.edge_id, row.edge_epoch, row.value, row.last_sequence)
            for row in deleted.execute()
            if row.kind == ChangeKind.SETTLED
        ]

    def _fold(self, rows: list[tuple[str, int, int, int]], now: int) -> None:
        for (edge_id, epoch), ranges in _grouped(rows).items():
            condition = (SettledRangeRow.edge_id == edge_id) & (SettledRangeRow.edge_epoch == epoch)
            kept = [
                SequenceRange(row.first_sequence, row.last_sequence)
                for row in SettledRangeRow.select().where(condition)
            ]
            SettledRangeRow.delete().where(condition).execute()
            whole = [(edge_id, epoch, *part, now) for part in merged((*kept, *ranges))]
            for start in range(0, len(whole), _CHUNK):
                SettledRangeRow.insert_many(whole[start : start + _CHUNK]).execute()


def _change_of(row: tuple[Any, ...]) -> Change:
    transaction, kind, *rest = row
    return Change(transaction, ChangeKind(kind), *rest)


def _grouped(
    rows: Iterable[tuple[str, int, int, int]],
) -> Mapping[tuple[str, int], tuple[SequenceRange, ...]]:
    found: dict[tuple[str, int], list[SequenceRange]] = {}
    for edge_id, epoch, first, last in rows:
        found.setdefault((edge_id, epoch), []).append(SequenceRange(first, last))
    return {key: merged(ranges) for key, ranges in sorted(found.items())}
