"""Where entries are kept. They are appended and read; nothing changes or removes one."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import peewee

from om_server.core.money import NANO
from om_server.storage.batch import BatchWriter
from om_server.storage.database import Database
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


class JournalStore:
    """Entries of one organization; the caller opens the transaction."""

    def __init__(self, database: Database) -> None:
        self._batch = BatchWriter(database)

    def append(self, rows: Sequence[EntryColumns]) -> None:
        """Insert chained entries. A position that is taken fails, so no two writers continue one ledger."""
        self._batch.insert(EntryRow, rows)

    def before(self, organization_id: str, wallet_id: str, *, sequence: int, limit: int) -> list[Entry]:
        """Return entries below a position, newest first."""
        query = EntryRow.select().where(
            (EntryRow.organization_id == organization_id)
            & (EntryRow.wallet_id == wallet_id)
            & (EntryRow.sequence < sequence)
        )
        return [_entry_from_row(row) for row in query.order_by(EntryRow.sequence.desc()).limit(limit)]

    def last_outward(self, organization_id: str, wallet_id: str) -> Entry | None:
        """Return the newest entry that was not only set aside or freed."""
        query = EntryRow.select().where(
            (EntryRow.organization_id == organization_id)
            & (EntryRow.wallet_id == wallet_id)
            & EntryRow.kind.not_in(sorted(INTERNAL_KINDS))
        )
        row = query.order_by(EntryRow.sequence.desc()).first()
        return _entry_from_row(row) if row else None

    def changes(
        self, organization_id: str, wallet_id: str, *, sequence: int, skip: int, limit: int
    ) -> list[Entry]:
        """Return entries below a position that changed the balance, newest first."""
        query = EntryRow.select().where(*_changes(organization_id, wallet_id, sequence))
        query = query.order_by(EntryRow.sequence.desc()).offset(skip).limit(limit)
        return [_entry_from_row(row) for row in query]

    def count_changes(self, organization_id: str, wallet_id: str, *, sequence: int) -> int:
        """Count entries below a position that changed the balance."""
        return EntryRow.select().where(*_changes(organization_id, wallet_id, sequence)).count()

    def change_between(self, organization_id: str, wallet_id: str, *, after: int, until: int) -> int:
        """Return by how much the entries behind one position, up to another, changed the balance."""
        # In two parts, because SQLite's SUM ends where 64 bits do.
        whole = peewee.fn.SUM(EntryRow.amount / NANO)
        rest = peewee.fn.SUM(EntryRow.amount - EntryRow.amount / NANO * NANO)
        query: peewee.ModelSelect[Any] = (
            EntryRow.select(EntryRow.credit_account, whole, rest)
            .where(*_changes(organization_id, wallet_id, until + 1, every=True), EntryRow.sequence > after)
            .group_by(EntryRow.credit_account)
        )
        return sum(
            (int(row[1]) * NANO + int(row[2])) * (1 if row[0] in _INSIDE else -1) for row in query.tuples()
        )

    def of_event(self, organization_id: str, *, source: str, event_id: str) -> list[Entry]:
        """Return what an event moved, in whatever wallets."""
        query = EntryRow.select().where(
            (EntryRow.organization_id == organization_id)
            & (EntryRow.event_id == event_id)
            & (EntryRow.event_source == source)
            # An index has only the entries of events, and no planner sees that this one is one.
            & (EntryRow.event_id != "")
        )
        return [_entry_from_row(row) for row in query]

    def of_events(
        self, organization_id: str, identities: Collection[tuple[str, str]]
    ) -> dict[tuple[str, str], list[Entry]]:
        """Return what events, by (source, id), moved; those that moved nothing are not in it."""
        found: dict[tuple[str, str], list[Entry]] = {}
        query = EntryRow.select().where(
            (EntryRow.organization_id == organization_id)
            & EntryRow.event_id.in_({event_id for _, event_id in identities})
            # As above.
            & (EntryRow.event_id != "")
        )
        for row in query if identities else ():
            if (row.event_source, row.event_id) in identities:
                found.setdefault((row.event_source, row.event_id), []).append(_entry_from_row(row))
        return found

    def all(self, organization_id: str, wallet_id: str) -> Iterator[Entry]:
        """Yield every entry of a wallet, oldest first, without keeping them in memory."""
        query = EntryRow.select().where(
            (EntryRow.organization_id == organization_id) & (EntryRow.wallet_id == wallet_id)
        )
        for row in query.order_by(EntryRow.sequence).iterator():
            yield _entry_from_row(row)


def _changes(
    organization_id: str, wallet_id: str, sequence: int, *, every: bool = False
) -> Iterator[peewee.Node]:
    """Entries below a position between what is in the wallet and what is not.

    Those that pass through clearing and come back in the next row are left out, unless all are asked for.
    """
    yield EntryRow.organization_id == organization_id
    yield EntryRow.wallet_id == wallet_id
    yield EntryRow.sequence < sequence
    yield (EntryRow.credit_account.in_(_INSIDE) & EntryRow.debit_account.not_in(_INSIDE)) | (
        EntryRow.debit_account.in_(_INSIDE) & EntryRow.credit_account.not_in(_INSIDE)
    )
    if not every:
        for movement in _PASSING:
            yield ~(
                (EntryRow.kind == movement.kind)
                & (EntryRow.debit_account == movement.debit)
                & (EntryRow.credit_account == movement.credit)
            )


def _entry_from_row(row: EntryRow) -> Entry:
    return Entry(
        entry_id=row.entry_id,
        wallet_id=row.wallet_id,
        sequence=row.sequence,
        kind=EntryKind(row.kind),
        debit_account=Account(row.debit_account),
        credit_account=Account(row.credit_account),
        amount=row.amount,
        grant_id=row.grant_id,
        hold_id=row.hold_id,
        event_source=row.event_source,
        event_id=row.event_id,
        group_id=row.group_id,
        description=row.description,
        available_after=row.available_after,
        create_time=row.create_time,
    )
