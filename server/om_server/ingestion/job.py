"""Deferred work: which of two events settles it, the DEFERRED of a call or the terminal object of a poll.

Pure. Times are those of settlement, never an edge's.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from typing import NamedTuple

from om_server.core.clock import MICROS_PER_SECOND

#: How long one of the two waits for the other.
JOB_WAIT = 24 * 3600 * MICROS_PER_SECOND


class JobState(enum.StrEnum):
    """What was seen of a job."""

    #: Nothing yet; no transaction ends with it.
    NEW = "new"
    #: The call: its money is held until the terminal object comes.
    DEFERRED = "deferred"
    #: The call, and nothing else in time: its money is in suspense.
    SUSPENDED = "suspended"
    #: The terminal object, which waits for whom it belongs to.
    PARKED = "parked"
    #: The terminal object alone: it was charged to whom it names itself.
    ALONE = "alone"
    #: Both.
    COMPLETE = "complete"


class Arrival(enum.Enum):
    """What an event means for its job."""

    #: The other one is missing.
    WAITS = enum.auto()
    #: The job is settled with it.
    COMPLETES = enum.auto()
    #: The job needs no other: it was settled, or waits for the terminal object of another event.
    REPEATS = enum.auto()


class JobKey(NamedTuple):
    """What names a job. Providers number their jobs themselves, and organizations share nothing."""

    organization_id: str
    provider: str
    job_id: str


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it is stored: the event of its DEFERRED, or the parked terminal as an envelope."""

    key: JobKey
    state: JobState = JobState.NEW
    event_source: str = ""
    event_id: str = ""
    terminal: str = ""
    #: When nobody waits any longer; None where nobody waits.
    due_time: int | None = None

    @property
    def identity(self) -> tuple[str, str]:
        """The source and id of the DEFERRED."""
        return self.event_source, self.event_id

    def defer(self, identity: tuple[str, str], *, now: int) -> tuple[Job, Arrival]:
        """Return the job after a DEFERRED, and what that means."""
        source, event_id = identity
        job = replace(self, event_source=source, event_id=event_id, terminal="", due_time=None)
        if self.state is JobState.NEW:
            return replace(job, state=JobState.DEFERRED, due_time=now + JOB_WAIT), Arrival.WAITS
        if self.state is JobState.PARKED:
            return replace(job, state=JobState.COMPLETE), Arrival.COMPLETES
        return self, Arrival.REPEATS

    def end(self, terminal: str, *, now: int) -> tuple[Job, Arrival]:
        """Return the job after its terminal object, and what that means."""
        if self.state is JobState.NEW:
            parked = replace(self, state=JobState.PARKED, terminal=terminal, due_time=now + JOB_WAIT)
            return parked, Arrival.WAITS
        if self.state in (JobState.DEFERRED, JobState.SUSPENDED):
            return replace(self, state=JobState.COMPLETE, due_time=None), Arrival.COMPLETES
        return self, Arrival.REPEATS

    def overdue(self, now: int) -> bool:
        """Tell whether what it waits for did not come in time."""
        return self.due_time is not None and self.due_time <= now

    def give_up(self) -> Job:
        """Return the job once nobody waits any longer."""
        state = JobState.ALONE if self.state is JobState.PARKED else JobState.SUSPENDED
        return replace(self, state=state, terminal="", due_time=None)
