"""Which wallet pays when another is empty: chains that never meet themselves and are short."""

from collections.abc import Iterable

from om_server.core.errors import InvalidArgument, NotFound
from om_server.storage.database import Database
from om_server.storage.statement import Statement, among, given
from om_server.wallet.record import WalletRow

#: How many wallets may stand behind a wallet, one after the other.
OVERFLOW_DEPTH_MAX = 3


class OverflowStore:
    """Overflow between wallets of one organization; who changes it has locked its resolution."""

    def __init__(self, database: Database) -> None:
        query = WalletRow.select(WalletRow.overflow_wallet_id).where(
            (WalletRow.organization_id == given("organization_id"))
            & among(database, WalletRow.wallet_id, "wallet_ids")
            & ~WalletRow.overflow_wallet_id.is_null()
        )
        self._behind = Statement(database, query)

    def require(self, organization_id: str, wallet_id: str, *, target_id: str) -> None:
        """Refuse a target that is not the organization's, that leads back, or that makes a chain too long.

        What is already in front of the wallet counts too: its chains grow by the target's.
        """
        behind: list[str] = []
        following = target_id
        while following and len(behind) <= OVERFLOW_DEPTH_MAX:
            if following == wallet_id:
                raise InvalidArgument("overflow_wallet_id", "leads back to the wallet")
            behind.append(following)
            following = self._next(organization_id, following)
        if len(behind) + self._in_front(organization_id, wallet_id) > OVERFLOW_DEPTH_MAX:
            raise InvalidArgument("overflow_wallet_id", f"more than {OVERFLOW_DEPTH_MAX} deep")

    def closure(self, organization_id: str, wallet_ids: Iterable[str]) -> set[str]:
        """Return these wallets with all that stand behind them, as of now and without a lock."""
        found = level = set(wallet_ids) - {""}
        while level:
            rows = self._behind.rows(organization_id=organization_id, wallet_ids=level)
            level = {wallet_id for (wallet_id,) in rows} - found
            found = found | level
        return found

    def takers(self, organization_id: str) -> set[str]:
        """Return the wallets with another one behind them for which something is set aside."""
        query = WalletRow.select(WalletRow.wallet_id).where(
            (WalletRow.organization_id == organization_id)
            & ~WalletRow.overflow_wallet_id.is_null()
            & (WalletRow.held > 0)
        )
        return {row.wallet_id for row in query}

    def _next(self, organization_id: str, wallet_id: str) -> str:
        query = WalletRow.select(WalletRow.overflow_wallet_id).where(
            (WalletRow.organization_id == organization_id) & (WalletRow.wallet_id == wallet_id)
        )
        row = query.first()
        if row is None:
            raise NotFound("wallet", wallet_id)
        return row.overflow_wallet_id or ""

    def _in_front(self, organization_id: str, wallet_id: str) -> int:
        """Return how long the longest chain is that leads to a wallet."""
        level, length = [wallet_id], 0
        while True:
            query = WalletRow.select(WalletRow.wallet_id).where(
                (WalletRow.organization_id == organization_id) & WalletRow.overflow_wallet_id.in_(level)
            )
            level = sorted(row.wallet_id for row in query)
            if not level:
                return length
            length += 1
