"""A wallet as a value: whose it is, what it has, and whose wallet pays. Amounts are nano-credits."""

import enum
from dataclasses import field, replace

from om_server.core.errors import InvalidArgument
from om_server.core.value import value_type
from om_server.wallet.grant import Grant


class OwnerKind(enum.StrEnum):
    """What kind of owner a wallet has; the names are the contract's."""

    ORGANIZATION = "organization"
    CUSTOMER = "customer"
    TEAM = "team"
    USER = "user"


class WalletMode(enum.StrEnum):
    """What happens when a wallet is empty. SOFT may go down to the credit limit, STRICT never does."""

    STRICT = "strict"
    SOFT = "soft"


class WalletState(enum.StrEnum):
    """Whether a wallet can pay. Only the block is ever set; the others follow from the amounts."""

    ACTIVE = "active"
    EXHAUSTED = "exhausted"
    BLOCKED = "blocked"


@value_type(frozen=True, slots=True)
class Owner:
    """Whose wallet it is. An organization has at most one wallet for each owner."""

    kind: OwnerKind
    owner_id: str

    @classmethod
    def of(cls, organization_id: str, kind: OwnerKind, *, owner_id: str = "") -> "Owner":
        """Name an owner as callers do: no id, or as a customer its own, is the organization itself."""
        if kind is OwnerKind.ORGANIZATION and owner_id not in ("", organization_id):
            raise InvalidArgument("owner.id", "another organization's")
        if kind is OwnerKind.ORGANIZATION or (kind is OwnerKind.CUSTOMER and owner_id == organization_id):
            return cls(OwnerKind.ORGANIZATION, organization_id)
        if not owner_id:
            raise InvalidArgument("owner.id", f"a {kind} has an id")
        return cls(kind, owner_id)


def payers(organization_id: str, *, user_id: str, customer_id: str, team_id: str) -> tuple[Owner, ...]:
    """Return who may pay, first choice first: the first of them that has a wallet does."""
    named = []
    if user_id:
        named.append(Owner(OwnerKind.USER, user_id))
    if customer_id not in ("", organization_id):
        named.append(Owner(OwnerKind.CUSTOMER, customer_id))
    if team_id:
        named.append(Owner(OwnerKind.TEAM, team_id))
    return (*named, Owner(OwnerKind.ORGANIZATION, organization_id))


@value_type(frozen=True, slots=True)
class Wallet:
    """A wallet's own columns. `wallet_id` is empty for an owner that has no wallet."""

    wallet_id: str
    owner: Owner
    mode: WalletMode = WalletMode.STRICT
    blocked: bool = False
    available: int = 0
    held: int = 0
    receivable: int = 0
    credit_limit: int = 0
    overflow_wallet_id: str = ""
    entry_sequence: int = 0
    create_time: int = 0
    #: When the next of its grants that still have something expires; None if none does.
    next_expire_time: int | None = None
    #: The hash of its newest entry when its row was read. Two wallets are not told apart by it.
    chain_hash: str = field(default="", compare=False, repr=False)

    @property
    def exists(self) -> bool:
        """Whether anything was ever granted, purchased or set."""
        return bool(self.wallet_id)

    @property
    def posted(self) -> int:
        """What is in the wallet, set aside or not."""
        return self.available + self.held

    @property
    def credit(self) -> int:
        """How far below zero this wallet may be spent: nowhere unless it is soft."""
        return self.credit_limit if self.mode is WalletMode.SOFT else 0

    @property
    def state(self) -> WalletState:
        """Whether it can pay."""
        if self.blocked:
            return WalletState.BLOCKED
        return WalletState.ACTIVE if self.available > 0 else WalletState.EXHAUSTED

    def as_of(self, now: int, expiring: list[Grant]) -> "Wallet":
        """Return the wallet as the clock leaves it: an expired grant has nothing available.

        Its expiry is posted when the wallet is next locked; until then the stored column still
        counts it. `expiring` are the wallet's grants that expire and still have something.
        """
        lapsed = sum(grant.available for grant in expiring if grant.expired(now))
        living = [grant.expire_time for grant in expiring if grant.expire_time and not grant.expired(now)]
        return replace(self, available=self.available - lapsed, next_expire_time=min(living, default=None))
