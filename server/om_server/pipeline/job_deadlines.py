"""Ends the waiting of jobs of which the other event did not come in time.

A terminal object alone is charged to whom it names itself; the money of a call alone goes to suspense,
from where a later terminal object still takes its charge.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from om_server.core.clock import MICROS_PER_SECOND
from om_server.ingestion import envelope
from om_server.ingestion.job import JobState
from om_server.pipeline.event_charging import Due, EventCharging
from om_server.pipeline.isolation import is_transient
from om_server.pipeline.job_event import alone
from om_server.wallet.charging import SUSPENDED

if TYPE_CHECKING:
    from om_server.core.clock import Clock
    from om_server.ingestion.job import Job, JobKey
    from om_server.pipeline.event_charging import Slices
    from om_server.storage.database import Database

_log = structlog.get_logger(__name__)

#: Jobs in one step; each has its own transaction.
_BATCH = 50
_LOOK_INTERVAL = MICROS_PER_SECOND
#: When one that failed is tried again.
_RETRY_DELAY = 3600 * MICROS_PER_SECOND


class JobDeadlines:
    """A chore of workers. Of several that see the same job due, the first one to lock it ends it."""

    def __init__(self, database: Database, slices: Slices, clock: Clock) -> None:
        self._database = database
        self._slices = slices
        self._jobs = slices.ingestion.jobs
        self._charging = EventCharging(slices, clock)
        self._clock = clock
        self._look_time = 0

    def advance(self) -> bool:
        """Look for jobs that are overdue if it is time, and end some; tell whether there were any."""
        now = self._clock()
        if now < self._look_time:
            return False
        due = self._database.read(lambda: self._jobs.due(now, limit=_BATCH))
        if len(due) < _BATCH:
            self._look_time = now + _LOOK_INTERVAL
        for key in due:
            self._end(key, now=now)
        return bool(due)

    def _end(self, key: JobKey, *, now: int) -> None:
        try:
            self._database.write(lambda: self._give_up(key, now=now))
        except Exception as error:
            if is_transient(error):
                raise
            # Others do not wait for it, and it stays as it is for somebody to look at.
            _log.exception("job_not_ended", organization_id=key.organization_id, job_id=key.job_id)
            self._database.write(lambda: self._postpone(key, now=now))

    def _give_up(self, key: JobKey, *, now: int) -> None:
        job = self._locked(key, now=now)
        if job is None:
            return
        self._jobs.save([job.give_up()])
        if job.state is JobState.PARKED:
            [terminal] = envelope.unpack(job.terminal)
            self._charging.charge(key.organization_id, Due(new=[alone(terminal)]), alone=True)
        else:
            self._suspend(job)

    def _locked(self, key: JobKey, *, now: int) -> Job | None:
        job = self._jobs.lock([key]).get(key)
        return job if job is not None and job.overdue(now) else None

    def _suspend(self, job: Job) -> None:
        """Move what is held for a call to suspense, and say so of its event, which is locked before."""
        organization_id, identity = job.key.organization_id, job.identity
        before = self._slices.analytics.lock_events(organization_id, {identity})
        if self._slices.wallet.suspend_event(organization_id, identity):
            after = [replace(one, flags=(*one.flags, SUSPENDED)) for one in before]
            self._slices.analytics.revise(before, after)
        _log.warning("job_overdue", organization_id=organization_id, job_id=job.key.job_id)

    def _postpone(self, key: JobKey, *, now: int) -> None:
        job = self._locked(key, now=now)
        if job is not None:
            self._jobs.save([replace(job, due_time=now + _RETRY_DELAY)])
