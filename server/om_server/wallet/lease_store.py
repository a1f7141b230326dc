"""Where leases and their slices are kept."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import peewee

from om_server.storage.batch import BatchWriter, Row
from om_server.storage.database import Database
from om_server.wallet.grant import Slice
from om_server.wallet.lease import EdgeIdentity, Lease, LeaseState
from om_server.wallet.record import LeaseRow, SliceRow

#: Ids in one IN list; keeps the parameters of a statement below SQLite's limit.
_CHUNK = 1000

#: In the order of the fields of `Lease`, whose last is the slices.
_COLUMNS = (
    LeaseRow.organization_id,
    LeaseRow.lease_id,
    LeaseRow.wallet_id,
    LeaseRow.edge_id,
    LeaseRow.edge_epoch,
    LeaseRow.admit_key,
    LeaseRow.request_hash,
    LeaseRow.amount,
    LeaseRow.remaining,
    LeaseRow.max_intents,
    LeaseRow.expire_time,
    LeaseRow.create_time,
    LeaseRow.final_count,
    LeaseRow.settled_count,
    LeaseRow.state,
)

# Spelled out, not bound: no planner uses a partial index for a condition that it cannot read.
_NOT_ENDED = peewee.SQL("state NOT IN ('closed', 'resolved')")


class LeaseStore:
    """Leases of one organization; the caller opens the transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._batch = BatchWriter(database)

    def find(self, organization_id: str, admit_key: str) -> Lease | None:
        """Return the lease that was taken under a key."""
        query: peewee.ModelSelect[Any] = LeaseRow.select(*_COLUMNS).where(
            (LeaseRow.organization_id == organization_id) & (LeaseRow.admit_key == admit_key)
        )
        leases = self._with_slices(organization_id, list(query.tuples()))
        return leases[0] if leases else None

    def wallets(self, organization_id: str, lease_ids: Collection[str]) -> set[str]:
        """Return the wallets that leases were taken from, which never change, without a lock."""
        found: set[str] = set()
        for ids in _chunks(lease_ids):
            query = LeaseRow.select(LeaseRow.wallet_id).where(
                (LeaseRow.organization_id == organization_id) & LeaseRow.lease_id.in_(ids)
            )
            found.update(row.wallet_id for row in query.distinct())
        return found

    def lock(self, organization_id: str, lease_ids: Collection[str]) -> list[Lease]:
        """Lock leases in the order of their ids, after their wallets, and return those that exist."""
        rows: list[Any] = []
        for ids in _chunks(lease_ids):
            query: peewee.ModelSelect[Any] = LeaseRow.select(*_COLUMNS).where(
                (LeaseRow.organization_id == organization_id) & LeaseRow.lease_id.in_(ids)
            )
            rows.extend(self._database.locked(query.order_by(LeaseRow.lease_id).tuples()))
        return self._with_slices(organization_id, rows)

    def insert(self, lease: Lease) -> bool:
        """Insert a lease; False if its key was used by now, by a call that was not seen before."""
        insert = LeaseRow.insert(_lease_to_row(lease)).on_conflict_ignore()
        if not list(insert.returning(LeaseRow.lease_id).tuples().execute()):
            return False
        self._batch.insert(SliceRow, [_slice_to_row(lease, piece) for piece in lease.slices])
        return True

    def save(self, leases: Sequence[Lease]) -> None:
        """Write what settling did to locked leases."""
        columns = ("remaining", "settled_count", "final_count", "state")
        rows: list[Row] = [
            (
                lease.remaining,
                lease.settled_count,
                lease.final_count,
                lease.state.value,
                lease.organization_id,
                lease.lease_id,
            )
            for lease in leases
        ]
        self._batch.update(LeaseRow, columns, rows=rows)
        slices: list[Row] = [
            (piece.held, lease.organization_id, lease.lease_id, piece.position)
            for lease in leases
            for piece in lease.slices
        ]
        self._batch.update(SliceRow, ("held",), rows=slices)

    def page(
        self, organization_id: str, wallet_id: str, *, before: tuple[int, str] | None, limit: int
    ) -> list[Lease]:
        """Return leases of a wallet, newest first, from below a (create_time, lease_id)."""
        query: peewee.ModelSelect[Any] = LeaseRow.select(*_COLUMNS).where(
            (LeaseRow.organization_id == organization_id) & (LeaseRow.wallet_id == wallet_id)
        )
        if before is not None:
            time, lease_id = before
            query = query.where(
                (LeaseRow.create_time < time)
                | ((LeaseRow.create_time == time) & (LeaseRow.lease_id < lease_id))
            )
        newest = query.order_by(LeaseRow.create_time.desc(), LeaseRow.lease_id.desc())
        return [_lease_from_row(row, ()) for row in newest.limit(limit).tuples()]

    def open_of_edge(self, edge: EdgeIdentity) -> list[Lease]:
        """Return the leases of an edge's lower epochs that have not ended, in any organization."""
        query: peewee.ModelSelect[Any] = LeaseRow.select(*_COLUMNS).where(
            (LeaseRow.edge_id == edge.edge_id) & (LeaseRow.edge_epoch < edge.edge_epoch) & _NOT_ENDED
        )
        return [_lease_from_row(row, ()) for row in query.order_by(LeaseRow.lease_id).tuples()]

    def _with_slices(self, organization_id: str, rows: Sequence[Any]) -> list[Lease]:
        slices: dict[str, list[Slice]] = {row[1]: [] for row in rows}
        for ids in _chunks(slices):
            query: peewee.ModelSelect[Any] = SliceRow.select(
                SliceRow.lease_id,
                SliceRow.position,
                SliceRow.wallet_id,
                SliceRow.grant_id,
                SliceRow.amount,
                SliceRow.held,
            ).where((SliceRow.organization_id == organization_id) & SliceRow.lease_id.in_(ids))
            for lease_id, *fields in query.order_by(SliceRow.position).tuples():
                slices[lease_id].append(Slice(*fields))
        return [_lease_from_row(row, tuple(slices[row[1]])) for row in rows]


def _chunks(ids: Collection[str]) -> Iterable[list[str]]:
    ordered = sorted(ids)
    return (ordered[start : start + _CHUNK] for start in range(0, len(ordered), _CHUNK))


def _lease_to_row(lease: Lease) -> dict[str, object]:
    return {
        "organization_id": lease.organization_id,
        "lease_id": lease.lease_id,
        "wallet_id": lease.wallet_id,
        "edge_id": lease.edge_id,
        "edge_epoch": lease.edge_epoch,
        "admit_key": lease.admit_key,
        "request_hash": lease.request_hash,
        "amount": lease.amount,
        "remaining": lease.remaining,
        "max_intents": lease.max_intents,
        "final_count": lease.final_count,
        "settled_count": lease.settled_count,
        "state": lease.state,
        "expire_time": lease.expire_time,
        "create_time": lease.create_time,
    }


def _lease_from_row(row: Sequence[Any], slices: tuple[Slice, ...]) -> Lease:
    fields: list[Any] = [*row[:-1], LeaseState(row[-1]), slices]
    return Lease(*fields)


def _slice_to_row(lease: Lease, piece: Slice) -> Row:
    return (
        lease.organization_id,
        lease.lease_id,
        piece.position,
        piece.wallet_id,
        piece.grant_id,
        piece.amount,
        piece.held,
    )
