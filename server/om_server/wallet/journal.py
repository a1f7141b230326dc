"""Where entries are kept. They are appended and read; nothing changes or removes one."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import peewee

from om_server.core.money import NANO
from om_server.storage.batch import BatchWriter
from om_server.storage.database import Database
from om_server.storage.statement import Row, Statement, given
from om_server.wallet.chain import EntryColumns
from om_server.wallet.entry import (
    HANDED_OVER,
    INTERNAL_KINDS,
    OVERDRAFT_GIVEN,
    OVERDRAFT_TAKEN,
    TAKEN_OVER,
    Account,
    Entry,
    EntryKind,
)
from om_server.wallet.record import EntryRow

_INSIDE = (Account.AVAILABLE.value, Account.HELD.value)
#: Between two grants, or two holds, of one wallet: two rows that cancel out.
_PASSING = (OVERDRAFT_GIVEN, OVERDRAFT_TAKEN, HANDED_OVER, TAKEN_OVER)


#: In the order of the fields of `Entry`.
_COLUMNS = tuple(getattr(EntryRow, name) for name in Entry._fields)

_BELOW = EntryRow.sequence < given("sequence")
#: Between what is in the wallet and what is not.
_ACROSS = (EntryRow.credit_account.in_(_INSIDE) & EntryRow.debit_account.not_in(_INSIDE)) | (
    EntryRow.debit_account.in_(_INSIDE) & EntryRow.credit_account.not_in(_INSIDE)
)
#: Without those that pass through clearing and come back in the next row.
_CHANGES = (
    _ACROSS,
    *(
        ~(
            (EntryRow.kind == movement.kind)
            & (EntryRow.debit_account == movement.debit)
            & (EntryRow.credit_account == movement.credit)
        )
        for movement in _PASSING
    ),
)


class JournalStore:
    """Entries of one organization; the caller opens the transaction."""

    def __init__(self, database: Database) -> None:
        self._batch = BatchWriter(database)
        newest_first = _of_wallet().order_by(EntryRow.sequence.desc())
        below = newest_first.where(_BELOW)
        changes = below.where(*_CHANGES)
        limit = given("limit")
        outward = EntryRow.kind.not_in(sorted(INTERNAL_KINDS))
        self._last_outward = Statement(database, newest_first.where(outward).limit(1))
        self._before = Statement(database, below.limit(limit))
        self._changes = Statement(database, changes.limit(limit).offset(given("skip")))
        # In two parts, because SQLite's SUM ends where 64 bits do.
        whole = peewee.fn.SUM(EntryRow.amount / NANO)
        rest = peewee.fn.SUM(EntryRow.amount - EntryRow.amount / NANO * NANO)
        between = _of_wallet().where(_BELOW, _ACROSS, EntryRow.sequence > given("after"))
        moved: Any = between.select(EntryRow.credit_account, whole, rest).group_by(EntryRow.credit_account)
        self._change_between = Statement(database, moved)
        counted: Any = changes.select(peewee.fn.COUNT(peewee.SQL("*"))).order_by()
        self._count_changes = Statement(database, counted)

    def append(self, rows: Sequence[EntryColumns]) -> None:
        """Insert chained entries. A position that is taken fails, so no two writers continue one ledger."""
        self._batch.insert(EntryRow, rows)

    def before(self, organization_id: str, wallet_id: str, *, sequence: int, limit: int) -> list[Entry]:
        """Return entries below a position, newest first."""
        rows = self._before.rows(
            organization_id=organization_id, wallet_id=wallet_id, sequence=sequence, limit=limit
        )
        return list(map(_entry_from_row, rows))

    def last_outward(self, organization_id: str, wallet_id: str) -> Entry | None:
        """Return the newest entry that was not only set aside or freed."""
        row = self._last_outward.row(organization_id=organization_id, wallet_id=wallet_id)
        return _entry_from_row(row) if row else None

    def changes(
        self, organization_id: str, wallet_id: str, *, sequence: int, skip: int, limit: int
    ) -> list[Entry]:
        """Return entries below a position that changed the balance, newest first."""
        rows = self._changes.rows(
            organization_id=organization_id, wallet_id=wallet_id, sequence=sequence, skip=skip, limit=limit
        )
        return list(map(_entry_from_row, rows))

    def count_changes(self, organization_id: str, wallet_id: str, *, sequence: int) -> int:
        """Count entries below a position that changed the balance."""
        row = self._count_changes.row(organization_id=organization_id, wallet_id=wallet_id, sequence=sequence)
        return int(row[0]) if row else 0

    def change_between(self, organization_id: str, wallet_id: str, *, after: int, until: int) -> int:
        """Return by how much the entries behind one position, up to another, changed the balance."""
        rows = self._change_between.rows(
            organization_id=organization_id, wallet_id=wallet_id, after=after, sequence=until + 1
        )
        return sum((int(row[1]) * NANO + int(row[2])) * (1 if row[0] in _INSIDE else -1) for row in rows)

    def of_event(self, organization_id: str, *, source: str, event_id: str) -> list[Entry]:
        """Return what an event moved, in whatever wallets."""
        query = _of_events(organization_id, [event_id]).where(EntryRow.event_source == source)
        return list(map(_entry_from_row, query.tuples()))

    def of_events(
        self, organization_id: str, identities: Collection[tuple[str, str]]
    ) -> dict[tuple[str, str], list[Entry]]:
        """Return what events, by (source, id), moved; those that moved nothing are not in it."""
        found: dict[tuple[str, str], list[Entry]] = {}
        query = _of_events(organization_id, {event_id for _, event_id in identities})
        for entry in map(_entry_from_row, query.tuples() if identities else ()):
            identity = entry.event_source, entry.event_id
            if identity in identities:
                found.setdefault(identity, []).append(entry)
        return found

    def all(self, organization_id: str, wallet_id: str) -> Iterator[Entry]:
        """Yield every entry of a wallet, oldest first, without keeping them in memory."""
        query: peewee.ModelSelect[Any] = EntryRow.select(*_COLUMNS).where(
            (EntryRow.organization_id == organization_id) & (EntryRow.wallet_id == wallet_id)
        )
        yield from map(_entry_from_row, query.order_by(EntryRow.sequence).tuples().iterator())


def _of_wallet() -> peewee.ModelSelect[Any]:
    return EntryRow.select(*_COLUMNS).where(
        EntryRow.organization_id == given("organization_id"), EntryRow.wallet_id == given("wallet_id")
    )


def _of_events(organization_id: str, event_ids: Collection[str]) -> peewee.ModelSelect[Any]:
    return EntryRow.select(*_COLUMNS).where(
        EntryRow.organization_id == organization_id,
        EntryRow.event_id.in_(event_ids),
        # An index has only the entries of events, and no planner sees that these are some.
        EntryRow.event_id != "",
    )


def _entry_from_row(row: Row) -> Entry:
    wallet_id, sequence, entry_id, kind, debit, credit, *rest = row
    return Entry(wallet_id, sequence, entry_id, EntryKind(kind), Account(debit), Account(credit), *rest)
