"""Where settled events stand, for intake, which knows no analytics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from om_server.analytics.settled import SettledEvent, SettledState
from om_server.core.event import SOURCE_PROXY, Outcome
from om_server.ingestion.job import JobState
from om_server.ingestion.standing import EventStanding, EventState
from om_server.pipeline.job_event import terminal_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from om_server.analytics.operations import AnalyticsOperations
    from om_server.ingestion.job import Job, JobKey


class SettledStanding:
    """Reads the state of settled events; a terminal object's is that of its job."""

    def __init__(self, analytics: AnalyticsOperations, find_job: Callable[[JobKey], Job | None]) -> None:
        self._analytics = analytics
        self._find_job = find_job

    def __call__(self, organization_id: str, *, source: str, event_id: str) -> EventStanding | None:
        """Return where a settled event stands; None for one that is not settled."""
        found = self._analytics.find_event(organization_id, source=source, event_id=event_id)
        if found is not None:
            return EventStanding(state_of(found), found.settle_time)
        key = terminal_key(organization_id, event_id) if source == SOURCE_PROXY else None
        job = self._find_job(key) if key is not None else None
        if job is None:
            return None
        if job.state is JobState.PARKED:
            return EventStanding(EventState.DEFERRED)
        if job.state is JobState.COMPLETE:
            return self(organization_id, source=job.event_source, event_id=job.event_id)
        return None


def state_of(settled: SettledEvent) -> EventState:
    """Return the state under its name in the contract."""
    if settled.state is SettledState.UNRATED:
        return EventState.DEFERRED if settled.event.outcome is Outcome.DEFERRED else EventState.UNRATED
    return EventState.CHARGED if settled.charge and settled.wallet_id else EventState.ZERO
