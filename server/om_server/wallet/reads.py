"""The reads of wallets and grants that every admission and every settlement makes, as fixed statements."""

from collections.abc import Collection, Iterable
from typing import Any

import peewee

from om_server.storage.database import Database
from om_server.storage.statement import Statement, Statements, Value, among, given
from om_server.wallet.grant import Grant
from om_server.wallet.holds.store import any_lapsed
from om_server.wallet.record import GrantRow, ResolutionRow, WalletRow
from om_server.wallet.row import GRANT_COLUMNS, WALLET_COLUMNS, grant_from_row, wallet_from_row
from om_server.wallet.wallet import Owner, OwnerKind, Wallet

_ORGANIZATION = given("organization_id")


class WalletReads:
    """Wallets, their grants, and the version of who pays, of one organization at a time."""

    def __init__(self, database: Database) -> None:
        by_ids: peewee.ModelSelect[Any] = (
            WalletRow.select(*WALLET_COLUMNS)
            .where(
                (WalletRow.organization_id == _ORGANIZATION)
                & among(database, WalletRow.wallet_id, "wallet_ids")
            )
            .order_by(WalletRow.wallet_id)
        )
        grants: peewee.ModelSelect[Any] = GrantRow.select(*GRANT_COLUMNS).where(
            (GrantRow.organization_id == _ORGANIZATION)
            & among(database, GrantRow.wallet_id, "wallet_ids")
            & ((GrantRow.available != 0) | (GrantRow.held != 0) | GrantRow.credit_line)
        )
        version: peewee.ModelSelect[Any] = ResolutionRow.select(ResolutionRow.resolution_version).where(
            ResolutionRow.organization_id == _ORGANIZATION
        )
        owned = _of_owners(database)
        self._by_ids = Statement(database, by_ids)
        self._by_ids_locked = Statement(database, database.locked(by_ids))
        self._of_owners = Statement(database, owned)
        self._resolution = Statement(database, _with_version(owned))
        self._pages: Statements[frozenset[str]] = Statements(database, lambda names: _page(database, names))
        self._grants = Statement(database, grants.select(*GRANT_COLUMNS, any_lapsed(database)))
        self._expiring = Statement(database, grants.where(~GrantRow.expire_time.is_null()))
        self._version = Statement(database, version)
        self._version_locked = Statement(database, database.locked(version))

    def by_ids(
        self, organization_id: str, wallet_ids: Iterable[str], *, locked: bool = False
    ) -> list[Wallet]:
        """Return the wallets that exist, in the order of their ids, and so locked where that is asked for."""
        ids = sorted(set(wallet_ids))
        if not ids:
            return []
        statement = self._by_ids_locked if locked else self._by_ids
        return [
            wallet_from_row(row) for row in statement.rows(organization_id=organization_id, wallet_ids=ids)
        ]

    def page(
        self,
        organization_id: str,
        kind: OwnerKind | None,
        *,
        owner_ids: Collection[str],
        after: str,
        limit: int,
    ) -> list[Wallet]:
        """Return wallets with ids above `after`, oldest first; of a kind, and of some owners, if named."""
        named: dict[str, Value] = {} if kind is None else {"owner_kind": kind.value}
        named |= {"owner_id": owner_ids} if owner_ids else {}
        statement = self._pages.of(frozenset(named))
        rows = statement.rows(organization_id=organization_id, after=after, limit=limit, **named)
        return list(map(wallet_from_row, rows))

    def of_owners(self, organization_id: str, owners: Collection[Owner]) -> list[Wallet]:
        """Return the wallets that these owners have."""
        rows = self._of_owners.rows(organization_id=organization_id, **_by_kind(owners))
        return [wallet_from_row(row) for row in rows]

    def resolution(self, organization_id: str, owners: Collection[Owner]) -> tuple[int, list[Wallet]]:
        """Return the version of decisions who pays, 0 before the first wallet, and these owners' wallets.

        Both are of one moment: a wallet that is made a moment later is another version.
        """
        rows = self._resolution.rows(organization_id=organization_id, **_by_kind(owners))
        # Without a wallet there is one row, for the version alone.
        return rows[0][0] or 0, [wallet_from_row(row[1:]) for row in rows if row[1] is not None]

    def grants(
        self, organization_id: str, wallet_ids: Collection[str], *, now: int
    ) -> tuple[list[Grant], bool]:
        """Return the grants that still have something, and the credit lines; and whether a hold is over."""
        if not wallet_ids:
            return [], False
        rows = self._grants.rows(organization_id=organization_id, wallet_ids=wallet_ids, now=now)
        # A wallet has at least its credit line, so that there is a row to say it.
        return [grant_from_row(row[:-1]) for row in rows], bool(rows and rows[0][-1])

    def expiring(self, organization_id: str, wallet_ids: Collection[str]) -> list[Grant]:
        """Return the grants that still have something and will expire, or did."""
        if not wallet_ids:
            return []
        rows = self._expiring.rows(organization_id=organization_id, wallet_ids=wallet_ids)
        return [grant_from_row(row) for row in rows]

    def resolution_version(self, organization_id: str) -> int:
        """Return the version of decisions who pays; 0 before the first wallet."""
        row = self._version.row(organization_id=organization_id)
        return int(row[0]) if row else 0

    def lock_resolution(self, organization_id: str) -> None:
        """Lock the version, if there is one."""
        self._version_locked.row(organization_id=organization_id)


def _page(database: Database, names: frozenset[str]) -> peewee.Node:
    query: Any = WalletRow.select(*WALLET_COLUMNS).where(
        WalletRow.organization_id == _ORGANIZATION, WalletRow.wallet_id > given("after")
    )
    if "owner_kind" in names:
        query = query.where(WalletRow.owner_kind == given("owner_kind"))
    if "owner_id" in names:
        query = query.where(among(database, WalletRow.owner_id, "owner_id"))
    return query.order_by(WalletRow.wallet_id).limit(given("limit"))  # type: ignore[no-any-return]  # Peewee's own.


def _by_kind(owners: Collection[Owner]) -> dict[str, list[str]]:
    return {kind.value: sorted({one.owner_id for one in owners if one.kind is kind}) for kind in OwnerKind}


def _with_version(owned: Any) -> peewee.Node:  # noqa: ANN401 - peewee's stubs leave the compound untyped
    """Select the version, and wallets beside it: an aggregate is a row also where there is none."""
    current: Any = ResolutionRow.select(
        peewee.fn.MAX(ResolutionRow.resolution_version).alias("resolution_version")
    ).where(ResolutionRow.organization_id == _ORGANIZATION)
    version, wallets = current.alias("version"), owned.alias("owned")
    columns = [version.c.resolution_version, *(getattr(wallets.c, column.name) for column in WALLET_COLUMNS)]
    joined = peewee.Join(version, wallets, peewee.JOIN.LEFT_OUTER, peewee.SQL("TRUE"))
    return peewee.Select([joined], columns)


def _of_owners(database: Database) -> peewee.Node:
    """Each kind in a query of its own, because no planner is sure to use the index for an OR of them."""
    kinds: list[peewee.ModelSelect[Any]] = [
        WalletRow.select(*WALLET_COLUMNS).where(
            (WalletRow.organization_id == _ORGANIZATION)
            & (WalletRow.owner_kind == kind.value)
            & among(database, WalletRow.owner_id, kind.value)
        )
        for kind in OwnerKind
    ]
    first, *others = kinds
    joined: Any = first
    for other in others:
        joined = joined.union_all(other)
    return joined  # type: ignore[no-any-return]  # Peewee's stubs leave the compound untyped.
