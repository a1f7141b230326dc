"""What one edge may spend of one wallet: its leases, and how much it needs."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace

from om_proxy.funding.lease import Declaration, Granted, Lease
from om_proxy.value import value_type

#: How far back demand is looked at. With less than one call in this time, each call has its own lease.
DEMAND_S = 10.0
#: A lease that nobody used for so long is given back.
IDLE_S = 2.0
#: A lease that a neighbour needs is in use if a call took from it in this time, whatever is in flight: one
#: slow stream must not keep what it does not need.
RECALL_IDLE_S = 0.05
#: Leases that one call may name; the contract's maximum.
PARTS_MAX = 16


@value_type(frozen=True, slots=True)
class Part:
    """What a call has taken from one lease."""

    lease_id: str
    bound_nanos: int


class Purse:
    """The leases of one wallet. A call takes from them without waiting, or not at all."""

    def __init__(self) -> None:
        self._leases: dict[str, Lease] = {}
        self._demand: deque[tuple[float, int]] = deque()
        self._demand_nanos = 0

    def __len__(self) -> int:
        return len(self._leases)

    def add(self, granted: Granted, now: float) -> None:
        """Put a lease in. Putting it in again changes nothing."""
        self._leases.setdefault(granted.lease_id, Lease(granted, now=now))

    def left_nanos(self, now: float) -> int:
        """What calls may still take."""
        return sum([lease.left_nanos for lease in self._leases.values() if lease.spendable(now)])

    @property
    def open_leases(self) -> list[Lease]:
        """Those that were not declared."""
        return [lease for lease in self._leases.values() if not lease.declared]

    def within_reach_nanos(self, now: float) -> int:
        """What one call may take if it may name one more lease than there are here."""
        lefts = sorted((lease.left_nanos for lease in self._spendable(now)), reverse=True)
        return sum(lefts[: PARTS_MAX - 1])

    def low(self, now: float) -> bool:
        """Whether less than half of what will be asked for is here."""
        lacking = self.wanted_nanos(now)
        for lease in self._leases.values():
            if lacking <= 0:
                return False
            if lease.spendable(now):
                lacking -= 2 * lease.left_nanos
        return lacking > 0

    def note_demand(self, nanos: int, now: float) -> None:
        """Count what a call asks for, whether it gets it or not."""
        self._demand.append((now, nanos))
        self._demand_nanos += nanos
        self._forget_demand(now)

    def wanted_nanos(self, now: float) -> int:
        """What calls will ask for in the next while, if it is like the last; 0 where there are hardly any."""
        self._forget_demand(now)
        return self._demand_nanos if len(self._demand) > 1 else 0

    def take(self, nanos: int, now: float) -> tuple[Part, ...] | None:
        """Set money aside for a call: from one lease, or from several where none has enough; else None."""
        for lease in self._leases.values():
            if lease.left_nanos >= nanos and lease.spendable(now):
                lease.take(nanos, now)
                return (Part(lease.granted.lease_id, nanos),)
        leases = self._spendable(now)
        # The fullest first, so that a call names few.
        leases.sort(key=lambda lease: -lease.left_nanos)
        if sum(lease.left_nanos for lease in leases[:PARTS_MAX]) < nanos:
            return None
        return tuple(_taken(leases, nanos, now))

    def take_of(self, lease_id: str, nanos: int, now: float) -> tuple[Part, ...] | None:
        """Set money aside from this lease alone, which was granted for this call."""
        lease = self._leases.get(lease_id)
        if lease is None or not lease.spendable(now) or lease.left_nanos < nanos:
            return None
        lease.take(nanos, now)
        return (Part(lease_id, nanos),)

    def untake(self, parts: Sequence[Part]) -> None:
        """Undo a take for a call that was never begun."""
        for part in parts:
            lease = self._leases[part.lease_id]
            lease.untake(part.bound_nanos)
            self._forget(lease)

    def extend(self, parts: Sequence[Part], nanos: int, now: float) -> tuple[Part, ...] | None:
        """Set more aside for a call in flight; the parts as they are then, or None where it is not there."""
        for index, part in enumerate(parts):
            lease = self._leases[part.lease_id]
            if lease.extendable(now) and lease.left_nanos >= nanos:
                lease.add(nanos, now)
                more = replace(part, bound_nanos=part.bound_nanos + nanos)
                return (*parts[:index], more, *parts[index + 1 :])
        named = {part.lease_id for part in parts}
        for lease in self._spendable(now):
            fresh = lease.granted.lease_id not in named and len(parts) < PARTS_MAX
            if fresh and lease.left_nanos >= nanos:
                lease.take(nanos, now)
                return (*parts, Part(lease.granted.lease_id, nanos))
        return None

    def unextend(self, parts: Sequence[Part], before: Sequence[Part]) -> None:
        """Undo an extension that was not written down: the call names the parts from before it."""
        bounds = {part.lease_id: part.bound_nanos for part in before}
        for part in parts:
            if part.lease_id in bounds:
                self._leases[part.lease_id].open_nanos -= part.bound_nanos - bounds[part.lease_id]
            else:
                self.untake((part,))

    def give_back(self, parts: Sequence[Part], kept: Sequence[int], now: float) -> None:
        """End a call, which keeps so much of each part, never more than it took."""
        for part, nanos in zip(parts, kept, strict=True):
            lease = self._leases[part.lease_id]
            lease.give_back(part.bound_nanos, kept_nanos=nanos, now=now)
            self._forget(lease)

    def due(self, now: float) -> Iterator[Declaration]:
        """End the leases whose time or count is over, that nobody uses, or that a neighbour needs."""
        for lease in list(self._leases.values()):
            if not lease.declared and _is_due(lease, now):
                yield self._end(lease)

    def recall(self, lease_id: str) -> bool:
        """Note that a neighbour needs a lease, so that it is due soon; whether it is here at all."""
        lease = self._leases.get(lease_id)
        if lease is None or lease.declared:
            return False
        lease.recalled = True
        return True

    def end_all(self) -> list[Declaration]:
        """End every lease: at the process's end, and where the server is another one than it was."""
        return [self._end(lease) for lease in list(self._leases.values()) if not lease.declared]

    def drop_all(self) -> None:
        """Stop spending without a word: a resync tells the server about the calls."""
        for lease in list(self._leases.values()):
            self._end(lease)

    def _end(self, lease: Lease) -> Declaration:
        declaration = lease.declare()
        self._forget(lease)
        return declaration

    def _forget(self, lease: Lease) -> None:
        if lease.declared and not lease.open_count:
            del self._leases[lease.granted.lease_id]

    def _spendable(self, now: float) -> list[Lease]:
        return [lease for lease in self._leases.values() if lease.spendable(now)]

    def _forget_demand(self, now: float) -> None:
        while self._demand and self._demand[0][0] < now - DEMAND_S:
            self._demand_nanos -= self._demand.popleft()[1]


def _is_due(lease: Lease, now: float) -> bool:
    if lease.used_up:
        # The server knows how many calls there are; what the last one kept is said when it has ended.
        return not lease.open_count
    idle = not lease.open_count and now >= lease.used_at + IDLE_S
    wanted_back = lease.recalled and now >= lease.taken_at + RECALL_IDLE_S
    return idle or wanted_back or now >= lease.granted.spend_until


def _taken(leases: Sequence[Lease], nanos: int, now: float) -> Iterator[Part]:
    for lease in leases:
        share = min(nanos, lease.left_nanos)
        if share <= 0:
            return
        lease.take(share, now)
        nanos -= share
        yield Part(lease.granted.lease_id, share)
