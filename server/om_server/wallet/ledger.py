"""What may happen to a wallet's money: every operation, in terms of entries.

A `WalletBook` is one locked wallet in memory. It never reads a clock and never writes: the store
loads a book, the caller moves money in it, and the store saves what changed.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from om_server.core.errors import Code, DomainError
from om_server.core.money import AMOUNT_MAX, CREDITS, AmountOutOfRange, Money
from om_server.core.value import value_type
from om_server.wallet.entry import (
    CAPTURE,
    CHARGE,
    DEDUCTION,
    EXPIRY,
    OVERDRAFT_GIVEN,
    OVERDRAFT_TAKEN,
    RECEIVABLE,
    RELEASE,
    REPAYMENT,
    RESERVE,
    Cause,
    Entry,
    Movement,
)
from om_server.wallet.grant import Grant, Slice
from om_server.wallet.holds.hold import Hold, HoldState
from om_server.wallet.posting import Line, Postings
from om_server.wallet.wallet import Wallet

T = TypeVar("T")


class InsufficientFunds(DomainError):
    """The wallet cannot pay. `available` is what may be spent: it counts what is left of the credit."""

    code = Code.FAILED_PRECONDITION
    reason = "INSUFFICIENT_FUNDS"

    def __init__(self, wallet_id: str, *, needed: int, available: int) -> None:
        needed_credits = Money(CREDITS, needed).decimal()
        available_credits = Money(CREDITS, available).decimal()
        super().__init__(
            f"{needed_credits} credits are needed and {available_credits} are available",
            wallet_id=wallet_id,
            needed=needed_credits,
            available=available_credits,
        )
        self.needed = needed
        self.available = available


class WalletBlocked(DomainError):
    """An owner blocked the wallet; nothing new may start."""

    code = Code.FAILED_PRECONDITION
    reason = "WALLET_BLOCKED"

    def __init__(self, wallet_id: str) -> None:
        super().__init__(f"wallet {wallet_id} is blocked", wallet_id=wallet_id)


@value_type(frozen=True, slots=True)
class Paid:
    """Who paid for usage that had already happened: the wallet, and its receivable for the rest."""

    charged: int
    receivable: int


class WalletBook:
    """A wallet with its grants in burn order. `now` is the time of the transaction that locked it.

    Beside the equations, three things hold between two calls: the credit line never has more than
    nothing; an ordinary grant has something available only if nothing is owed on the credit line
    (what is set aside there is not owed yet); there is a receivable only if nothing is available.
    """

    def __init__(
        self, wallet: Wallet, grants: Iterable[Grant], *, now: int, new_id: Callable[[str], str]
    ) -> None:
        self.postings = Postings(wallet, grants, now=now, new_id=new_id)
        #: The holds that `lapse` freed, as they are to be stored.
        self.lapsed: list[Hold] = []
        self._credit_line = self.postings.lines[-1]
        self._due = [line for line in self.postings.lines if line.available and line.grant.expired(now)]
        assert self._credit_line.grant.credit_line, wallet.wallet_id  # noqa: S101 - only a bug breaks it

    @property
    def opened(self) -> Wallet:
        """The wallet as it was when it was locked."""
        return self.postings.opened

    @property
    def wallet(self) -> Wallet:
        """The wallet as it is now."""
        return self.postings.wallet

    @property
    def entries(self) -> Sequence[Entry]:
        """What was appended since the wallet was locked."""
        return self.postings.entries

    @property
    def grants(self) -> tuple[Grant, ...]:
        """The grants as they are now, in burn order."""
        return tuple(line.current() for line in self.postings.lines)

    @property
    def new_grants(self) -> list[Grant]:
        """The grants that came in since the wallet was locked, as they are now."""
        return [line.current() for line in self.postings.lines if line.new]

    @property
    def changed_columns(self) -> list[tuple[str, int, int]]:
        """The id, what is available and what is held of the older grants that changed."""
        return [
            (line.grant.grant_id, line.available, line.held)
            for line in self.postings.lines
            if line.changed and not line.new
        ]

    @property
    def spendable(self) -> int:
        """What a reservation may take: what is available and not expired, and the rest of the credit."""
        lapsed = sum(line.available for line in self._due) if self._due else 0
        return max(0, self.postings.available - lapsed + self.opened.credit)

    @property
    def overdraft(self) -> int:
        """How far the credit line is used, what is set aside on it included."""
        return -self._credit_line.available

    def grant(self, grant_id: str) -> Grant:
        """Return one grant as it is now."""
        return self.postings.line_of[grant_id].current()

    def require(self, amount: int) -> None:
        """Refuse what `reserve` would refuse."""
        if not 0 <= amount <= AMOUNT_MAX - self.postings.held:
            raise AmountOutOfRange(str(amount))
        if self.opened.blocked:
            raise WalletBlocked(self.opened.wallet_id)
        if amount > self.spendable:
            raise InsufficientFunds(self.opened.wallet_id, needed=amount, available=self.spendable)

    def require_room(self, amount: int) -> None:
        """Refuse to let in nothing, or more than a wallet may have."""
        posted = self.postings.available + self.postings.held
        if not 0 < amount <= AMOUNT_MAX - max(0, posted):
            raise AmountOutOfRange(str(amount))

    def fund(self, grant: Grant, movement: Movement, *, cause: Cause) -> tuple[Entry, ...]:
        """Let the whole amount of a new grant in, from outside. Debts are paid first."""
        self.require_room(grant.amount)
        first = self.begin(cause)
        line = self.postings.add(grant)
        self.postings.post(movement, grant.amount, line=line)
        self.pay_debts()
        return tuple(self.entries[first:])

    def reserve(self, amount: int, *, cause: Cause) -> tuple[Slice, ...]:
        """Set money aside, all or nothing, and tell from which grants it came."""
        first = self.begin(cause)
        self.require(amount)
        for line, part in self.spread(amount):
            self.postings.post(RESERVE, part, line=line)
        return tuple(
            Slice(position, entry.wallet_id, entry.grant_id, entry.amount, entry.amount)
            for position, entry in enumerate(self.entries[first:])
        )

    def release(self, slices: Sequence[Slice], amount: int, *, cause: Cause) -> tuple[Slice, ...]:
        """Free `amount` of what the slices still hold, the last slice first, as capture takes the first.

        What returns to an expired grant expires with it; the rest pays debts like new money.
        """
        left = _held(slices, amount)
        self.begin(cause)
        for piece, part in share(amount, ((piece, piece.held) for piece in reversed(slices))):
            line = self.postings.line_of[piece.grant_id]
            self.postings.post(RELEASE, part, line=line)
            self.expire(line)
            left[piece.position] = piece.holding(piece.held - part)
        self.pay_debts()
        return tuple(left.values())

    def capture(self, slices: Sequence[Slice], amount: int, *, cause: Cause) -> tuple[Slice, ...]:
        """Charge `amount` of what the slices still hold, in their order, also from expired grants."""
        left = _held(slices, amount)
        self.begin(cause)
        for piece, part in share(amount, ((piece, piece.held) for piece in slices)):
            line = self.postings.line_of[piece.grant_id]
            self.postings.post(CAPTURE, part, line=line)
            left[piece.position] = piece.holding(piece.held - part)
        # What was set aside on the credit line is owed from here on, and newer money may be there.
        self.pay_debts()
        return tuple(left.values())

    def charge(self, amount: int, *, cause: Cause) -> Paid:
        """Take what usage cost that has already happened. Nothing refuses it: what is short is receivable."""
        self.begin(cause)
        charged = min(amount, self.spendable)
        short = amount - charged
        if self.postings.receivable + short > AMOUNT_MAX:
            raise AmountOutOfRange(str(amount))
        for line, part in self.spread(charged):
            self.postings.post(CHARGE, part, line=line)
        if short:
            self.postings.post(RECEIVABLE, short)
        return Paid(charged, short)

    def owe(self, amount: int, *, cause: Cause) -> None:
        """Add what happened without money set aside to the receivable, then pay debts. No credit is used."""
        self.begin(cause)
        if not 0 < amount <= AMOUNT_MAX - self.postings.receivable:
            raise AmountOutOfRange(str(amount))
        self.postings.post(RECEIVABLE, amount)
        self.pay_debts()

    def lapse(self, hold: Hold) -> None:
        """Free a hold whose time is over."""
        slices = self.release(hold.slices, hold.held, cause=Cause(hold_id=hold.hold_id))
        self.lapsed.append(hold.resolved(HoldState.EXPIRED, slices))

    def deduct(self, amount: int, *, cause: Cause) -> tuple[Entry, ...]:
        """Take money for something that was not metered, all or nothing."""
        first = self.begin(cause)
        self.require(amount)
        for line, part in self.spread(amount):
            self.postings.post(DEDUCTION, part, line=line)
        return tuple(self.entries[first:])

    def begin(self, cause: Cause, *, group_id: str = "") -> int:
        """Post what has expired, then start a group of entries; return where it starts."""
        due, self._due = self._due, []
        for line in due:
            self.postings.begin(Cause())
            self.expire(line)
        self.postings.begin(cause, group_id=group_id)
        return len(self.entries)

    def spread(self, amount: int) -> Iterator[tuple[Line, int]]:
        """Share an amount over the grants in burn order; the credit line takes the rest. Call `begin` before.

        The amount is within what is spendable, which keeps the rest within the credit.
        """
        for line, part in share(amount, self.ordinary()):
            amount -= part
            yield line, part
        if amount:
            yield self._credit_line, amount

    def expire(self, line: Line) -> None:
        """Post the end of a grant whose time is over, where something of it is available."""
        if line.available and line.grant.expired(self.postings.now):
            self.postings.post(EXPIRY, line.available, line=line)

    def pay_debts(self) -> None:
        """Pay the overdraft, then the receivable, from ordinary grants in burn order.

        What is only set aside on the credit line is not owed: it may be released yet, and money paid
        for it would come back to the line without the grant and the expiry that it had.
        """
        postings, debtor = self.postings, self._credit_line
        overdraft = -(debtor.available + debtor.held)
        for payer, part in share(overdraft, self.ordinary()):
            postings.post(OVERDRAFT_GIVEN, part, line=payer)
            postings.post(OVERDRAFT_TAKEN, part, line=debtor)
        payable = min(postings.receivable, postings.available)
        for payer, part in share(payable, self.ordinary()):
            postings.post(REPAYMENT, part, line=payer)

    def ordinary(self) -> Iterator[tuple[Line, int]]:
        """Yield the grants but the credit line in burn order, each with what it has available."""
        return ((line, line.available) for line in self.postings.lines if line is not self._credit_line)


def share(amount: int, sources: Iterable[tuple[T, int]]) -> Iterator[tuple[T, int]]:
    """Take an amount from sources in their order, from each at most what it has."""
    for source, room in sources:
        if amount <= 0:
            return
        part = min(amount, room)
        if part > 0:
            amount -= part
            yield source, part


def _held(slices: Sequence[Slice], amount: int) -> dict[int, Slice]:
    if not 0 <= amount <= sum(piece.held for piece in slices):
        raise ValueError(f"{amount} is not held by these slices")
    return {piece.position: piece for piece in slices}
