"""Where settled events stand, for intake, which knows no analytics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from om_server.analytics.settled import SettledEvent, SettledState
from om_server.core.event import Outcome
from om_server.ingestion.standing import EventStanding, EventState

if TYPE_CHECKING:
    from om_server.analytics.operations import AnalyticsOperations


class SettledStanding:
    """Reads the state of settled events."""

    def __init__(self, analytics: AnalyticsOperations) -> None:
        self._analytics = analytics

    def __call__(self, organization_id: str, *, source: str, event_id: str) -> EventStanding | None:
        """Return where a settled event stands; None for one that is not settled."""
        found = self._analytics.find_event(organization_id, source=source, event_id=event_id)
        return None if found is None else EventStanding(state_of(found), found.settle_time)


def state_of(settled: SettledEvent) -> EventState:
    """Return the state under its name in the contract."""
    if settled.state is SettledState.UNRATED:
        return EventState.DEFERRED if settled.event.outcome is Outcome.DEFERRED else EventState.UNRATED
    return EventState.CHARGED if settled.charge and settled.wallet_id else EventState.ZERO
