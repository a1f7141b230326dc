"""One event on its way through settlement: rated, then charged, then what is kept of it. Pure."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Protocol

from om_server.analytics.settled import SettledEvent, SettledLine, SettledState
from om_server.core.event import Outcome
from om_server.core.money import USD
from om_server.core.value import value_type
from om_server.rating.arithmetic import UnratedReason
from om_server.rating.model import canonical_provider, canonical_tier
from om_server.rating.rate import Rating, Unrated
from om_server.wallet.charging import Charge
from om_server.wallet.holds.escrow import EscrowKind

if TYPE_CHECKING:
    from om_server.core.event import Event, UsageLine
    from om_server.core.money import Money
    from om_server.wallet.charging import ChargeResult

#: Something of what was consumed is not the provider's own count.
ESTIMATED = "estimated"

_NO_RATING = Rating(None, None, (), "", ())

_KEPT = {Outcome.DEFERRED: EscrowKind.DEFERRED, Outcome.UNKNOWN: EscrowKind.UNKNOWN}


class Rates(Protocol):
    """What gives an event its cost and charge."""

    def rate_event(self, event: Event) -> Rating:
        """Rate an event at its own time."""


@value_type(frozen=True, slots=True)
class RatedEvent:
    """An event with its rating; None where there is nothing to rate."""

    event: Event
    rating: Rating | None
    #: Whether an owner is to decide what it cost.
    suspended: bool = False

    @property
    def keep(self) -> EscrowKind | None:
        """Why what an edge kept for it stays aside; None where that is not needed any more."""
        if self.state is not SettledState.UNRATED or self.event.edge is None:
            return None
        return _KEPT.get(self.event.outcome, EscrowKind.UNRATED)

    @property
    def state(self) -> SettledState:
        if self.rating is None:
            return SettledState.ZERO
        if self.rating.cost is None or self.rating.charge is None:
            return SettledState.UNRATED
        return SettledState.RATED

    @property
    def payable(self) -> int:
        """Nano-credits to take; nothing while the event is unrated."""
        if self.state is not SettledState.RATED or self.rating is None or self.rating.charge is None:
            return 0
        return self.rating.charge.nanos


def rate_event(event: Event, rates: Rates, *, suspends: bool) -> RatedEvent:
    """Rate an event at its own time. `suspends`: its owner is to decide about an end that nobody saw."""
    if not event.chargeable:
        return RatedEvent(event, None)
    suspended = suspends and event.outcome is Outcome.UNKNOWN
    rating = rates.rate_event(event) if event.lines else _NO_RATING
    if not event.lines or suspended or event.outcome is Outcome.DEFERRED:
        # Something was consumed, and nothing says yet, or for certain, how much.
        return RatedEvent(event, _without_cost(rating, UnratedReason.USAGE_MISSING), suspended=suspended)
    if rating.cost is not None and rating.cost.nanos and rating.cost.currency != USD:
        # Costs are stored and summed in dollars; another currency must never be read as dollars.
        rating = _without_cost(rating, UnratedReason.CURRENCY_MISMATCH)
    return RatedEvent(event, rating)


def charge_of(item: RatedEvent, *, wallet_id: str) -> Charge:
    """Return what an event costs, and who was chosen to pay; "" is nobody."""
    event = item.event
    return Charge(
        source=event.source,
        event_id=event.event_id,
        amount=item.payable,
        wallet_id=wallet_id,
        funding=event.funding,
        edge_id=event.edge.edge_id if event.edge else "",
        description=event.attribution.feature_id,
        keep=item.keep,
        suspended=item.suspended,
    )


def count_of(event: Event) -> Charge:
    """Return an event that costs nothing, for leases that wait for it."""
    return Charge(
        source=event.source,
        event_id=event.event_id,
        amount=0,
        wallet_id=event.wallet_id,
        funding=event.funding,
        edge_id=event.edge.edge_id if event.edge else "",
    )


def _without_cost(rating: Rating, reason: UnratedReason) -> Rating:
    lines = tuple(dataclasses.replace(line, cost=None) for line in rating.lines)
    return dataclasses.replace(rating, cost=None, lines=lines, unrated=(*rating.unrated, Unrated(reason, 0)))


def settled_event(item: RatedEvent, result: ChargeResult, now: int) -> SettledEvent:
    """Return what is kept of an event once its money has moved."""
    event, rating = item.event, item.rating
    flags = dict.fromkeys((*event.flags, *result.flags))
    if any(line.usage.estimated for line in event.lines):
        flags[ESTIMATED] = None
    if event.unfunded:
        flags["unfunded"] = None
    zero = rating is None
    return SettledEvent(
        event=event,
        state=item.state,
        cost=_nanos(rating.cost) if rating else 0,
        charge=_nanos(rating.charge) if rating else 0,
        lines=_lines(event, rating),
        wallet_id="" if zero else result.wallet_id,
        receivable=result.receivable,
        flags=tuple(flags),
        unrated_reason=rating.unrated[0].reason.value if rating and rating.unrated else "",
        burn_table_version=rating.burn_table_version if rating else "",
        settle_time=now,
    )


def _lines(event: Event, rating: Rating | None) -> tuple[SettledLine, ...]:
    if rating is None:
        return tuple(SettledLine(line=_canonical(line), cost=0, charge=0) for line in event.lines)
    return tuple(
        SettledLine(
            line=_named(line, rated.provider, rated.tier),
            cost=_nanos(rated.cost),
            charge=_nanos(rated.charge),
            priced_model=rated.model,
            price_version=rated.price_version,
            context_threshold=rated.context_threshold,
        )
        for line, rated in zip(event.lines, rating.lines, strict=True)
    )


def _canonical(line: UsageLine) -> UsageLine:
    """Name provider and tier as rating does, so that sums never split by spelling."""
    provider = canonical_provider(line.provider)
    return _named(line, provider, canonical_tier(provider, line.tier))


def _nanos(amount: Money | None) -> int | None:
    return None if amount is None else amount.nanos


def _named(line: UsageLine, provider: str, tier: str) -> UsageLine:
    """Give a line its canonical names; most have them, and a copy costs as much as rating does."""
    if (line.provider, line.tier) == (provider, tier):
        return line
    return dataclasses.replace(line, provider=provider, tier=tier)
