"""Money of several wallets at once: what an overflow chain pays, and what a lease holds in each wallet.

Pure: the caller has locked every wallet that a slice names. Slices have positions of their own within
one lease or escrow, and money is captured in their order and released in the opposite one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby

from om_server.wallet.entry import HANDED_OVER, SUSPEND, TAKEN_OVER, Cause
from om_server.wallet.grant import Slice
from om_server.wallet.ledger import InsufficientFunds, Paid, WalletBlocked, WalletBook, share

Books = Mapping[str, WalletBook]


def chain_of(books: Books, wallet_id: str) -> list[WalletBook]:
    """Return a wallet's book and those behind it, as far as they are locked.

    Who changed the chain since its wallets were listed changed the next decision, not this one.
    """
    chain: list[WalletBook] = []
    while wallet_id in books and len(chain) <= len(books):
        chain.append(books[wallet_id])
        wallet_id = books[wallet_id].opened.overflow_wallet_id
    return chain


def spendable(chain: Sequence[WalletBook]) -> int:
    """Return what the chain may spend: each wallet by its own rules, nothing of one that is blocked."""
    return sum(book.spendable for book in chain if not book.opened.blocked)


def require(chain: Sequence[WalletBook], amount: int) -> None:
    """Refuse what `reserve` would refuse; the first wallet answers for the chain."""
    head = chain[0]
    if head.opened.blocked:
        raise WalletBlocked(head.opened.wallet_id)
    if amount > (available := spendable(chain)):
        raise InsufficientFunds(head.opened.wallet_id, needed=amount, available=available)


def reserve(chain: Sequence[WalletBook], amount: int, *, cause: Cause) -> tuple[Slice, ...]:
    """Set money aside, all or nothing, wallet after wallet, each to its end before the next one pays."""
    require(chain, amount)
    willing = [(book, book.spendable) for book in chain if not book.opened.blocked]
    parts = list(share(amount, willing))
    for book, part in parts:
        book.require(part)
    taken: list[Slice] = []
    for book, part in parts:
        taken += book.reserve(part, cause=cause)
    return tuple(replace(piece, position=position) for position, piece in enumerate(taken))


def charge(chain: Sequence[WalletBook], amount: int, *, cause: Cause) -> Paid:
    """Take what usage cost that has already happened; the first wallet owes what the chain lacks."""
    charged = 0
    for book, part in list(share(amount, ((book, book.spendable) for book in chain))):
        charged += book.charge(part, cause=cause).charged
    short = amount - charged
    if short:
        chain[0].charge(short, cause=cause)
    return Paid(charged, short)


def capture(books: Books, slices: Sequence[Slice], amount: int, *, cause: Cause) -> tuple[Slice, ...]:
    """Charge `amount` of what the slices still hold, in their order."""
    return _each(
        slices, amount, lambda group, part: books[group[0].wallet_id].capture(group, part, cause=cause)
    )


def release(books: Books, slices: Sequence[Slice], amount: int, *, cause: Cause) -> tuple[Slice, ...]:
    """Free `amount` of what the slices still hold, the last slice first."""
    left = _each(
        slices[::-1],
        amount,
        lambda group, part: books[group[0].wallet_id].release(group[::-1], part, cause=cause)[::-1],
    )
    return left[::-1]


def hand_over(
    books: Books, slices: Sequence[Slice], amount: int, *, source: Cause, target: Cause
) -> tuple[tuple[Slice, ...], tuple[Slice, ...]]:
    """Set `amount` of what the slices hold aside under another name; return what is left, and what moved.

    Nothing becomes available in between: it would pay debts or expire.
    """
    left = {piece.position: piece for piece in slices}
    moved: list[Slice] = []
    for piece, part in share(amount, ((piece, piece.held) for piece in slices)):
        book = books[piece.wallet_id]
        book.begin(source)
        line = book.postings.line_of[piece.grant_id]
        book.postings.post(HANDED_OVER, part, line=line)
        book.postings.begin(target, group_id=book.postings.group_id)
        book.postings.post(TAKEN_OVER, part, line=line)
        left[piece.position] = piece.holding(piece.held - part)
        moved.append(Slice(len(moved), piece.wallet_id, piece.grant_id, part, part))
    return tuple(left.values()), tuple(moved)


def suspend(books: Books, slices: Sequence[Slice], *, cause: Cause) -> None:
    """Move all that the slices hold out of their wallets into suspense."""
    for piece in slices:
        if piece.held:
            book = books[piece.wallet_id]
            book.begin(cause)
            book.postings.post(SUSPEND, piece.held, line=book.postings.line_of[piece.grant_id])
            # What was set aside on the credit line is owed from here on.
            book.pay_debts()


def _each(
    slices: Sequence[Slice],
    amount: int,
    move: Callable[[Sequence[Slice], int], Sequence[Slice]],
) -> tuple[Slice, ...]:
    """Share an amount over slices, wallet after wallet."""
    after: list[Slice] = []
    for _, run in groupby(slices, key=lambda piece: piece.wallet_id):
        group = list(run)
        part = min(amount, sum(piece.held for piece in group))
        amount -= part
        after += move(group, part) if part else group
    if amount:
        raise ValueError(f"{amount} is not held by these slices")
    return tuple(after)
