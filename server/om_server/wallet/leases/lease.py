"""A lease: money that an edge spends from without asking, and what settling an event does to it."""

import enum
from dataclasses import dataclass, field, replace

from om_server.core.clock import MICROS_PER_SECOND
from om_server.core.value import value_type
from om_server.wallet.grant import Slice

#: How long an edge may spend from a lease. Its end frees no money: timers never do.
LEASE_LIFE = 60 * MICROS_PER_SECOND

#: A lease is at most this share of what the wallet can spend, so that one edge starves no other.
_SHARE_DIVISOR = 5


class LeaseState(enum.StrEnum):
    """Where a lease stands; the names are the contract's."""

    OPEN = "open"
    CLOSING = "closing"
    QUARANTINED = "quarantined"
    CLOSED = "closed"
    RESOLVED = "resolved"


#: Nothing is set aside any more.
ENDED = frozenset({LeaseState.CLOSED, LeaseState.RESOLVED})


@dataclass(frozen=True, slots=True)
class EdgeIdentity:
    """One process in one life of an edge."""

    edge_id: str
    edge_epoch: int
    instance: str


@dataclass(frozen=True, slots=True)
class LeaseRequest:
    """What an edge asks for. Less than `min_nanos` is useless; `want_nanos` 0 only asks."""

    wallet_id: str
    edge: EdgeIdentity
    admit_key: str
    request_hash: str
    min_nanos: int
    want_nanos: int
    max_intents: int
    #: Whether no wallet stood behind this one when it was chosen, so that nobody has to look for one.
    alone: bool = False

    @property
    def roomy(self) -> bool:
        """Whether it is for more than the one request that it must be enough for."""
        return self.want_nanos > self.min_nanos > 0


@dataclass(frozen=True, slots=True)
class LeaseReport:
    """What an edge's journal says of a lease: how many events name it, and what they keep at most."""

    lease_id: str
    final_count: int
    keep: int


@value_type(frozen=True, slots=True)
class Lease:
    """A lease as it is stored. `remaining` is what is still set aside for it, over all its slices."""

    organization_id: str
    lease_id: str
    wallet_id: str
    edge_id: str
    edge_epoch: int
    admit_key: str
    request_hash: str
    amount: int
    remaining: int
    max_intents: int
    expire_time: int
    create_time: int
    #: How many distinct events will name it; None until that is declared.
    final_count: int | None = None
    settled_count: int = 0
    state: LeaseState = LeaseState.OPEN
    #: What its events keep at most, as the edge declared; None until then.
    keep: int | None = None
    #: Since when a neighbour needs the money; None if none does.
    recall_time: int | None = None
    slices: tuple[Slice, ...] = ()
    #: Whether limits may have something reserved for it. Nothing is reserved for a lease after its birth.
    reserves: bool = field(default=True, compare=False)

    @property
    def ends_next(self) -> bool:
        """Whether the next event to settle is the last that it waits for."""
        return (
            self.final_count is not None
            and self.settled_count + 1 == self.final_count
            and self.state not in ENDED
        )


def sized(request: LeaseRequest, *, busy: bool) -> LeaseRequest:
    """Ask for one request's worth where an edge has fewer: what lies in an idle lease helps nobody.

    An edge that wants no more than it needs has decided itself how often it may spend.
    """
    if busy or not request.roomy:
        return request
    return replace(request, want_nanos=request.min_nanos, max_intents=1)


def lease_amount(request: LeaseRequest, *, spendable: int) -> int:
    """Return how much to lease: what is wanted, but a fair share at most, and never below the minimum.

    Where `spendable` is below the result, or there is none of it, the wallet cannot pay.
    """
    fair = max(request.min_nanos, spendable // _SHARE_DIVISOR)
    return max(request.min_nanos, min(request.want_nanos, fair), 1 if request.want_nanos else 0)


def new_lease(
    request: LeaseRequest, *, organization_id: str, lease_id: str, slices: tuple[Slice, ...], now: int
) -> Lease:
    """Return the lease that the slices pay for. A lease for one intent has its count from birth."""
    amount = sum(piece.amount for piece in slices)
    return Lease(
        organization_id=organization_id,
        lease_id=lease_id,
        wallet_id=request.wallet_id,
        edge_id=request.edge.edge_id,
        edge_epoch=request.edge.edge_epoch,
        admit_key=request.admit_key,
        request_hash=request.request_hash,
        amount=amount,
        remaining=amount,
        max_intents=request.max_intents,
        expire_time=now + LEASE_LIFE,
        create_time=now,
        final_count=1 if request.max_intents == 1 else None,
        slices=slices,
    )


def settled(lease: Lease, slices: tuple[Slice, ...]) -> Lease:
    """Count one more event, which left these slices; the last one ends the lease.

    Any state counts: late outcomes are money. What the last event leaves is released before.
    """
    remaining = sum(piece.held for piece in slices)
    if lease.ends_next and remaining:
        raise ValueError(f"lease {lease.lease_id} would end with {remaining} set aside")
    return replace(
        lease,
        settled_count=lease.settled_count + 1,
        remaining=remaining,
        state=LeaseState.CLOSED if lease.ends_next else lease.state,
        slices=slices,
    )
