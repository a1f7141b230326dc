"""How money comes back, goes to another wallet, or is corrected by hand: rules over locked books.

Pure: the caller has locked the wallets, and saves them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from om_server.core.clock import MICROS_PER_SECOND
from om_server.core.money import AmountOutOfRange
from om_server.wallet.entry import (
    ADJUSTMENT_DOWN,
    REFUND,
    TRANSFER_GIVEN,
    TRANSFER_TAKEN,
    Cause,
    Entry,
    EntryKind,
)
from om_server.wallet.grant import PRIORITY_DEFAULT, Grant
from om_server.wallet.ledger import InsufficientFunds, WalletBlocked, WalletBook, share
from om_server.wallet.posting import Line

#: What replaces a grant that expired between a charge and its refund lives this long.
REFUND_GRACE = 7 * 24 * 3600 * MICROS_PER_SECOND

_PAYING = frozenset({EntryKind.CAPTURE, EntryKind.CHARGE, EntryKind.RECEIVABLE})


@dataclass(frozen=True, slots=True)
class Payment:
    """What one grant paid for an event and did not get back; no grant is the wallet's receivable."""

    wallet_id: str
    grant_id: str
    amount: int


def payments_left(entries: Iterable[Entry]) -> list[Payment]:
    """Return what of an event's payments was not given back yet, the last payment first.

    A refund took back the last payment before it first. Its own entries do not tell which: what was
    receivable, or came from a grant that has expired, comes back as another grant.
    """
    left: list[Payment] = []
    for entry in sorted(entries, key=lambda entry: (entry.create_time, entry.entry_id)):
        if entry.kind in _PAYING:
            left.append(Payment(entry.wallet_id, entry.grant_id, entry.amount))
        elif entry.kind is EntryKind.REFUND:
            back = entry.amount
            while back and left:
                last = left.pop()
                if last.amount > back:
                    left.append(Payment(last.wallet_id, last.grant_id, last.amount - back))
                back -= min(back, last.amount)
    return left[::-1]


def refunds(payments: Sequence[Payment], amount: int | None) -> list[Payment]:
    """Choose what is given back: all that is left, or exactly an amount of it, last payment first."""
    left = sum(payment.amount for payment in payments)
    wanted = left if amount is None else amount
    if not 0 < wanted <= left:
        raise AmountOutOfRange(str(wanted))
    return [
        Payment(payment.wallet_id, payment.grant_id, part)
        for payment, part in share(wanted, ((payment, payment.amount) for payment in payments))
    ]


def give_back(
    book: WalletBook, payments: Sequence[Payment], *, grants: Mapping[str, Grant], cause: Cause
) -> tuple[Entry, ...]:
    """Return payments to the grants that made them; debts are paid first, as from all new money.

    `grants` are the paying grants as they are stored. Instead of one that has expired there is a new
    one with its priority and a grace of seven days. What was on the credit line, or receivable, may
    have been paid since out of grants that nobody can name: it comes as a new grant that never expires,
    and so lowers the overdraft and the receivable first where they are still open.
    """
    book.require_room(sum(payment.amount for payment in payments))
    first = book.begin(cause)
    for payment in payments:
        line = _line_for(book, payment, paid_by=grants.get(payment.grant_id))
        book.postings.post(REFUND, payment.amount, line=line)
        # At once, so that what was never paid pays for itself, and not a grant that comes back after it.
        book.pay_debts()
    return tuple(book.entries[first:])


def _line_for(book: WalletBook, payment: Payment, *, paid_by: Grant | None) -> Line:
    postings = book.postings
    if paid_by is None or paid_by.credit_line:
        return postings.open(payment.amount, priority=PRIORITY_DEFAULT, expire_time=None)
    if paid_by.expired(postings.now):
        end = postings.now + REFUND_GRACE
        return postings.open(payment.amount, priority=paid_by.priority, expire_time=end)
    return postings.recall(paid_by)


def transfer(
    source: WalletBook, target: WalletBook, amount: int, *, cause: Cause
) -> tuple[tuple[Entry, ...], tuple[Entry, ...]]:
    """Move money between two wallets, all or nothing; return the entries of each, of one group.

    Grants are taken in burn order and arrive as new grants with the same priority and expiry, so that a
    transfer neither prolongs money nor changes when it is spent; their age starts anew. Credit is not
    money of the wallet: nothing comes from the credit line, and a blocked wallet gives nothing. In the
    target, debts are paid first.
    """
    if source.opened.blocked:
        raise WalletBlocked(source.opened.wallet_id)
    target.require_room(amount)
    first = source.begin(cause)
    available = sum(part for _, part in source.ordinary())
    if amount > available:
        raise InsufficientFunds(source.opened.wallet_id, needed=amount, available=available)
    given = list(share(amount, source.ordinary()))
    for line, part in given:
        source.postings.post(TRANSFER_GIVEN, part, line=line)
    taken = target.begin(cause, group_id=source.postings.group_id)
    for line, part in given:
        arrival = target.postings.open(part, priority=line.grant.priority, expire_time=line.grant.expire_time)
        target.postings.post(TRANSFER_TAKEN, part, line=arrival)
    target.pay_debts()
    return tuple(source.entries[first:]), tuple(target.entries[taken:])


def adjust_down(book: WalletBook, amount: int, *, cause: Cause) -> tuple[Entry, ...]:
    """Take a wrong amount out again, all or nothing, within the credit, also from a blocked wallet."""
    first = book.begin(cause)
    if amount > book.spendable:
        raise InsufficientFunds(book.opened.wallet_id, needed=amount, available=book.spendable)
    for line, part in book.spread(amount):
        book.postings.post(ADJUSTMENT_DOWN, part, line=line)
    return tuple(book.entries[first:])


def by_wallet(payments: Iterable[Payment]) -> Iterator[tuple[str, list[Payment]]]:
    """Group payments by wallet, the wallets in the order of their first."""
    groups: dict[str, list[Payment]] = {}
    for payment in payments:
        groups.setdefault(payment.wallet_id, []).append(payment)
    yield from groups.items()
