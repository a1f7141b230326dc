"""Where escrows and their slices are kept. The locks on the wallets of their slices are their own."""

from collections.abc import Collection, Sequence
from typing import Any

import peewee

from om_server.storage.batch import BatchWriter, Row
from om_server.storage.database import Database
from om_server.wallet.grant import Slice
from om_server.wallet.holds.escrow import Escrow, EscrowKind
from om_server.wallet.record import EscrowRow, EscrowSliceRow

#: Ids in one IN list; keeps the parameters of a statement below SQLite's limit.
_CHUNK = 1000

#: In the order of the fields of `Escrow`, whose last are the slices.
_COLUMNS = (
    EscrowRow.escrow_id,
    EscrowRow.wallet_id,
    EscrowRow.kind,
    EscrowRow.suspended,
    EscrowRow.pending,
    EscrowRow.lease_id,
    EscrowRow.event_source,
    EscrowRow.event_id,
    EscrowRow.amount,
    EscrowRow.create_time,
    EscrowRow.decided,
)

# Spelled out, not bound: no planner uses a partial index for a condition that it cannot read.
_OF_EVENT = peewee.SQL("event_id <> ''")
_OF_LEASE = peewee.SQL("lease_id <> ''")
_SUSPENDED = peewee.SQL("suspended AND pending")


class EscrowStore:
    """Escrows of one organization; the caller opens the transaction."""

    def __init__(self, database: Database) -> None:
        self._batch = BatchWriter(database)

    def get(self, organization_id: str, escrow_id: str) -> Escrow | None:
        """Return an escrow, resolved or not."""
        found = self._where(organization_id, EscrowRow.escrow_id == escrow_id)
        return found[0] if found else None

    def of_events(
        self, organization_id: str, events: Collection[tuple[str, str]]
    ) -> dict[tuple[str, str], Escrow]:
        """Return the escrows of these (source, event), the resolved ones too."""
        found: list[Escrow] = []
        for source in {source for source, _ in events}:
            ids = sorted(event_id for of, event_id in events if of == source)
            for start in range(0, len(ids), _CHUNK):
                part = EscrowRow.event_id.in_(ids[start : start + _CHUNK])
                found += self._where(organization_id, (EscrowRow.event_source == source) & part & _OF_EVENT)
        return {(escrow.event_source, escrow.event_id): escrow for escrow in found}

    def of_leases(self, organization_id: str, lease_ids: Collection[str]) -> dict[str, Escrow]:
        """Return the suspense of resolved leases by lease."""
        ids = sorted(lease_ids)
        found: list[Escrow] = []
        for start in range(0, len(ids), _CHUNK):
            part = EscrowRow.lease_id.in_(ids[start : start + _CHUNK])
            found += self._where(organization_id, part & _OF_LEASE)
        return {escrow.lease_id: escrow for escrow in found}

    def page(self, organization_id: str, *, after: tuple[int, str] | None, limit: int) -> list[Escrow]:
        """Return what is in suspense, oldest first, from above a (create_time, escrow_id)."""
        condition: Any = _SUSPENDED
        if after is not None:
            time, escrow_id = after
            condition &= (EscrowRow.create_time > time) | (
                (EscrowRow.create_time == time) & (EscrowRow.escrow_id > escrow_id)
            )
        return self._where(organization_id, condition, limit=limit)

    def save(self, organization_id: str, *, new: Sequence[Escrow], changed: Sequence[Escrow]) -> None:
        """Insert new escrows and write what happened to older ones."""
        rows = [(organization_id, *_columns(escrow)) for escrow in new]
        self._batch.insert(EscrowRow, rows)
        pieces: list[Row] = [
            (organization_id, escrow.escrow_id, piece.position, piece.wallet_id, piece.grant_id, piece.amount,
             piece.held)
            for escrow in new
            for piece in escrow.slices
        ]  # fmt: skip
        self._batch.insert(EscrowSliceRow, pieces)
        states: list[Row] = [
            (escrow.pending, escrow.decided, organization_id, escrow.escrow_id) for escrow in changed
        ]
        self._batch.update(EscrowRow, ("pending", "decided"), rows=states)
        held: list[Row] = [
            (piece.held, organization_id, escrow.escrow_id, piece.position)
            for escrow in changed
            for piece in escrow.slices
        ]
        self._batch.update(EscrowSliceRow, ("held",), rows=held)

    def rename(self, organization_id: str, escrow_id: str, *, to: Escrow) -> None:
        """Put a locked escrow in the place of another one of the same event, which held the money before."""
        for model in (EscrowRow, EscrowSliceRow):
            model.delete().where(
                (model.organization_id == organization_id) & (model.escrow_id == escrow_id)
            ).execute()
        self.save(organization_id, new=[to], changed=[])

    def _where(self, organization_id: str, condition: Any, *, limit: int | None = None) -> list[Escrow]:  # noqa: ANN401 - peewee's own
        query: peewee.ModelSelect[Any] = EscrowRow.select(*_COLUMNS).where(
            (EscrowRow.organization_id == organization_id) & condition
        )
        rows = list(query.order_by(EscrowRow.create_time, EscrowRow.escrow_id).limit(limit).tuples())
        slices: dict[str, list[Slice]] = {row[0]: [] for row in rows}
        ids = sorted(slices)
        for start in range(0, len(ids), _CHUNK):
            pieces: peewee.ModelSelect[Any] = EscrowSliceRow.select(
                EscrowSliceRow.escrow_id,
                EscrowSliceRow.position,
                EscrowSliceRow.wallet_id,
                EscrowSliceRow.grant_id,
                EscrowSliceRow.amount,
                EscrowSliceRow.held,
            ).where(
                (EscrowSliceRow.organization_id == organization_id)
                & EscrowSliceRow.escrow_id.in_(ids[start : start + _CHUNK])
            )
            for escrow_id, *fields in pieces.order_by(EscrowSliceRow.position).tuples():
                slices[escrow_id].append(Slice(*fields))
        return [_escrow_from_row(row, tuple(slices[row[0]])) for row in rows]


def _columns(escrow: Escrow) -> Row:
    return (
        escrow.escrow_id,
        escrow.wallet_id,
        escrow.kind.value,
        escrow.suspended,
        escrow.pending,
        escrow.lease_id,
        escrow.event_source,
        escrow.event_id,
        escrow.amount,
        escrow.create_time,
        escrow.decided,
    )


def _escrow_from_row(row: Sequence[Any], slices: tuple[Slice, ...]) -> Escrow:
    escrow_id, wallet_id, kind, *columns = row
    fields: list[Any] = [escrow_id, wallet_id, EscrowKind(kind), *columns, slices]
    return Escrow(*fields)
