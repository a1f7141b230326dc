"""How the charges of past events differ under another rating: exact sums, and the biggest differences."""

from __future__ import annotations

import heapq
import json
from dataclasses import asdict, dataclass

#: How many differences are shown where nobody says how many.
DIFFERENCES_DEFAULT = 20


@dataclass(frozen=True, slots=True)
class Difference:
    """The charge of one event, as it was and as it would be, in nano-credits."""

    source: str
    event_id: str
    before: int
    after: int

    @property
    def weight(self) -> tuple[int, str, str]:
        """What orders differences: the size, then the identity, so that the order is always the same."""
        return abs(self.after - self.before), self.source, self.event_id


@dataclass(frozen=True, slots=True)
class Compared:
    """The sums so far: charges in nano-credits, costs in nano-dollars; the biggest difference first.

    Events without a charge under the other rating are in `event_count` and `unrated_count` alone.
    """

    event_count: int = 0
    changed_count: int = 0
    unrated_count: int = 0
    charge_before: int = 0
    charge_after: int = 0
    cost_difference: int = 0
    #: What wallets paid more, where anything was written.
    wallet_difference: int = 0
    differences: tuple[Difference, ...] = ()

    def to_json(self) -> str:
        """Write it as it is stored."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Compared:
        """Read what `to_json` wrote."""
        fields = json.loads(text)
        differences = tuple(Difference(**found) for found in fields.pop("differences"))
        return cls(**fields, differences=differences)


class Comparison:
    """Adds up events one by one, and keeps so many of the biggest differences."""

    def __init__(self, keep: int, *, since: Compared | None = None) -> None:
        """Go on from what was compared before, if anything was."""
        so_far = since or Compared()
        self._keep = keep or DIFFERENCES_DEFAULT
        self._events, self._changed = so_far.event_count, so_far.changed_count
        self._unrated = so_far.unrated_count
        self._before, self._after = so_far.charge_before, so_far.charge_after
        self._cost, self._wallet = so_far.cost_difference, so_far.wallet_difference
        self._biggest = [(found.weight, found) for found in so_far.differences]
        heapq.heapify(self._biggest)

    def add_unrated(self) -> None:
        """Count an event that would have no charge."""
        self._events += 1
        self._unrated += 1

    def add(self, difference: Difference, *, cost: int) -> None:
        """Add an event, changed or not, and the difference of its cost."""
        self._events += 1
        self._before += difference.before
        self._after += difference.after
        self._cost += cost
        if difference.before == difference.after:
            return
        self._changed += 1
        item = (difference.weight, difference)
        if len(self._biggest) < self._keep:
            heapq.heappush(self._biggest, item)
        elif item[0] > self._biggest[0][0]:
            heapq.heapreplace(self._biggest, item)

    def add_moved(self, amount: int) -> None:
        """Add what wallets paid more for events that were added."""
        self._wallet += amount

    def compared(self) -> Compared:
        """Return the sums so far."""
        return Compared(
            self._events,
            self._changed,
            self._unrated,
            self._before,
            self._after,
            self._cost,
            self._wallet,
            tuple(found for _, found in sorted(self._biggest, reverse=True)),
        )
