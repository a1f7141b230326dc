"""The reads of leases that every admission, closing and settlement makes, as fixed statements."""

from collections.abc import Collection, Sequence
from typing import Any

import peewee

from om_server.storage.database import Database
from om_server.storage.statement import Row, Statement, among, given
from om_server.wallet.grant import Slice
from om_server.wallet.leases.lease import Lease, LeaseState
from om_server.wallet.record import LeaseRow, SliceRow

#: In the order of the fields of `Lease`, whose last is the slices.
LEASE_COLUMNS = (
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

#: Where a lease says how much it was opened with.
_AMOUNT = LEASE_COLUMNS.index(LeaseRow.amount)

_ORGANIZATION = given("organization_id")


class LeaseReads:
    """Leases of one organization at a time, but for the search for whose a lease is."""

    def __init__(self, database: Database) -> None:
        leases: peewee.ModelSelect[Any] = LeaseRow.select(*LEASE_COLUMNS).where(
            LeaseRow.organization_id == _ORGANIZATION
        )
        by_ids = leases.where(among(database, LeaseRow.lease_id, "lease_ids")).order_by(LeaseRow.lease_id)
        recent: peewee.ModelSelect[Any] = (
            LeaseRow.select(peewee.SQL("1"))
            .where(
                (LeaseRow.organization_id == _ORGANIZATION)
                & (LeaseRow.wallet_id == given("wallet_id"))
                & (LeaseRow.edge_id == given("edge_id"))
                & (LeaseRow.create_time >= given("since"))
            )
            .limit(1)
        )
        organizations: peewee.ModelSelect[Any] = LeaseRow.select(
            LeaseRow.lease_id, LeaseRow.organization_id
        ).where(among(database, LeaseRow.lease_id, "lease_ids") & (LeaseRow.edge_id == given("edge_id")))
        self._origin = Statement(database, _origin())
        self._of_key = Statement(database, leases.where(LeaseRow.admit_key == given("admit_key")))
        self._locked = Statement(database, database.locked(by_ids))
        self._recent = Statement(database, recent)
        self._organizations = Statement(database, organizations)
        self._wallets = Statement(database, _wallets(database))
        self._slices = Statement(database, _slices(database))

    def of_key(self, organization_id: str, admit_key: str) -> Lease | None:
        """Return the lease that was taken under a key."""
        rows = self._of_key.rows(organization_id=organization_id, admit_key=admit_key)
        leases = self._with_slices(organization_id, rows)
        return leases[0] if leases else None

    def lock(self, organization_id: str, lease_ids: Collection[str]) -> list[Lease]:
        """Lock leases in the order of their ids; return those that exist."""
        if not lease_ids:
            return []
        rows = self._locked.rows(organization_id=organization_id, lease_ids=lease_ids)
        return self._with_slices(organization_id, rows)

    def wallets(self, organization_id: str, lease_ids: Collection[str]) -> set[str]:
        """Return the wallets of leases and of their slices."""
        if not lease_ids:
            return set()
        rows = self._wallets.rows(organization_id=organization_id, lease_ids=lease_ids)
        return {wallet_id for (wallet_id,) in rows}

    def origin(self, edge_id: str, lease_id: str) -> tuple[str, set[str]] | None:
        """Return the organization and the wallets of an edge's lease, of its slices as well."""
        rows = self._origin.rows(edge_id=edge_id, lease_id=lease_id)
        if not rows:
            return None
        # A lease without money has no slices.
        return rows[0][0], {wallet_id for row in rows for wallet_id in row[1:] if wallet_id}

    def organizations(self, edge_id: str, lease_ids: Collection[str]) -> dict[str, str]:
        """Return the organizations of an edge's leases, by their ids."""
        return dict(self._organizations.rows(edge_id=edge_id, lease_ids=lease_ids)) if lease_ids else {}

    def recent(self, organization_id: str, wallet_id: str, *, edge_id: str, since: int) -> bool:
        """Tell whether an edge took a lease from a wallet since a time."""
        row = self._recent.row(
            organization_id=organization_id, wallet_id=wallet_id, edge_id=edge_id, since=since
        )
        return row is not None

    def _with_slices(self, organization_id: str, rows: Sequence[Row]) -> list[Lease]:
        """Read slices by a statement of their own: one that waited for a lock saw them as they were."""
        slices: dict[str, list[Slice]] = {row[1]: [] for row in rows}
        paid = [row[1] for row in rows if row[_AMOUNT]]
        if paid:
            for lease_id, *fields in self._slices.rows(organization_id=organization_id, lease_ids=paid):
                slices[lease_id].append(Slice(*fields))
        return [lease_from_row(row, tuple(slices[row[1]])) for row in rows]


def lease_from_row(row: Row, slices: tuple[Slice, ...]) -> Lease:
    """Make a lease of the columns of LEASE_COLUMNS."""
    *columns, state, keep, recall_time = row
    fields: list[Any] = [*columns, LeaseState(state), keep, recall_time, slices]
    return Lease(*fields)


def _origin() -> peewee.Node:
    slices = (SliceRow.organization_id == LeaseRow.organization_id) & (SliceRow.lease_id == LeaseRow.lease_id)
    query: peewee.ModelSelect[Any] = (
        LeaseRow.select(LeaseRow.organization_id, LeaseRow.wallet_id, SliceRow.wallet_id)
        .join(SliceRow, peewee.JOIN.LEFT_OUTER, on=slices)
        .where((LeaseRow.lease_id == given("lease_id")) & (LeaseRow.edge_id == given("edge_id")))
    )
    return query


def _wallets(database: Database) -> peewee.Node:
    own: peewee.ModelSelect[Any] = LeaseRow.select(LeaseRow.wallet_id).where(
        (LeaseRow.organization_id == _ORGANIZATION) & among(database, LeaseRow.lease_id, "lease_ids")
    )
    behind: peewee.ModelSelect[Any] = SliceRow.select(SliceRow.wallet_id).where(
        (SliceRow.organization_id == _ORGANIZATION) & among(database, SliceRow.lease_id, "lease_ids")
    )
    return own.union(behind)


def _slices(database: Database) -> peewee.Node:
    query: peewee.ModelSelect[Any] = SliceRow.select(
        SliceRow.lease_id,
        SliceRow.position,
        SliceRow.wallet_id,
        SliceRow.grant_id,
        SliceRow.amount,
        SliceRow.held,
    ).where((SliceRow.organization_id == _ORGANIZATION) & among(database, SliceRow.lease_id, "lease_ids"))
    return query.order_by(SliceRow.position)
