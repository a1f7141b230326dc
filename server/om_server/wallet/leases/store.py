"""Where leases and their slices are kept."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any

import peewee

from om_server.storage.batch import BatchWriter, Row
from om_server.storage.database import Database
from om_server.wallet.grant import Slice
from om_server.wallet.leases.lease import ENDED, LEASE_LIFE, EdgeIdentity, Lease, LeaseState
from om_server.wallet.leases.reads import LEASE_COLUMNS, LeaseReads, lease_from_row
from om_server.wallet.limits.reservation_store import ReservationStore
from om_server.wallet.record import LeaseRow, SliceRow

#: Ids in one IN list; keeps the parameters of a statement below SQLite's limit.
_CHUNK = 1000

# Spelled out, not bound: no planner uses a partial index for a condition that it cannot read.
_NOT_ENDED = peewee.SQL("state NOT IN ('closed', 'resolved')")


class LeaseStore:
    """Leases of one organization; the caller opens the transaction."""

    def __init__(self, database: Database) -> None:
        self._batch = BatchWriter(database)
        self._reads = LeaseReads(database)
        self.reservations = ReservationStore(database)

    def find(self, organization_id: str, admit_key: str) -> Lease | None:
        """Return the lease that was taken under a key."""
        return self._reads.of_key(organization_id, admit_key)

    def wallets(self, organization_id: str, lease_ids: Collection[str]) -> set[str]:
        """Return the wallets that leases were taken from, which never change, without a lock.

        Each lease's own, and those behind it in whose grants it has slices.
        """
        return self._reads.wallets(organization_id, lease_ids)

    def origin(self, edge_id: str, lease_id: str) -> tuple[str, set[str]] | None:
        """Return the organization and the wallets of a lease that an edge has or had, without a lock."""
        return self._reads.origin(edge_id, lease_id)

    def organizations(self, edge_id: str, lease_ids: Collection[str]) -> dict[str, str]:
        """Return the organizations of the leases that an edge has or had; the others are not known."""
        return self._reads.organizations(edge_id, lease_ids)

    def recent(self, organization_id: str, wallet_id: str, *, edge_id: str, since: int) -> bool:
        """Tell whether an edge took a lease from a wallet since a time."""
        return self._reads.recent(organization_id, wallet_id, edge_id=edge_id, since=since)

    def recall(
        self, organization_id: str, wallet_ids: Collection[str], *, takers: Collection[str], now: int
    ) -> int:
        """Ask for the open leases of `takers` on money of locked wallets; return how many.

        A lease for one intent is in use, one that was asked for stays asked for, and one that has
        expired is closed by its edge anyway.
        """
        count = 0
        for ids in _chunks(takers):
            idle = (
                (LeaseRow.organization_id == organization_id)
                & LeaseRow.wallet_id.in_(ids)
                & (LeaseRow.create_time > now - LEASE_LIFE)
                & (LeaseRow.state == LeaseState.OPEN)
                & (LeaseRow.max_intents != 1)
                & LeaseRow.recall_time.is_null()
            )
            lying: peewee.ModelSelect[Any] = SliceRow.select(SliceRow.lease_id).where(
                (SliceRow.organization_id == organization_id)
                & SliceRow.lease_id.in_(LeaseRow.select(LeaseRow.lease_id).where(idle))
                & SliceRow.wallet_id.in_(sorted(wallet_ids))
                & (SliceRow.held > 0)
            )
            update = LeaseRow.update(recall_time=now).where(
                (LeaseRow.organization_id == organization_id) & LeaseRow.lease_id.in_(lying)
            )
            count += int(update.execute())
        return count

    def recalled(self, edge_id: str, *, since: int) -> list[Lease]:
        """Return the open leases of an edge that were asked for since a time, the oldest request first."""
        query: peewee.ModelSelect[Any] = LeaseRow.select(*LEASE_COLUMNS).where(
            (LeaseRow.edge_id == edge_id)
            & (LeaseRow.recall_time >= since)
            & (LeaseRow.state == LeaseState.OPEN)
        )
        ordered = query.order_by(LeaseRow.recall_time, LeaseRow.lease_id)
        return [lease_from_row(row, ()) for row in ordered.tuples()]

    def lock(self, organization_id: str, lease_ids: Collection[str]) -> list[Lease]:
        """Lock leases in the order of their ids, after their wallets, and return those that exist.

        The limits that they have reserved of are locked before them.
        """
        reserving = self.reservations.lock_of_leases(organization_id, lease_ids)
        locked = self._reads.lock(organization_id, lease_ids)
        return [replace(lease, reserves=lease.lease_id in reserving) for lease in locked]

    def insert(self, lease: Lease) -> bool:
        """Insert a lease; False if its key was used by now, by a call that was not seen before."""
        if not self._batch.insert_new(LeaseRow, [_lease_to_row(lease)], returning=("lease_id",)):
            return False
        self._batch.insert(SliceRow, [_slice_to_row(lease, piece) for piece in lease.slices])
        return True

    def save(self, leases: Sequence[Lease]) -> None:
        """Write what settling or declaring did to locked leases."""
        columns = ("remaining", "settled_count", "final_count", "keep", "state")
        rows: list[Row] = [
            (
                lease.remaining,
                lease.settled_count,
                lease.final_count,
                lease.keep,
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
        self._release_reservations([lease for lease in leases if lease.reserves and lease.state in ENDED])

    def page(
        self, organization_id: str, wallet_id: str, *, before: tuple[int, str] | None, limit: int
    ) -> list[Lease]:
        """Return leases of a wallet, newest first, from below a (create_time, lease_id)."""
        query: peewee.ModelSelect[Any] = LeaseRow.select(*LEASE_COLUMNS).where(
            (LeaseRow.organization_id == organization_id) & (LeaseRow.wallet_id == wallet_id)
        )
        if before is not None:
            time, lease_id = before
            query = query.where(
                (LeaseRow.create_time < time)
                | ((LeaseRow.create_time == time) & (LeaseRow.lease_id < lease_id))
            )
        newest = query.order_by(LeaseRow.create_time.desc(), LeaseRow.lease_id.desc())
        return [lease_from_row(row, ()) for row in newest.limit(limit).tuples()]

    def open_of_edge(self, edge: EdgeIdentity) -> list[Lease]:
        """Return the leases of an edge's lower epochs that have not ended, in any organization."""
        query: peewee.ModelSelect[Any] = LeaseRow.select(*LEASE_COLUMNS).where(
            (LeaseRow.edge_id == edge.edge_id) & (LeaseRow.edge_epoch < edge.edge_epoch) & _NOT_ENDED
        )
        return [lease_from_row(row, ()) for row in query.order_by(LeaseRow.lease_id).tuples()]

    def totals(self) -> tuple[int, float]:
        """Return how many leases of all organizations have not ended, and what they hold, not exactly."""
        held = peewee.fn.COALESCE(peewee.fn.SUM(LeaseRow.remaining.cast("double precision")), 0)
        query: peewee.ModelSelect[Any] = LeaseRow.select(peewee.fn.COUNT(LeaseRow.lease_id), held)
        count, nanos = query.where(_NOT_ENDED).tuples().get()
        return int(count), float(nanos)

    def _release_reservations(self, ended: Sequence[Lease]) -> None:
        """Give back what ended leases had reserved of limits: in this transaction its use is summed."""
        for organization_id in sorted({lease.organization_id for lease in ended}):
            lease_ids = [lease.lease_id for lease in ended if lease.organization_id == organization_id]
            self.reservations.release_leases(organization_id, lease_ids)


def _chunks(ids: Collection[str]) -> Iterable[list[str]]:
    ordered = sorted(ids)
    return (ordered[start : start + _CHUNK] for start in range(0, len(ordered), _CHUNK))


def _lease_to_row(lease: Lease) -> Row:
    return (
        lease.organization_id,
        lease.lease_id,
        lease.wallet_id,
        lease.edge_id,
        lease.edge_epoch,
        lease.admit_key,
        lease.request_hash,
        lease.amount,
        lease.remaining,
        lease.max_intents,
        lease.final_count,
        lease.settled_count,
        lease.state.value,
        lease.expire_time,
        lease.create_time,
        lease.keep,
        lease.recall_time,
    )


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
