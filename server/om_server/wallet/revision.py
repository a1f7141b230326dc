"""What another rating of a charged event moves: the difference alone, in a group of its own. Pure.

After it the event has cost its wallets its charge less what was refunded by hand, never less than nothing.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

from om_server.wallet.correction import Payment, payments_left
from om_server.wallet.entry import Cause, Entry, EntryKind

#: Names groups of entries that a rating posted, which tells its refunds from those by hand.
_GROUP = "rrt_"


@dataclass(frozen=True, slots=True)
class Revision:
    """What an event is to cost now, in nano-credits, and who pays more if it is more; "" is nobody.

    `number` counts the ratings of the event behind its first: with it, each moves money once.
    """

    source: str
    event_id: str
    number: int
    charge: int
    wallet_id: str = ""
    description: str = ""

    @property
    def identity(self) -> tuple[str, str]:
        """What names the event."""
        return self.source, self.event_id

    def cause(self, organization_id: str) -> Cause:
        """Return why its money moves; the group is always the same for this number of this event."""
        name = json.dumps([organization_id, self.source, self.event_id, self.number]).encode()
        group_id = f"{_GROUP}{hashlib.sha256(name).hexdigest()[:32]}"
        return Cause("", self.source, self.event_id, self.description, group_id)


@dataclass(frozen=True, slots=True)
class Revised:
    """What wallets paid more, and how much more of it is receivable; negative where it came back."""

    moved: int = 0
    receivable: int = 0


@dataclass(frozen=True, slots=True)
class Balance:
    """What an event has cost its wallets so far: the payments that are left, and refunds by hand."""

    payments: tuple[Payment, ...]
    refunded: int

    def due(self, charge: int) -> int:
        """Return what is missing to a charge; negative is what is to come back."""
        return max(0, charge - self.refunded) - sum(payment.amount for payment in self.payments)


def balance_of(entries: Iterable[Entry]) -> Balance:
    """Add up the entries of an event."""
    listed = list(entries)
    by_hand = sum(
        entry.amount
        for entry in listed
        if entry.kind is EntryKind.REFUND and not entry.group_id.startswith(_GROUP)
    )
    return Balance(tuple(payments_left(listed)), by_hand)
