"""Admits a lease only within limits, in the transaction that takes it."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from om_server.core.clock import Clock
from om_server.wallet.limits.limit import Demand, LimitReached, Standing, refusing
from om_server.wallet.limits.store import LimitStore

#: A limit, and the user where every user is counted alone.
Counter = tuple[str, str]


class LimitGate(Protocol):
    """What else must agree before a lease is taken: locked after wallets and before leases."""

    def lock(self) -> None: ...

    def require(self) -> None:
        """LIMIT_REACHED where a hard limit would be passed."""

    def reserve(self, lease_id: str) -> None:
        """Reserve for a lease that was inserted now, and never for one that is replayed."""


class UsedReader(Protocol):
    """What is used of a demand's limit at a time."""

    def __call__(self, organization_id: str, demand: Demand, now: int, /) -> int: ...


class Unlimited:
    """A gate without limits."""

    def lock(self) -> None:
        """There is nothing to lock."""

    def require(self) -> None:
        """There is nothing to refuse."""

    def reserve(self, lease_id: str) -> None:
        """There is nothing to reserve."""


class DemandGate:
    """A gate that lets these demands through together or not at all."""

    def __init__(
        self,
        store: LimitStore,
        used: UsedReader,
        organization_id: str,
        *,
        demands: Sequence[Demand],
        clock: Clock,
    ) -> None:
        self._store = store
        self._used = used
        self._organization_id = organization_id
        self._clock = clock
        self._demands = {demand.counter: demand for demand in demands}
        self._reserved: Mapping[Counter, int] = {}

    def lock(self) -> None:
        """Lock the counters. A limit without one was deleted since it was read."""
        self._reserved = self._store.reservations.lock(self._organization_id, self._demands)
        self._demands = {counter: one for counter, one in self._demands.items() if counter in self._reserved}

    def require(self) -> None:
        """Read what is used, behind the locks: what settles meanwhile is in the sum or still reserved."""
        now = self._clock()
        demands = list(self._demands.values())
        used = {demand.counter: self._used(self._organization_id, demand, now) for demand in demands}
        refused = refusing(standings(demands, used, self._reserved, now=now))
        if refused is not None:
            raise LimitReached(refused)

    def reserve(self, lease_id: str) -> None:
        """Reserve all of the demands."""
        self._store.reservations.reserve(self._organization_id, lease_id, list(self._demands.values()))


def standings(
    demands: Sequence[Demand], used: Mapping[Counter, int], reserved: Mapping[Counter, int], *, now: int
) -> list[Standing]:
    """Join figures to the demands of limits whose terms hold."""
    found = []
    for demand in demands:
        terms = demand.limit.terms(now)
        if terms is not None:
            part = reserved.get(demand.counter, 0)
            found.append(Standing(demand, terms, used[demand.counter], part, terms.window.ends(now)))
    return found
