"""The queue as a table of the database: one row for each batch.

A row is claimed inside the transaction that settles it, which also deletes it. There is no gap
between effect and acknowledgement: either both happen or neither does.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import peewee

from om_server.storage.database import Database, Record
from om_server.storage.queue import Batch, batches_wanted, fitting

if TYPE_CHECKING:
    from collections.abc import Sequence

    from om_server.core.clock import Clock
    from om_server.storage.queue import Settle


#: A batch is at most some hundred kilobytes.
_SEARCHED = 100
_COUNTED_MAX = 10_000


class Inbox(Record):
    """A batch of events of one organization that waits for settlement."""

    organization_id = peewee.TextField()
    batch_id = peewee.TextField()
    envelope = peewee.TextField()
    event_count = peewee.IntegerField()
    attempt_count = peewee.IntegerField()
    retry_time = peewee.BigIntegerField()
    create_time = peewee.BigIntegerField()

    class Meta:
        """One row for each IngestEvents call and organization."""

        table_name = "inbox"
        primary_key = peewee.CompositeKey("organization_id", "batch_id")


MODELS: tuple[type[Record], ...] = (Inbox,)


class SqlInbox:
    """A queue in the database. `arrived` wakes a worker in the same process; others look again and again."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self.arrived = threading.Event()

    def append(self, batches: Sequence[Batch]) -> None:
        """Insert one row for each batch in one transaction."""
        if not batches:
            return
        now = self._clock()
        rows = [
            {
                "organization_id": batch.organization_id,
                "batch_id": batch.batch_id,
                "envelope": batch.envelope,
                "event_count": batch.event_count,
                "attempt_count": 0,
                "retry_time": now,
                "create_time": now,
            }
            for batch in batches
        ]
        self._database.write(lambda: Inbox.insert_many(rows).execute())
        self.arrived.set()

    def process(self, event_count_max: int, settle: Settle) -> bool:
        """Claim, settle and forget in one transaction; a rollback brings the rows back."""

        def run() -> bool:
            claimed = self._claim(event_count_max)
            if claimed:
                settle(claimed)
            return bool(claimed)

        return self._database.write(run)

    def finish(self, batches: Sequence[Batch]) -> None:
        """Delete the rows, in the transaction that is open."""
        if not batches:
            return

        def delete() -> None:
            for batch in batches:
                self._database.send_query(self._row(batch, Inbox.delete()))

        self._database.write(delete)

    def postpone(self, batch: Batch, retry_time: int) -> None:
        """Count the attempt and set when the next one is due."""
        changes = {Inbox.attempt_count: Inbox.attempt_count + 1, Inbox.retry_time: retry_time}
        self._database.write(lambda: self._row(batch, Inbox.update(changes)).execute())

    def status(self, organization_id: str) -> tuple[int, int | None]:
        """Count the rows, exactly."""
        query = Inbox.select(peewee.fn.COUNT(Inbox.batch_id), peewee.fn.MIN(Inbox.create_time)).where(
            Inbox.organization_id == organization_id
        )
        count, oldest = self._database.read(lambda: query.tuples().get())  # type: ignore[misc]  # A tuple.
        return count, oldest  # type: ignore[has-type]

    def backlog(self) -> tuple[int, int | None]:
        """Count the rows that are due first."""
        first = Inbox.select(Inbox.create_time).order_by(Inbox.retry_time, Inbox.batch_id).limit(_COUNTED_MAX)
        times = self._database.read(lambda: [row.create_time for row in first])
        return len(times), min(times, default=None)

    def search(self, organization_id: str, text: str) -> Sequence[str]:
        """Look through the oldest rows."""
        oldest = (
            Inbox.select(Inbox.envelope)
            .where(Inbox.organization_id == organization_id)
            .order_by(Inbox.batch_id)
            .limit(_SEARCHED)
        )
        return self._database.read(lambda: [row.envelope for row in oldest if text in row.envelope])

    def incarnation(self) -> str:
        """Name none: the rows share the life of the database."""
        return ""

    def wait(self, timeout_s: float) -> None:
        """Sleep until something is appended in this process."""
        if self.arrived.wait(timeout_s):
            # Whatever set it is committed, so the look that follows finds it.
            self.arrived.clear()

    def wake(self) -> None:
        self.arrived.set()

    def _claim(self, event_count_max: int) -> list[Batch]:
        """Lock the oldest batches that are due, passing over those that another worker has."""
        claimed: list[Batch] = []
        last: Inbox | None = None
        while sum(batch.event_count for batch in claimed) < event_count_max:
            wanted = batches_wanted(event_count_max, claimed)
            rows = self._lock_due(wanted, after=last)
            claimed.extend(_batch_of(row) for row in rows)
            if len(rows) < wanted:
                break
            last = rows[-1]
        return fitting(event_count_max, claimed)

    def _lock_due(self, limit: int, *, after: Inbox | None) -> list[Inbox]:
        # What nobody tried yet is due by any clock: another machine's, or this one's before it was set back.
        query = Inbox.select().where((Inbox.retry_time <= self._clock()) | (Inbox.attempt_count == 0))
        if after is not None:
            # A transaction does not pass over its own locks.
            position = peewee.Tuple(Inbox.retry_time, Inbox.batch_id)
            query = query.where(position > (after.retry_time, after.batch_id))
        query = query.order_by(Inbox.retry_time, Inbox.batch_id).limit(limit)
        if self._database.supports_row_locks:
            query = query.for_update(skip_locked=True)
        return list(query)

    @staticmethod
    def _row(batch: Batch, query: peewee.Query) -> peewee.Query:
        return query.where(
            (Inbox.organization_id == batch.organization_id) & (Inbox.batch_id == batch.batch_id)
        )


def _batch_of(row: Inbox) -> Batch:
    return Batch(
        organization_id=row.organization_id,
        batch_id=row.batch_id,
        envelope=row.envelope,
        event_count=row.event_count,
        attempt_count=row.attempt_count,
        create_time=row.create_time,
    )
