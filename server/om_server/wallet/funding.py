"""Credits in, out and across by hand, each request once for its idempotency key."""

from dataclasses import dataclass

from om_server.core.clock import Clock
from om_server.core.errors import InvalidArgument, NotFound
from om_server.core.ids import IdSource
from om_server.core.money import AMOUNT_MAX, CREDITS, AmountOutOfRange, CurrencyMismatch, Money
from om_server.storage.audit import AuditTrail
from om_server.storage.batch import RowsContended
from om_server.storage.database import Database
from om_server.wallet.answer import Once, Receipt
from om_server.wallet.correction import adjust_down, by_wallet, give_back, payments_left, refunds, transfer
from om_server.wallet.entry import ADJUSTMENT_UP, Cause, Entry, Movement
from om_server.wallet.facts import noted
from om_server.wallet.grant import PRIORITY_DEFAULT, PRIORITY_MAX, Grant
from om_server.wallet.ledger import InsufficientFunds, WalletBook
from om_server.wallet.store import WalletStore
from om_server.wallet.wallet import Owner


@dataclass(frozen=True, slots=True)
class Deposit:
    """Credits for an owner, in nano-credits. `price` is what was paid, if anything; only recorded."""

    owner: Owner
    amount: int
    idempotency_key: str
    priority: int = PRIORITY_DEFAULT
    expire_time: int | None = None
    description: str = ""
    price: Money | None = None

    def __post_init__(self) -> None:
        _require_amount(self.amount)
        if not 0 <= self.priority <= PRIORITY_MAX:
            raise InvalidArgument("priority", f"not within 0 and {PRIORITY_MAX}")


@dataclass(frozen=True, slots=True)
class Deduction:
    """Credits to take from an owner, in nano-credits, for something that was not metered."""

    owner: Owner
    amount: int
    idempotency_key: str
    description: str = ""

    def __post_init__(self) -> None:
        _require_amount(self.amount)


@dataclass(frozen=True, slots=True)
class Refund:
    """What of an event's charge is to be given back, in nano-credits; None is all that is left of it."""

    source: str
    event_id: str
    idempotency_key: str
    amount: int | None = None
    description: str = ""

    def __post_init__(self) -> None:
        if self.amount is not None:
            _require_amount(self.amount)


@dataclass(frozen=True, slots=True)
class Transfer:
    """Credits to move between two wallets, in nano-credits."""

    source_wallet_id: str
    target_wallet_id: str
    amount: int
    idempotency_key: str
    description: str = ""

    def __post_init__(self) -> None:
        _require_amount(self.amount)
        if self.source_wallet_id == self.target_wallet_id:
            raise InvalidArgument("target_wallet_id", "the wallet that gives")


@dataclass(frozen=True, slots=True)
class Adjustment:
    """A correction by hand in nano-credits, up or down, and why."""

    wallet_id: str
    amount: int
    idempotency_key: str
    description: str

    def __post_init__(self) -> None:
        _require_amount(abs(self.amount))
        if not self.description:
            raise InvalidArgument("description", "an adjustment has a reason")


