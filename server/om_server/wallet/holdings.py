"""What organizations hold in all of their wallets together, for whoever runs the installation."""

from collections.abc import Collection, Mapping
from typing import Any

import peewee

from om_server.storage.database import Database
from om_server.wallet.record import WalletRow

_CREDIT = 10**9


class Holdings:
    """Sums of balances by organization, set aside or not, in nano-credits."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __call__(self, organization_ids: Collection[str] | None) -> Mapping[str, int]:
        """Return the sums of these organizations, or of all; one without a wallet is absent."""
        # In two parts, since SQLite's sums end where 64 bits do, and balances may be as large.
        parts = [
            peewee.fn.SUM(part)
            for field in (WalletRow.available, WalletRow.held)
            for part in (field / _CREDIT, field - field / _CREDIT * _CREDIT)
        ]
        query: peewee.ModelSelect[Any] = WalletRow.select(WalletRow.organization_id, *parts)
        if organization_ids is not None:
            query = query.where(WalletRow.organization_id.in_(organization_ids))
        rows: Any = query.group_by(WalletRow.organization_id).tuples()
        found = self._database.read(lambda: list(rows))
        return {
            organization_id: (int(available) + int(held)) * _CREDIT + int(rest) + int(held_rest)
            for organization_id, available, rest, held, held_rest in found
        }
