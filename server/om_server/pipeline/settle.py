"""Settles usage events: identities, ratings, charges and rollups commit together or not at all.

A redelivered batch finds its identities taken and does nothing. Rating happens before any wallet
is locked; the ledger decides what of a charge a lease, a wallet or nobody pays.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from om_server.analytics.settled import SettledEvent, SettledLine, SettledState
from om_server.core.money import USD
from om_server.rating.arithmetic import UnratedReason
from om_server.rating.model import canonical_provider, canonical_tier
from om_server.rating.rate import Rating, Unrated
from om_server.wallet.charging import Charge, ChargeResult

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from om_server.account.operations import AccountOperations
    from om_server.analytics.operations import AnalyticsOperations
    from om_server.core.clock import Clock
    from om_server.core.event import Event, UsageLine
    from om_server.core.money import Money
    from om_server.ingestion.store import IngestionStore
    from om_server.rating.operations import RatingOperations
    from om_server.storage.database import Database
    from om_server.wallet.operations import WalletOperations

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Rated:
    """A new event with its rating; None where there is nothing to rate."""

    event: Event
    rating: Rating | None

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


@dataclass(frozen=True, slots=True)
class Slices:
    """The operations that settlement composes into one transaction."""

    ingestion: IngestionStore
    rating: RatingOperations
    wallet: WalletOperations
    analytics: AnalyticsOperations
    account: AccountOperations


class Settler:
    """Settles events inside the caller's transaction, or in one of its own."""

    def __init__(self, database: Database, slices: Slices, clock: Clock) -> None:
        self._database = database
        self._slices = slices
        self._clock = clock

    def settle(self, events: Sequence[Event]) -> int:
        """Settle what is new among `events`, of any organizations; return how many were."""
        return self._database.write(lambda: self._settle(events))

    def _settle(self, events: Sequence[Event]) -> int:
        new = self._claim(events)
        for organization_id, of_one in sorted(_by_organization(new).items()):
            self._settle_organization(organization_id, of_one)
        return len(new)

    def _claim(self, events: Sequence[Event]) -> list[Event]:
        """Take the identities and keys that nobody has, once each; the first of two twins in a batch wins."""
        first: dict[tuple[str, str, str], Event] = {}
        for event in events:
            if first.setdefault(event.identity, event).payload_hash != event.payload_hash:
                _report_conflict(event)
        # Sorted, so that two settlers with the same events never wait for each other.
        candidates = sorted(first.values(), key=lambda event: event.identity)
        claimed = self._slices.ingestion.claim_identities(candidates)
        self._report_conflicts([event for event in candidates if event.identity not in claimed])
        return self._claim_keys([event for event in first.values() if event.identity in claimed])

    def _claim_keys(self, new: list[Event]) -> list[Event]:
        """Drop whose idempotency key is another event's, and take nothing in their names.

        Keys come after identities: a duplicate must not keep a key from the event that it belongs to.
        """
        keyed = [event for event in new if event.idempotency_key]
        keyed.sort(key=lambda event: (event.organization_id, event.idempotency_key))
        owners = self._slices.ingestion.claim_keys(keyed)
        late = {
            event.identity: event
            for event in keyed
            if owners[event.organization_id, event.idempotency_key] != (event.source, event.event_id)
        }
        self._slices.ingestion.release_identities(late.values())
        for organization_id, events in _by_organization(late.values()).items():
            keys = [event.idempotency_key for event in events]
            settled = self._slices.ingestion.key_hashes(organization_id, keys)
            for event in events:
                if settled[event.idempotency_key] != event.payload_hash:
                    _report_conflict(event)
        return [event for event in new if event.identity not in late]

    def _report_conflicts(self, duplicates: Sequence[Event]) -> None:
        """Say which duplicates claim something else than what was settled; the first stays."""
        for organization_id, events in _by_organization(duplicates).items():
            identities = [(event.source, event.event_id) for event in events]
            settled = self._slices.ingestion.payload_hashes(organization_id, identities)
            for event in events:
                if settled[event.source, event.event_id] != event.payload_hash:
                    _report_conflict(event)

    def _settle_organization(self, organization_id: str, events: Sequence[Event]) -> None:
        now = self._clock()
        rated = [self._rate(event) for event in events]
        results = self._charge(organization_id, rated)
        self._slices.analytics.record(
            [_settled(item, result, now) for item, result in zip(rated, results, strict=True)]
        )
        self._slices.account.note_sightings(
            organization_id,
            customers={event.attribution.customer_id for event in events} - {""},
            users={event.attribution.user_id for event in events} - {""},
            now=now,
        )

    def _rate(self, event: Event) -> _Rated:
        if not event.chargeable:
            return _Rated(event, None)
        if not event.lines:
            # Deferred, or its end was never seen: something was consumed, and nothing says how much.
            return _Rated(event, _without_cost(Rating(None, None, (), "", ()), UnratedReason.USAGE_MISSING))
        rating = self._slices.rating.rate_event(event)
        if rating.cost is not None and rating.cost.nanos and rating.cost.currency != USD:
            # Costs are stored and summed in dollars; another currency must never be read as dollars.
            rating = _without_cost(rating, UnratedReason.CURRENCY_MISMATCH)
        return _Rated(event, rating)

    def _charge(self, organization_id: str, rated: Sequence[_Rated]) -> list[ChargeResult]:
        """Decide who pays where admission did not, then move the money of all events at once."""
        undecided = [item.event for item in rated if item.event.edge is None and not item.event.sandbox]
        payers = self._slices.wallet.resolve_many(organization_id, [event.attribution for event in undecided])
        payer_of = {event.identity: payer for event, payer in zip(undecided, payers, strict=True)}
        charges = [
            Charge(
                source=item.event.source,
                event_id=item.event.event_id,
                amount=item.payable,
                wallet_id=payer_of.get(item.event.identity, item.event.wallet_id),
                funding=item.event.funding,
                edge_id=item.event.edge.edge_id if item.event.edge else "",
                description=item.event.attribution.feature_id,
            )
            for item in rated
        ]
        return self._slices.wallet.settle_charges(organization_id, charges)


def _by_organization(events: Iterable[Event]) -> dict[str, list[Event]]:
    found: dict[str, list[Event]] = {}
    for event in events:
        found.setdefault(event.organization_id, []).append(event)
    return found


def _report_conflict(event: Event) -> None:
    _log.warning(
        "event_conflict_dropped",
        organization_id=event.organization_id,
        source=event.source,
        event_id=event.event_id,
    )


def _without_cost(rating: Rating, reason: UnratedReason) -> Rating:
    lines = tuple(dataclasses.replace(line, cost=None) for line in rating.lines)
    return dataclasses.replace(rating, cost=None, lines=lines, unrated=(*rating.unrated, Unrated(reason, 0)))


def _settled(item: _Rated, result: ChargeResult, now: int) -> SettledEvent:
    event, rating = item.event, item.rating
    flags = dict.fromkeys((*event.flags, *result.flags))
    if any(line.usage.estimated for line in event.lines):
        flags["estimated"] = None
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
            line=dataclasses.replace(line, provider=rated.provider, tier=rated.tier),
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
    return dataclasses.replace(line, provider=provider, tier=canonical_tier(provider, line.tier))


def _nanos(amount: Money | None) -> int | None:
    return None if amount is None else amount.nanos
