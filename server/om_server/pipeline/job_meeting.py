"""Brings the two events of a job together, whichever is settled first, under the lock of the job's row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from om_server.core.errors import Code, DomainError
from om_server.ingestion import envelope
from om_server.ingestion.job import Arrival
from om_server.pipeline.event_charging import Due
from om_server.pipeline.job_event import deferred_job, ended, ended_job, freed, parked

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from om_server.analytics.operations import AnalyticsOperations
    from om_server.analytics.settled import SettledEvent
    from om_server.core.clock import Clock
    from om_server.core.event import Event
    from om_server.ingestion.job import Job, JobKey
    from om_server.ingestion.job_store import JobStore


class JobEventMissing(DomainError):
    """The event of a job's call is gone, so nothing says who pays. An owner decides."""

    code = Code.INTERNAL
    reason = "INTERNAL"

    def __init__(self, key: JobKey) -> None:
        super().__init__(f"the call of job {key.job_id} is not kept any more", job_id=key.job_id)


class JobMeeting:
    """Decides, within the settling transaction and before it locks wallets, what events of jobs mean."""

    def __init__(self, jobs: JobStore, analytics: AnalyticsOperations, clock: Clock) -> None:
        self._jobs = jobs
        self._analytics = analytics
        self._clock = clock

    def meet(self, organization_id: str, events: Sequence[Event]) -> Due:
        """Return what new events of an organization are charged as; most belong to no job and stay."""
        terminals = _by_job((event, ended_job(event)) for event in events)
        calls = _by_job((event, deferred_job(event)) for event in events)
        if not terminals and not calls:
            return Due(new=events)
        now = self._clock()
        jobs = self._jobs.claim({key for _, key in (*terminals, *calls)}, now=now)
        # Terminals come first, so that a call in the same batch finds its own.
        ends = self._end(jobs, terminals, now=now)
        stored = self._stored(organization_id, [key for _, key in ends], jobs=jobs)
        become = self._defer(jobs, calls, now=now)
        self._jobs.save(list(jobs.values()))
        gone = {event.identity for event, _ in terminals}
        return Due(
            new=[become.get(event.identity, event) for event in events if event.identity not in gone],
            ended=[(stored[key], ended(stored[key].event, event)) for event, key in ends],
            counted=[event for event, _ in terminals if event.funding],
        )

    def _end(
        self, jobs: dict[JobKey, Job], terminals: Sequence[tuple[Event, JobKey]], *, now: int
    ) -> list[tuple[Event, JobKey]]:
        """Note terminals, and return those whose call is stored."""
        ends: list[tuple[Event, JobKey]] = []
        for event, key in terminals:
            jobs[key], arrival = jobs[key].end(envelope.pack([parked(event)]), now=now)
            if arrival is Arrival.COMPLETES:
                ends.append((event, key))
        return ends

    def _defer(
        self, jobs: dict[JobKey, Job], calls: Sequence[tuple[Event, JobKey]], *, now: int
    ) -> dict[tuple[str, str, str], Event]:
        """Note calls, and return those that are something else with what was seen of their jobs."""
        become: dict[tuple[str, str, str], Event] = {}
        for event, key in calls:
            before = jobs[key]
            jobs[key], arrival = before.defer((event.source, event.event_id), now=now)
            if arrival is Arrival.COMPLETES:
                [terminal] = envelope.unpack(before.terminal)
                become[event.identity] = ended(event, terminal)
            elif arrival is Arrival.REPEATS:
                become[event.identity] = freed(event)
        return become

    def _stored(
        self, organization_id: str, keys: Sequence[JobKey], *, jobs: dict[JobKey, Job]
    ) -> dict[JobKey, SettledEvent]:
        """Lock and return the calls of these jobs."""
        if not keys:
            return {}
        locked = self._analytics.lock_events(organization_id, {jobs[key].identity for key in keys})
        calls = {(call.event.source, call.event.event_id): call for call in locked}
        for key in keys:
            if jobs[key].identity not in calls:
                raise JobEventMissing(key)
        return {key: calls[jobs[key].identity] for key in keys}


def _by_job(found: Iterable[tuple[Event, JobKey | None]]) -> list[tuple[Event, JobKey]]:
    return [(event, key) for event, key in found if key is not None]
