"""Credits in and out by hand: grants, purchases and deductions, each once for its idempotency key."""

from collections.abc import Callable
from dataclasses import dataclass

from om_server.core.clock import Clock
from om_server.core.errors import InvalidArgument
from om_server.core.ids import IdSource
from om_server.core.money import AMOUNT_MAX, AmountOutOfRange, Money
from om_server.storage.database import Database
from om_server.wallet.answer import Receipt, request_hash
from om_server.wallet.entry import Cause, Movement
from om_server.wallet.grant import PRIORITY_DEFAULT, PRIORITY_MAX, Grant
from om_server.wallet.ledger import InsufficientFunds
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


class Funds:
    """Moves credits and stores the answer under the request's key, in one transaction."""

    def __init__(self, database: Database, store: WalletStore, *, ids: IdSource, clock: Clock) -> None:
        self._database = database
        self._store = store
        self._ids = ids
        self._clock = clock

    def deposit(
        self, organization_id: str, request: Deposit, *, movement: Movement, operation: str
    ) -> Receipt:
        """Add a grant to the owner's wallet, which is created if it is missing."""
        return self._once(
            organization_id,
            request,
            operation=operation,
            effect=lambda now: self._deposit(organization_id, request, movement=movement, now=now),
        )

    def deduct(self, organization_id: str, request: Deduction) -> Receipt:
        """Take credits, all or nothing."""
        return self._once(
            organization_id,
            request,
            operation="DeductCredits",
            effect=lambda now: self._deduct(organization_id, request, now=now),
        )

    def _once(
        self,
        organization_id: str,
        request: Deposit | Deduction,
        *,
        operation: str,
        effect: Callable[[int], Receipt],
    ) -> Receipt:
        """Run the effect for the first call with a key, and answer every other from what it stored.

        A refusal rolls the key back with everything else, so that a repeat may succeed after a top-up.
        Whoever calls inside a transaction of his own must let the refusal end it.
        """

        def run() -> Receipt:
            now, key = self._clock(), request.idempotency_key
            answers = self._store.answers
            stored = answers.claim(organization_id, operation, key=key, digest=request_hash(request), now=now)
            if stored is not None:
                return stored
            receipt = effect(now)
            answers.keep(organization_id, operation, key=key, receipt=receipt)
            return receipt

        return self._database.write(run)

    def _deposit(self, organization_id: str, request: Deposit, *, movement: Movement, now: int) -> Receipt:
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

    def _deduct(self, organization_id: str, request: Deduction, *, now: int) -> Receipt:
        wallet = self._store.of_owners(organization_id, [request.owner]).get(request.owner)
        if wallet is None:
            raise InsufficientFunds("", needed=request.amount, available=0)
        books = self._store.lock(organization_id, [wallet.wallet_id], now=now, new_id=self._ids.new)
        book = books[wallet.wallet_id]
        entries = book.deduct(request.amount, cause=Cause(description=request.description))
        self._store.save(organization_id, [book])
        return Receipt(book.wallet, entries)


def _require_amount(amount: int) -> None:
    if not 0 < amount <= AMOUNT_MAX:
        raise AmountOutOfRange(str(amount))
