"""What the wallet of a payer has, for the burn rate of analytics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from om_server.wallet.wallet import Owner, OwnerKind

if TYPE_CHECKING:
    from om_server.analytics.burn_rate import Payer
    from om_server.wallet.operations import WalletOperations


class PayerFunds:
    """Reads wallets; one that does not exist has nothing that could run out."""

    def __init__(self, wallet: WalletOperations) -> None:
        self._wallet = wallet

    def __call__(self, payer: Payer) -> int | None:
        """Return the nano-credits that are available, or None without a wallet."""
        wallet = self._wallet.get_wallet(payer.organization_id, owner=_owner(payer))
        return wallet.available if wallet.exists else None


def _owner(payer: Payer) -> Owner:
    if payer.user_id:
        return Owner.of(payer.organization_id, OwnerKind.USER, owner_id=payer.user_id)
    kind = OwnerKind.CUSTOMER if payer.customer_id else OwnerKind.ORGANIZATION
    return Owner.of(payer.organization_id, kind, owner_id=payer.customer_id)
