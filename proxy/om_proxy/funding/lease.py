"""One lease at the edge: how much of it is in flight, how much its calls kept, and when it ends.

The edge never prices. What a call keeps is computed at the rate card's dearest rates, so what returns to the
lease is never more than what the server will leave of it. Times are the edge's own, of a clock that only
goes forward: a timer ends the spending, and never returns money.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Spending ends so long before the server stops expecting calls.
GUARD_S = 5.0


@dataclass(frozen=True, slots=True)
class Granted:
    """A lease as the server gave it."""

    lease_id: str
    wallet_id: str
    amount_nanos: int
    max_intents: int  # 0 is open.
    spend_until: float  # Its end, counted from the receipt of the answer, less the guard.


@dataclass(frozen=True, slots=True)
class Declaration:
    """What the edge says at a lease's end: how many calls name it, and what they keep at most."""

    lease_id: str
    final_count: int
    keep_nanos: int


class Lease:
    """The edge's side of a lease."""

    def __init__(self, granted: Granted, *, now: float) -> None:
        self.granted = granted
        self.count = 0  # Calls that name it.
        self.open_count = 0
        self.open_nanos = 0  # Their bounds, while they are in flight.
        self.kept_nanos = 0  # Of those that ended.
        self.taken_at = self.used_at = now
        self.recalled = False  # A neighbour needs the money.
        self.declared = False  # Nothing is spent from it any more.

    @property
    def left_nanos(self) -> int:
        """What a further call may take, while the lease may be spent from."""
        return self.granted.amount_nanos - self.open_nanos - self.kept_nanos

    @property
    def used_up(self) -> bool:
        """Whether as many calls name it as may."""
        return 0 < self.granted.max_intents <= self.count

    def spendable(self, now: float) -> bool:
        """Whether a further call may name it."""
        return not (self.declared or self.used_up) and now < self.granted.spend_until

    def extendable(self, now: float) -> bool:
        """Whether a call that names it may take more."""
        return not self.declared and now < self.granted.spend_until

    def take(self, nanos: int, now: float) -> None:
        """Set money aside for a call that has not named this lease yet."""
        self.count += 1
        self.open_count += 1
        self.add(nanos, now)

    def add(self, nanos: int, now: float) -> None:
        """Set more aside for a call that has named it already."""
        self.open_nanos += nanos
        self.taken_at = self.used_at = now

    def untake(self, nanos: int) -> None:
        """Undo a take for a call that was never begun: nothing that is written names the lease for it."""
        self.count -= 1
        self.open_count -= 1
        self.open_nanos -= nanos

    def give_back(self, bound_nanos: int, *, kept_nanos: int, now: float) -> None:
        """End a call: what it did not keep may be spent again."""
        self.open_count -= 1
        self.open_nanos -= bound_nanos
        self.kept_nanos += kept_nanos
        self.used_at = now

    def declare(self) -> Declaration:
        """Stop spending, and say what the lease paid for; what is in flight counts in full."""
        self.declared = True
        return Declaration(self.granted.lease_id, self.count, self.kept_nanos + self.open_nanos)
