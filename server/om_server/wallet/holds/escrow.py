"""Money whose end is not known: held for an event until it is rated, or in suspense until an owner decides.

Pure: the caller has locked the wallets that the slices name, and saves what changed.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, replace

from om_server.wallet.entry import SUSPENSE_CAPTURE, SUSPENSE_GIVEN, SUSPENSE_RELEASE, SUSPENSE_TAKEN, Cause
from om_server.wallet.grant import PRIORITY_DEFAULT, Grant, Slice
from om_server.wallet.ledger import WalletBook, share
from om_server.wallet.span import Books, capture, release


class EscrowKind(enum.StrEnum):
    """Why the end is not known."""

    #: The event has no price, or its usage is missing.
    UNRATED = "unrated"
    #: The work goes on elsewhere and will report itself.
    DEFERRED = "deferred"
    #: The edge never saw how the call ended.
    UNKNOWN = "unknown"
    #: The event cannot be settled until somebody looks at it.
    DEAD_LETTER = "dead_letter"
    #: An owner gave up waiting for the events of a lease.
    LEASE = "lease"


@dataclass(frozen=True, slots=True)
class Escrow:
    """What was set aside for one event, or for the missing events of one lease.

    Until it is resolved it is `pending`; `suspended` says that it is out of its wallets.
    """

    escrow_id: str
    wallet_id: str
    kind: EscrowKind
    suspended: bool
    pending: bool
    lease_id: str
    event_source: str
    event_id: str
    amount: int
    create_time: int
    #: What an owner decided to charge; None while none has.
    decided: int | None = None
    slices: tuple[Slice, ...] = ()

    @property
    def remaining(self) -> int:
        """What is still set aside."""
        return sum(piece.held for piece in self.slices)

    @property
    def cause_id(self) -> str:
        """The lease or event that it belongs to."""
        return self.lease_id or self.event_id

    def take(self, books: Books, amount: int, *, cause: Cause) -> "Escrow":
        """Charge `amount` of what remains."""
        if not self.suspended:
            return replace(self, slices=capture(books, self.slices, amount, cause=cause))
        left = {piece.position: piece for piece in self.slices}
        for piece, part in share(amount, ((piece, piece.held) for piece in self.slices)):
            book = books[piece.wallet_id]
            book.begin(cause)
            book.postings.post(SUSPENSE_CAPTURE, part, line=book.postings.line_of[piece.grant_id])
            left[piece.position] = piece.holding(piece.held - part)
        return replace(self, slices=tuple(left.values()))

    def resolve(self, books: Books, *, cause: Cause) -> "Escrow":
        """Free what remains; nothing waits for it any more."""
        if not self.suspended:
            slices = release(books, self.slices, self.remaining, cause=cause)
            return replace(self, slices=slices, pending=False)
        for piece in reversed(self.slices):
            if piece.held:
                _return(books[piece.wallet_id], piece, cause=cause)
        return replace(self, slices=tuple(piece.holding(0) for piece in self.slices), pending=False)


def recall_grants(books: Books, grants: Mapping[str, Grant]) -> None:
    """Take stored grants in that suspense came from: a wallet forgets those that have nothing left."""
    for grant in grants.values():
        books[grant.wallet_id].postings.recall(grant)


def _return(book: WalletBook, piece: Slice, *, cause: Cause) -> None:
    """Return suspended money to its grant; it expires with it, and pays debts like new money."""
    book.begin(cause)
    postings = book.postings
    line = postings.line_of[piece.grant_id]
    if line.grant.credit_line:
        # The line may have been repaid since, and never has more than nothing: it comes as new money.
        grant = postings.open(piece.held, priority=PRIORITY_DEFAULT, expire_time=None)
        postings.post(SUSPENSE_GIVEN, piece.held, line=line)
        postings.post(SUSPENSE_TAKEN, piece.held, line=grant)
    else:
        postings.post(SUSPENSE_RELEASE, piece.held, line=line)
        book.expire(line)
    book.pay_debts()
