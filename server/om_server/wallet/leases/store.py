"""Where leases and their slices are kept."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import peewee

from om_server.storage.batch import BatchWriter, Row
from om_server.storage.database import Database
from om_server.wallet.grant import Slice
from om_server.wallet.leases.lease import ENDED, LEASE_LIFE, EdgeIdentity, Lease, LeaseState
from om_server.wallet.limits.reservation_store import ReservationStore
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
    LeaseRow.keep,
    LeaseRow.recall_time,
)

# Spelled out, not bound: no planner uses a partial index for a condition that it cannot read.
_NOT_ENDED = peewee.SQL("state NOT IN ('closed', 'resolved')")


class LeaseStore:
    """Leases of one organization; the caller opens the transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._batch = BatchWriter(database)
        self.reservations = ReservationStore(database)

    def find(self, organization_id: str, admit_key: str) -> Lease | None:
        """Return the lease that was taken under a key."""
        query: peewee.ModelSelect[Any] = LeaseRow.select(*_COLUMNS).where(
            (LeaseRow.organization_id == organization_id) & (LeaseRow.admit_key == admit_key)
        )
        leases = self._with_slices(organization_id, list(query.tuples()))
        return leases[0] if leases else None

    def wallets(self, organization_id: str, lease_ids: Collection[str]) -> set[str]:
        """Return the wallets that leases were taken from, which never change, without a lock.

        Each lease's own, and those behind it in whose grants it has slices.
        """
        found: set[str] = set()
        for ids in _chunks(lease_ids):
            for model in (LeaseRow, SliceRow):
                query: peewee.ModelSelect[Any] = model.select(model.wallet_id).where(
                    (model.organization_id == organization_id) & model.lease_id.in_(ids)
                )
                found.update(wallet_id for (wallet_id,) in query.distinct().tuples())
        return found

    def organizations(self, edge_id: str, lease_ids: Collection[str]) -> dict[str, str]:
        """Return the organizations of the leases that an edge has or had; the others are not known."""
        found: dict[str, str] = {}
        for ids in _chunks(lease_ids):
            query: peewee.ModelSelect[Any] = LeaseRow.select(LeaseRow.lease_id, LeaseRow.organization_id)
            found.update(query.where(LeaseRow.lease_id.in_(ids) & (LeaseRow.edge_id == edge_id)).tuples())
        return found

    def recent(self, organization_id: str, wallet_id: str, *, edge_id: str, since: int) -> bool:
        """Tell whether an edge took a lease from a wallet since a time."""
        return (
            LeaseRow.select(LeaseRow.lease_id)
            .where(
                (LeaseRow.organization_id == organization_id)
                & (LeaseRow.wallet_id == wallet_id)
                & (LeaseRow.edge_id == edge_id)
                & (LeaseRow.create_time >= since)
            )
            .exists()
        )

    def recall(self, organization_id: str, wallet_ids: Collection[str], *, now: int) -> int:
        """Ask for the open leases on locked wallets that an edge may have idle; return how many.

        A lease for one intent is in use, one that was asked for stays asked for, and one that has
        expired is closed by its edge anyway.
        """
        return int(
            LeaseRow.update(recall_time=now)
            .where(
                (LeaseRow.organization_id == organization_id)
                & LeaseRow.wallet_id.in_(sorted(wallet_ids))
                & (LeaseRow.state == LeaseState.OPEN)
                & (LeaseRow.max_intents != 1)
                & (LeaseRow.remaining > 0)
                & LeaseRow.recall_time.is_null()
                & (LeaseRow.create_time > now - LEASE_LIFE)
            )
            .execute()
        )

    def recalled(self, edge_id: str, *, since: int) -> list[Lease]:
        """Return the open leases of an edge that were asked for since a time, the oldest request first."""
        query: peewee.ModelSelect[Any] = LeaseRow.select(*_COLUMNS).where(
            (LeaseRow.edge_id == edge_id)
            & (LeaseRow.recall_time >= since)
            & (LeaseRow.state == LeaseState.OPEN)
        )
        ordered = query.order_by(LeaseRow.recall_time, LeaseRow.lease_id)
        return [_lease_from_row(row, ()) for row in ordered.tuples()]

    def lock(self, organization_id: str, lease_ids: Collection[str]) -> list[Lease]:
        """Lock leases in the order of their ids, after their wallets, and return those that exist.

        The limits that they have reserved of are locked before them.
        """
        self.reservations.lock_of_leases(organization_id, lease_ids)
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
        self._release_reservations([lease for lease in leases if lease.state in ENDED])

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

    def _release_reservations(self, ended: Sequence[Lease]) -> None:
        """Give back what ended leases had reserved of limits: in this transaction its use is summed."""
        for organization_id in sorted({lease.organization_id for lease in ended}):
            lease_ids = [lease.lease_id for lease in ended if lease.organization_id == organization_id]
            self.reservations.release_leases(organization_id, lease_ids)

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
        "keep": lease.keep,
        "recall_time": lease.recall_time,
        "expire_time": lease.expire_time,
        "create_time": lease.create_time,
    }


def _lease_from_row(row: Sequence[Any], slices: tuple[Slice, ...]) -> Lease:
    *columns, state, keep, recall_time = row
    fields: list[Any] = [*columns, LeaseState(state), keep, recall_time, slices]
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
