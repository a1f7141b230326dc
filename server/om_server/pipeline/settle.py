"""Settles usage events: identities, ratings, charges and rollups commit together or not at all.

A redelivered batch finds its identities taken and does nothing. Rating happens before any wallet
is locked; the ledger decides what of a charge a lease, a wallet or nobody pays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from om_server.account.organization import UNKNOWN_OUTCOME_SUSPEND
from om_server.core.event import Outcome
from om_server.pipeline.dead_letter import LetterCounter
from om_server.pipeline.rated_event import charge_of, rate_event, settled_event
from om_server.pipeline.settled_ranges import acknowledge
from om_server.storage.change_log import ChangeLog

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from om_server.account.operations import AccountOperations
    from om_server.analytics.operations import AnalyticsOperations
    from om_server.core.clock import Clock
    from om_server.core.event import Event
    from om_server.ingestion.store import IngestionStore
    from om_server.pipeline.rated_event import RatedEvent
    from om_server.rating.operations import RatingOperations
    from om_server.storage.database import Database
    from om_server.wallet.charging import ChargeResult
    from om_server.wallet.operations import WalletOperations

_log = structlog.get_logger(__name__)


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
        self._log = ChangeLog(database)
        self._letters = LetterCounter(database, slices.ingestion, slices.wallet)

    def settle(self, events: Sequence[Event]) -> int:
        """Settle what is new among `events`, of any organizations; return how many were."""
        return self._database.write(lambda: self._settle(events))

    def count_dead_letters(self) -> int:
        """Move the money of edges' events that were set aside to holds of their own; return how many."""
        return self._letters.count()

    def _settle(self, events: Sequence[Event]) -> int:
        new = self._claim(events)
        for organization_id, of_one in sorted(_by_organization(new).items()):
            self._settle_organization(organization_id, of_one)
        acknowledge(self._log, events)
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
        suspends = self._suspends(organization_id, events)
        rated = [rate_event(event, self._slices.rating, suspends=suspends) for event in events]
        results = self._charge(organization_id, rated)
        self._slices.analytics.record(
            [settled_event(item, result, now) for item, result in zip(rated, results, strict=True)]
        )
        self._slices.account.note_sightings(
            organization_id,
            customers={event.attribution.customer_id for event in events} - {""},
            users={event.attribution.user_id for event in events} - {""},
            now=now,
        )

    def _suspends(self, organization_id: str, events: Sequence[Event]) -> bool:
        """Tell whether the organization suspends what a call without a known end may have cost."""
        if not any(event.outcome is Outcome.UNKNOWN for event in events):
            return False
        organization = self._slices.account.get_organization(organization_id)
        return organization.unknown_outcome_policy == UNKNOWN_OUTCOME_SUSPEND

    def _charge(self, organization_id: str, rated: Sequence[RatedEvent]) -> list[ChargeResult]:
        """Decide who pays where admission did not, then move the money of all events at once."""
        undecided = [item.event for item in rated if item.event.edge is None and not item.event.sandbox]
        payers = self._slices.wallet.resolve_many(organization_id, [event.attribution for event in undecided])
        payer_of = {event.identity: payer for event, payer in zip(undecided, payers, strict=True)}
        charges = [
            charge_of(item, wallet_id=payer_of.get(item.event.identity, item.event.wallet_id))
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
