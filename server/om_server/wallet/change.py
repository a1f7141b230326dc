"""Changes of a wallet's settings."""

import dataclasses
from dataclasses import dataclass

from om_server.core.errors import InvalidArgument
from om_server.core.money import AMOUNT_MAX, AmountOutOfRange
from om_server.wallet.wallet import Wallet, WalletMode


@dataclass(frozen=True, slots=True)
class WalletChange:
    """New settings of a wallet; None leaves one as it is, and "" takes the overflow away."""

    #: Where the caller names the wallet beside its owner, it must be that owner's.
    wallet_id: str | None = None
    mode: WalletMode | None = None
    credit_limit: int | None = None
    blocked: bool | None = None
    overflow_wallet_id: str | None = None

    def __post_init__(self) -> None:
        if self.credit_limit is not None and not 0 <= self.credit_limit <= AMOUNT_MAX:
            raise AmountOutOfRange(str(self.credit_limit))

    def applied(self, wallet: Wallet) -> Wallet:
        """Return the wallet with its new settings."""
        if self.wallet_id not in {None, wallet.wallet_id}:
            raise InvalidArgument("wallet.wallet_id", "it is not the wallet of this owner")
        given = {name: value for name, value in dataclasses.asdict(self).items() if value is not None}
        return dataclasses.replace(wallet, **given)
