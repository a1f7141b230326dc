"""Rates events whose identities are claimed, moves their money and keeps them, in the caller's transaction.

Rating happens before any wallet is locked; the ledger decides what of a charge a lease, a wallet or
nobody pays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from om_server.account.keys.key import KeyUse
from om_server.account.organization import UNKNOWN_OUTCOME_SUSPEND
from om_server.core.event import Outcome
from om_server.pipeline.job_event import part_of_batch
from om_server.pipeline.rated_event import charge_of, count_of, rate_event, settled_event

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from om_server.account.operations import AccountOperations
    from om_server.analytics.operations import AnalyticsOperations
    from om_server.analytics.settled import SettledEvent
    from om_server.core.clock import Clock
    from om_server.core.event import Event
    from om_server.ingestion.store import IngestionStore
    from om_server.pipeline.rated_event import RatedEvent
    from om_server.prompt.operations import PromptOperations
    from om_server.rating.operations import RatingOperations
    from om_server.wallet.charging import Charge
    from om_server.wallet.operations import WalletOperations

    #: Is told of events that were just settled.
    Noted = Callable[[Sequence[SettledEvent]], None]


def unnoted(_events: Sequence[SettledEvent], /) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class Slices:
    """The operations that settlement composes into one transaction."""

    ingestion: IngestionStore
    rating: RatingOperations
    wallet: WalletOperations
    analytics: AnalyticsOperations
    account: AccountOperations
    prompt: PromptOperations


@dataclass(frozen=True, slots=True)
class Due:
    """What one organization is to be charged at once."""

    #: Events that are not stored yet.
    new: Sequence[Event] = ()
    #: Stored events, locked, and what they have become.
    ended: Sequence[tuple[SettledEvent, Event]] = ()
    #: Events that are no more than a number to their leases.
    counted: Sequence[Event] = ()


class EventCharging:
    """Charges what is due."""

    def __init__(self, slices: Slices, clock: Clock, *, settled: Noted = unnoted) -> None:
        """`settled` is told of events in their transaction, which may yet be rolled back."""
        self._slices = slices
        self._clock = clock
        self._settled = settled

    def charge(self, organization_id: str, due: Due, *, alone: bool = False) -> None:
        """Rate, charge and keep. `alone`: nobody decided at admission who pays for what edges report."""
        now = self._clock()
        # What is stored already has the version that was active when it happened.
        tracked = self._slices.prompt.track(organization_id, due.new)
        events = [*tracked.events, *(event for _, event in due.ended)]
        suspends = self._suspends(organization_id, events)
        rated = [rate_event(event, self._slices.rating, suspends=suspends) for event in events]
        charges = self._charges(organization_id, rated, alone=alone)
        charges += [count_of(event) for event in due.counted]
        results = self._slices.wallet.settle_charges(organization_id, charges)
        # Those that are only counted come last, and have no rating.
        settled = [settled_event(item, result, now) for item, result in zip(rated, results, strict=False)]
        new, after = settled[: len(due.new)], settled[len(due.new) :]
        before = [one for one, _ in due.ended]
        self._slices.analytics.record(new, replaced=list(zip(before, after, strict=True)))
        self._slices.account.note_key_uses(
            organization_id, (KeyUse(event.key_id, event.event_time) for event in events)
        )
        self._slices.account.note_sightings(
            organization_id,
            customers={event.attribution.customer_id for event in events} - {""},
            users={event.attribution.user_id for event in events} - {""},
            now=now,
        )
        self._slices.prompt.note_uses(organization_id, tracked.new_keys, now=now)
        self._settled(settled)

    def _suspends(self, organization_id: str, events: Sequence[Event]) -> bool:
        """Tell whether the organization suspends what a call without a known end may have cost."""
        if not any(event.outcome is Outcome.UNKNOWN for event in events):
            return False
        organization = self._slices.account.get_organization(organization_id)
        return organization.unknown_outcome_policy == UNKNOWN_OUTCOME_SUSPEND

    def _charges(self, organization_id: str, rated: Sequence[RatedEvent], *, alone: bool) -> list[Charge]:
        """Decide who pays where admission did not."""
        undecided = [
            item.event
            for item in rated
            if (alone or item.event.edge is None or part_of_batch(item.event)) and not item.event.sandbox
        ]
        payers = self._slices.wallet.resolve_many(organization_id, [event.attribution for event in undecided])
        payer_of = {event.identity: payer for event, payer in zip(undecided, payers, strict=True)}
        return [
            charge_of(item, wallet_id=payer_of.get(item.event.identity, item.event.wallet_id))
            for item in rated
        ]
