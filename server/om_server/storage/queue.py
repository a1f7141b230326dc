"""The durable queue between intake and settlement, here as a table: one row for each batch.

A claim happens inside the settling transaction, which also deletes the row. There is no gap
between effect and acknowledgement: either both happen or neither does.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import peewee

from om_server.storage.database import Database, Record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from om_server.core.clock import Clock


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


@dataclass(frozen=True, slots=True)
class Batch:
    """What waits: an opaque text that only intake and settlement read."""

    organization_id: str
    batch_id: str
    envelope: str
    event_count: int
    attempt_count: int = 0
    create_time: int = 0


class Queue(Protocol):
    """What intake and settlement need of a queue."""

    def append(self, batches: Sequence[Batch]) -> None:
        """Make batches durable, all or none."""

    def claim(self, event_count_max: int) -> list[Batch]:
        """Take the oldest batches for this transaction; at least one if there is any."""

    def finish(self, batches: Sequence[Batch]) -> None:
        """Forget batches that are settled, in the same transaction."""

    def postpone(self, batch: Batch, retry_time: int) -> None:
        """Count a failed attempt and leave the batch for later."""


class SqlInbox:
    """A queue in the database. `arrived` wakes a worker in the same process."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self.arrived = threading.Event()

    def append(self, batches: Sequence[Batch]) -> None:
        """Insert one row for each batch in one transaction."""
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

    def claim(self, event_count_max: int) -> list[Batch]:
        """Lock the oldest batches that are due, passing over those that another worker has."""
        due = Inbox.select().where(Inbox.retry_time <= self._clock())
        # A batch holds 1 to 1,000 events, so the limit on rows is only an upper bound for the read.
        query = due.order_by(Inbox.retry_time, Inbox.batch_id).limit(event_count_max)
        if self._database.supports_row_locks:
            query = query.for_update(skip_locked=True)
        claimed: list[Batch] = []
        total = 0
        for row in query.iterator():
            if claimed and total + row.event_count > event_count_max:
                break
            total += row.event_count
            claimed.append(
                Batch(
                    organization_id=row.organization_id,
                    batch_id=row.batch_id,
                    envelope=row.envelope,
                    event_count=row.event_count,
                    attempt_count=row.attempt_count,
                    create_time=row.create_time,
                )
            )
        return claimed

    def finish(self, batches: Sequence[Batch]) -> None:
        """Delete the rows; a rollback brings them back."""
        for batch in batches:
            self._row(batch, Inbox.delete()).execute()

    def postpone(self, batch: Batch, retry_time: int) -> None:
        """Count the attempt and set when the next one is due."""
        changes = {Inbox.attempt_count: Inbox.attempt_count + 1, Inbox.retry_time: retry_time}
        self._database.write(lambda: self._row(batch, Inbox.update(changes)).execute())

    def status(self, organization_id: str) -> tuple[int, int | None]:
        """How many batches of an organization wait, and since when the oldest does."""
        query = Inbox.select(peewee.fn.COUNT(Inbox.batch_id), peewee.fn.MIN(Inbox.create_time)).where(
            Inbox.organization_id == organization_id
        )
        count, oldest = self._database.read(lambda: query.tuples().get())  # type: ignore[misc]  # A tuple.
        return count, oldest  # type: ignore[has-type]

    @staticmethod
    def _row(batch: Batch, query: peewee.Query) -> peewee.Query:
        return query.where(
            (Inbox.organization_id == batch.organization_id) & (Inbox.batch_id == batch.batch_id)
        )
