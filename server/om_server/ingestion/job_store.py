"""Where jobs are kept. A job's row is the lock of its two events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import peewee

from om_server.ingestion.job import Job, JobKey, JobState
from om_server.storage.batch import BatchWriter, Row
from om_server.storage.database import Database, Record

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

#: Ids in one IN list; keeps the parameters of a statement below SQLite's limit.
_CHUNK = 1000


class JobRow(Record):
    """Deferred work of a provider."""

    organization_id = peewee.TextField()
    provider = peewee.TextField()
    job_id = peewee.TextField()
    state = peewee.TextField()
    event_source = peewee.TextField()
    event_id = peewee.TextField()
    terminal = peewee.TextField()
    due_time = peewee.BigIntegerField(null=True)
    create_time = peewee.BigIntegerField()

    class Meta:
        """Kept as long as the identities of its events."""

        table_name = "jobs"
        primary_key = peewee.CompositeKey("organization_id", "provider", "job_id")


class JobStore:
    """Jobs of any organization; the caller opens the transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._batch = BatchWriter(database)

    def claim(self, keys: Collection[JobKey], *, now: int) -> dict[JobKey, Job]:
        """Lock the jobs of one organization, before any wallet; one that nobody knew is new.

        All rows are inserted before the first is locked, each time in the order of their keys, so that
        two that meet wait only once.
        """
        ordered = sorted(keys)
        rows: list[Row] = [(*key, JobState.NEW.value, "", "", "", None, now) for key in ordered]
        self._batch.insert(JobRow, rows, on_conflict="ON CONFLICT DO NOTHING")
        return self.lock(ordered)

    def lock(self, keys: Collection[JobKey]) -> dict[JobKey, Job]:
        """Lock the jobs of one organization that exist, before any wallet."""
        found: dict[JobKey, Job] = {}
        for query in _by_key(keys):
            rows: Iterable[Any] = self._database.locked(query)
            found.update((job.key, job) for job in map(_job, rows) if job.key in keys)
        return found

    def find(self, key: JobKey) -> Job | None:
        """Return a job without a lock."""
        return next((job for query in _by_key([key]) for job in map(_job, query)), None)

    def save(self, jobs: Sequence[Job]) -> None:
        """Write what happened to locked jobs."""
        columns = ("state", "event_source", "event_id", "terminal", "due_time")
        rows: list[Row] = [
            (job.state.value, job.event_source, job.event_id, job.terminal, job.due_time, *job.key)
            for job in sorted(jobs, key=lambda job: job.key)
        ]
        self._batch.update(JobRow, columns, rows=rows)

    def due(self, now: int, *, limit: int) -> list[JobKey]:
        """Return jobs of any organization that nobody is to wait for any longer, the oldest first."""
        query: peewee.ModelSelect[Any] = JobRow.select(
            JobRow.organization_id, JobRow.provider, JobRow.job_id
        ).where(JobRow.due_time <= now)
        order = (JobRow.due_time, JobRow.organization_id, JobRow.provider, JobRow.job_id)
        return [JobKey(*row) for row in query.order_by(*order).limit(limit).tuples()]


def _by_key(keys: Collection[JobKey]) -> Iterable[peewee.ModelSelect[Any]]:
    """Select the jobs of one organization in the order of their keys."""
    for organization_id, provider in sorted({key[:2] for key in keys}):
        ids = sorted(key.job_id for key in keys if key[:2] == (organization_id, provider))
        for start in range(0, len(ids), _CHUNK):
            query = JobRow.select().where(
                (JobRow.organization_id == organization_id)
                & (JobRow.provider == provider)
                & JobRow.job_id.in_(ids[start : start + _CHUNK])
            )
            yield query.order_by(JobRow.job_id)


def _job(row: JobRow) -> Job:
    return Job(
        key=JobKey(row.organization_id, row.provider, row.job_id),
        state=JobState(row.state),
        event_source=row.event_source,
        event_id=row.event_id,
        terminal=row.terminal,
        due_time=row.due_time,
    )
