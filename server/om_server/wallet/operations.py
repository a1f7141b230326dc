"""What callers may do with wallets. Every operation is one transaction, or part of an open one."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from om_server.core.clock import Clock
from om_server.core.errors import InvalidArgument, NotFound, PageTokenInvalid
from om_server.core.event import Attribution
from om_server.core.ids import IdSource
from om_server.core.money import AMOUNT_MAX, AmountOutOfRange, Money
from om_server.core.page import PageRequest, decode_token, encode_token
from om_server.storage.database import Database
from om_server.wallet.answer import Receipt
from om_server.wallet.charging import Charge, ChargeResult, Settlement
from om_server.wallet.entry import GRANT, PURCHASE, Entry
from om_server.wallet.funding import Deduction, Deposit, Funds
from om_server.wallet.lease import EdgeIdentity, Lease, LeaseRequest
from om_server.wallet.leasing import Leasing
from om_server.wallet.ledger import credits_of
from om_server.wallet.store import WalletStore
from om_server.wallet.wallet import Owner, OwnerKind, Wallet, WalletMode, payers


@dataclass(frozen=True, slots=True)
class WalletChange:
    """New settings of a wallet; None leaves one as it is."""

    mode: WalletMode | None = None
    credit_limit: int | None = None
    blocked: bool | None = None

    def __post_init__(self) -> None:
        if self.credit_limit is not None and not 0 <= self.credit_limit <= AMOUNT_MAX:
            raise AmountOutOfRange(str(self.credit_limit))

    def applied(self, wallet: Wallet) -> Wallet:
        """Return the wallet with its new settings."""
        return dataclasses.replace(
            wallet,
            mode=wallet.mode if self.mode is None else self.mode,
            credit_limit=wallet.credit_limit if self.credit_limit is None else self.credit_limit,
            blocked=wallet.blocked if self.blocked is None else self.blocked,
        )


@dataclass(frozen=True, slots=True)
class WalletPage:
    """Wallets, oldest first. An empty token is the end."""

    wallets: tuple[Wallet, ...]
    next_page_token: str


@dataclass(frozen=True, slots=True)
class EntryPage:
    """Entries of one wallet, newest first, and how many there are in all."""

    entries: tuple[Entry, ...]
    next_page_token: str
    total_size: int


@dataclass(frozen=True, slots=True)
class LeasePage:
    """Leases of one wallet, newest first, without their slices."""

    leases: tuple[Lease, ...]
    next_page_token: str


class WalletOperations:
    """Wallets of any organization; every call but those about edges names it."""

    def __init__(self, database: Database, store: WalletStore, *, ids: IdSource, clock: Clock) -> None:
        self._database = database
        self._store = store
        self._ids = ids
        self._clock = clock
        self._funds = Funds(database, store, ids=ids, clock=clock)
        self._leasing = Leasing(database, store, ids=ids, clock=clock)

    def get_wallet(self, organization_id: str, *, owner: Owner | None = None, wallet_id: str = "") -> Wallet:
        """Return a wallet by id, or by owner, by default the organization itself.

        An owner without a wallet gets an empty one that does not exist; an unknown id is NOT_FOUND.
        """
        owner = owner or Owner.of(organization_id, OwnerKind.ORGANIZATION)

        def run() -> Wallet:
            if wallet_id:
                wallet = self._stored(organization_id, wallet_id)
            else:
                wallet = self._store.of_owners(organization_id, [owner]).get(owner, Wallet("", owner))
            return self._store.as_of(organization_id, [wallet], now=self._clock())[0]

        return self._database.read(run)

    def last_entry(self, organization_id: str, wallet_id: str) -> Entry | None:
        """Return the newest movement that was not only set aside or freed."""
        return self._database.read(lambda: self._store.journal.last_outward(organization_id, wallet_id))

    def list_wallets(
        self, organization_id: str, *, kind: OwnerKind | None = None, page: PageRequest
    ) -> WalletPage:
        """List wallets, oldest first."""
        arguments = {"list": "wallets", "kind": kind}
        cursor = decode_token(page.token, arguments) or ("",)
        after = _text(cursor[0])

        def run() -> list[Wallet]:
            found = self._store.page(organization_id, kind, after=after, limit=page.size + 1)
            return self._store.as_of(organization_id, found, now=self._clock())

        found = self._database.read(run)
        shown = tuple(found[: page.size])
        more = len(found) > page.size
        return WalletPage(shown, encode_token((shown[-1].wallet_id,), arguments) if more else "")

    def list_entries(self, organization_id: str, wallet_id: str, *, page: PageRequest) -> EntryPage:
        """List the movements of a wallet, newest first."""
        arguments = {"list": "entries", "wallet_id": wallet_id}
        cursor = decode_token(page.token, arguments)

        def run() -> EntryPage:
            total = self._stored(organization_id, wallet_id).entry_sequence
            # Positions have no gaps, so that both the total and the skip are arithmetic.
            first = (_number(cursor[0]) if cursor else total + 1) - page.skip
            entries = self._store.journal.before(organization_id, wallet_id, sequence=first, limit=page.size)
            more = entries and entries[-1].sequence > 1
            token = encode_token((entries[-1].sequence,), arguments) if more else ""
            return EntryPage(tuple(entries), token, total)

        return self._database.read(run)

    def list_leases(self, organization_id: str, wallet_id: str, *, page: PageRequest) -> LeasePage:
        """List the leases that edges took from a wallet, newest first."""
        arguments = {"list": "leases", "wallet_id": wallet_id}
        cursor = decode_token(page.token, arguments)
        before = (_number(cursor[0]), _text(cursor[1])) if cursor else None

        def run() -> list[Lease]:
            self._stored(organization_id, wallet_id)
            return self._store.leases.page(organization_id, wallet_id, before=before, limit=page.size + 1)

        found = self._database.read(run)
        shown = tuple(found[: page.size])
        more = len(found) > page.size
        last = (shown[-1].create_time, shown[-1].lease_id) if more else ()
        return LeasePage(shown, encode_token(last, arguments) if more else "")

    def update_wallet(self, organization_id: str, owner: Owner, *, change: WalletChange) -> Wallet:
        """Change the settings of an owner's wallet, which is created if it is missing."""

        def run() -> Wallet:
            now = self._clock()
            book = self._store.ensure(organization_id, owner, now=now, new_id=self._ids.new)
            changed = change.applied(book.wallet)
            if changed.credit_limit < book.overdraft:
                raise InvalidArgument("credit_limit", "below what is overdrawn")
            if changed != book.wallet:
                self._store.configure(organization_id, changed)
                self._store.bump_resolution(organization_id)
            return self._store.as_of(organization_id, [changed], now=now)[0]

        return self._database.write(run)

    def grant_credits(self, organization_id: str, request: Deposit) -> Receipt:
        """Give credits without payment."""
        return self._funds.deposit(organization_id, request, movement=GRANT, operation="GrantCredits")

    def seed_grant(self, organization_id: str, amount: Money) -> Receipt:
        """Give an organization its first credits; again changes nothing."""
        owner = Owner.of(organization_id, OwnerKind.ORGANIZATION)
        return self.grant_credits(organization_id, Deposit(owner, credits_of(amount), "seed"))

    def purchase_credits(self, organization_id: str, request: Deposit) -> Receipt:
        """Add credits that were paid for elsewhere."""
        return self._funds.deposit(organization_id, request, movement=PURCHASE, operation="PurchaseCredits")

    def deduct_credits(self, organization_id: str, request: Deduction) -> Receipt:
        """Take credits for something that was not metered, all or nothing."""
        return self._funds.deduct(organization_id, request)

    def resolve(self, organization_id: str, *, user_id: str, customer_id: str, team_id: str) -> Wallet | None:
        """Return the wallet that pays for these, as the clock leaves it; None if nobody does."""
        owners = payers(organization_id, user_id=user_id, customer_id=customer_id, team_id=team_id)

        def run() -> Wallet | None:
            found = self._store.of_owners(organization_id, owners)
            wallet = next((found[owner] for owner in owners if owner in found), None)
            if wallet is None:
                return None
            return self._store.as_of(organization_id, [wallet], now=self._clock())[0]

        return self._database.read(run)

    def resolve_many(self, organization_id: str, attributions: Sequence[Attribution]) -> list[str]:
        """Return, for each attribution, the id of the wallet that pays; empty if nobody does."""
        choices = [
            payers(organization_id, user_id=who.user_id, customer_id=who.customer_id, team_id=who.team_id)
            for who in attributions
        ]
        owners = {owner for choice in choices for owner in choice}
        found = self._database.read(lambda: self._store.of_owners(organization_id, owners))
        return [
            next((found[owner].wallet_id for owner in choice if owner in found), "") for choice in choices
        ]

    def resolution_version(self, organization_id: str) -> int:
        """Return the version of the decision who pays. Read it before the decision that is kept under it."""
        return self._database.read(lambda: self._store.resolution_version(organization_id))

    def open_lease(self, organization_id: str, request: LeaseRequest) -> Lease | None:
        """Take a lease for an edge, once for each admit key; None where `want_nanos` is 0.

        Refusals are raised before anything is written: INSUFFICIENT_FUNDS, WALLET_BLOCKED.
        """
        return self._leasing.open(organization_id, request)

    def settle_charges(self, organization_id: str, charges: Sequence[Charge]) -> list[ChargeResult]:
        """Move the money of events that nobody settled before; return who paid, in their order."""

        def run() -> list[ChargeResult]:
            lease_ids = {part.lease_id for charge in charges for part in charge.funding}
            wallet_ids = {charge.wallet_id for charge in charges if charge.amount}
            wallet_ids |= self._store.leases.wallets(organization_id, lease_ids)
            books = self._store.lock(
                organization_id, wallet_ids - {""}, now=self._clock(), new_id=self._ids.new
            )
            settlement = Settlement(books, self._store.leases.lock(organization_id, lease_ids))
            results = [settlement.settle(charge) for charge in charges]
            self._store.save(organization_id, books.values())
            self._store.leases.save(settlement.changed)
            return results

        return self._database.write(run)

    def resync(self, edge: EdgeIdentity, *, boot_id: str) -> list[Lease]:
        """Register an edge's epoch; return its leases of lower epochs that have not ended."""
        return self._leasing.resync(edge, boot_id=boot_id)

    def require_current(self, edge: EdgeIdentity) -> None:
        """Refuse a process of an edge that may not take leases; inside a transaction until its end."""
        self._leasing.require_current(edge)

    def _stored(self, organization_id: str, wallet_id: str) -> Wallet:
        wallet = self._store.get(organization_id, wallet_id)
        if wallet is None:
            raise NotFound("wallet", wallet_id)
        return wallet


def _text(part: str | int) -> str:
    if not isinstance(part, str):
        raise PageTokenInvalid
    return part


def _number(part: str | int) -> int:
    if not isinstance(part, int):
        raise PageTokenInvalid
    return part