class Funds:
    """Moves credits and stores the answer under the request's key, in one transaction."""

    def __init__(
        self, database: Database, store: WalletStore, *, ids: IdSource, clock: Clock, trail: AuditTrail
    ) -> None:
        self._store = store
        self._ids = ids
        self._once = Once(database, store.answers, clock=clock, done=noted(trail))

    def deposit(
        self, organization_id: str, request: Deposit, *, movement: Movement, operation: str
    ) -> Receipt:
        """Add a grant to the owner's wallet, which is created if it is missing."""

        def effect(now: int) -> Receipt:
            if request.expire_time is not None and request.expire_time <= now:
                raise InvalidArgument("expire_time", "in the past")
            book = self._store.ensure(organization_id, request.owner, now=now, new_id=self._ids.new)
            grant = Grant(
                grant_id=self._ids.new("grt"),
                wallet_id=book.opened.wallet_id,
                amount=request.amount,
                create_time=now,
                priority=request.priority,
                expire_time=request.expire_time,
                price=request.price,
            )
            entries = book.fund(grant, movement, cause=Cause(description=request.description))
            self._store.save(organization_id, [book])
            return Receipt(book.wallet, entries, book.grant(grant.grant_id))

        return self._once.run(organization_id, request, operation=operation, effect=effect)

    def deduct(self, organization_id: str, request: Deduction) -> Receipt:
        """Take credits, all or nothing."""

        def effect(now: int) -> Receipt:
            wallet = self._store.of_owners(organization_id, [request.owner]).get(request.owner)
            if wallet is None:
                raise InsufficientFunds("", needed=request.amount, available=0)
            (book,) = self._locked(organization_id, wallet.wallet_id, now=now)
            entries = book.deduct(request.amount, cause=Cause(description=request.description))
            self._store.save(organization_id, [book])
            return Receipt(book.wallet, entries)

        return self._once.run(organization_id, request, operation="DeductCredits", effect=effect)

    def refund(self, organization_id: str, request: Refund) -> Receipt:
        """Give back what an event cost, never more than what is left of it; NOT_FOUND if it cost nothing.

        Where several wallets paid, each gets back what it paid, and the answer shows the one that paid
        last: that payment is the first to be returned.
        """

        def effect(now: int) -> Receipt:
            wallet_ids = {entry.wallet_id for entry in self._of_event(organization_id, request)}
            books = self._store.lock(organization_id, wallet_ids, now=now, new_id=self._ids.new)
            # Read again behind the locks, so that no twin's refund is missed.
            paid = self._of_event(organization_id, request)
            if not wallet_ids.issuperset(entry.wallet_id for entry in paid):
                raise RowsContended("entries")
            payments = refunds(payments_left(paid), request.amount)
            grants = self._store.grants(organization_id, {payment.grant_id for payment in payments})
            cause = Cause(
                event_source=request.source, event_id=request.event_id, description=request.description
            )
            entries: list[Entry] = []
            for wallet_id, part in by_wallet(payments):
                entries += give_back(books[wallet_id], part, grants=grants, cause=cause)
            self._store.save(organization_id, books.values())
            return Receipt(books[payments[0].wallet_id].wallet, tuple(entries))

        return self._once.run(organization_id, request, operation="RefundCharge", effect=effect)

    def transfer(self, organization_id: str, request: Transfer) -> Receipt:
        """Move credits between two wallets of the organization, all or nothing."""

        def effect(now: int) -> Receipt:
            source, target = self._locked(
                organization_id, request.source_wallet_id, request.target_wallet_id, now=now
            )
            cause = Cause(description=request.description)
            given, taken = transfer(source, target, request.amount, cause=cause)
            self._store.save(organization_id, [source, target])
            return Receipt(source.wallet, given + taken, target=target.wallet)

        return self._once.run(organization_id, request, operation="TransferCredits", effect=effect)

    def adjust(self, organization_id: str, request: Adjustment) -> Receipt:
        """Correct a wallet by hand; down only as far as it could be spent."""

        def effect(now: int) -> Receipt:
            (book,) = self._locked(organization_id, request.wallet_id, now=now)
            cause = Cause(description=request.description)
            if request.amount > 0:
                grant = Grant(self._ids.new("grt"), request.wallet_id, request.amount, now)
                entries = book.fund(grant, ADJUSTMENT_UP, cause=cause)
            else:
                entries = adjust_down(book, -request.amount, cause=cause)
            self._store.save(organization_id, [book])
            return Receipt(book.wallet, entries)

        return self._once.run(organization_id, request, operation="AdjustWallet", effect=effect)

    def _locked(self, organization_id: str, *wallet_ids: str, now: int) -> list[WalletBook]:
        books = self._store.lock(organization_id, wallet_ids, now=now, new_id=self._ids.new)
        for wallet_id in wallet_ids:
            if wallet_id not in books:
                raise NotFound("wallet", wallet_id)
        return [books[wallet_id] for wallet_id in wallet_ids]

    def _of_event(self, organization_id: str, request: Refund) -> list[Entry]:
        """Return what the event moved, or NOT_FOUND."""
        found = self._store.journal.of_event(
            organization_id, source=request.source, event_id=request.event_id
        )
        if not found:
            raise NotFound("charge", request.event_id)
        return found


def credits_of(amount: Money) -> int:
    """Return the nano-credits of an amount that is to be moved: credits, and more than none."""
    nanos = signed_credits_of(amount)
    if nanos <= 0:
        raise AmountOutOfRange(amount.decimal())
    return nanos


def signed_credits_of(amount: Money) -> int:
    """Return the nano-credits of an amount that may be negative."""
    if amount.currency != CREDITS:
        raise CurrencyMismatch(amount.currency, CREDITS)
    return amount.nanos


def _require_amount(amount: int) -> None:
    if not 0 < amount <= AMOUNT_MAX:
        raise AmountOutOfRange(str(amount))
