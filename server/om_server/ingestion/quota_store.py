"""What was taken in by month, as it is kept. Only organizations to which a quota applies have rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import peewee

from om_server.storage.batch import BatchWriter
from om_server.storage.database import Database, Record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from om_server.core.event import Event


class MonthlyIntakeRow(Record):
    """How many events a month took in."""

    organization_id = peewee.TextField()
    month = peewee.TextField()
    event_count = peewee.BigIntegerField()

    class Meta:
        """One for each month with a quota."""

        table_name = "monthly_intake"
        primary_key = peewee.CompositeKey("organization_id", "month")


class CountedEventRow(Record):
    """An event that was counted; as many as fit into a month."""

    organization_id = peewee.TextField()
    source = peewee.TextField()
    event_id = peewee.TextField()
    month = peewee.TextField()

    class Meta:
        """Deleted when the next month begins."""

        table_name = "counted_events"
        primary_key = peewee.CompositeKey("organization_id", "source", "event_id")


MODELS: tuple[type[Record], ...] = (MonthlyIntakeRow, CountedEventRow)


class QuotaStore:
    """Counts of one organization; the caller opens the transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._batch = BatchWriter(database)

    def used(self, organization_id: str, *, month: str) -> int:
        """Return how many events a month took in."""
        row = MonthlyIntakeRow.get_or_none(_month(organization_id, month))
        return 0 if row is None else row.event_count

    def lock_month(self, organization_id: str, *, month: str) -> int:
        """Let nobody else count in a month until the transaction ends, and return what it took in.

        What was counted in earlier months is forgotten with the first event of a new one.
        """
        insert = MonthlyIntakeRow.insert(organization_id=organization_id, month=month, event_count=0)
        began = insert.on_conflict_ignore().returning(MonthlyIntakeRow.month).execute()
        if list(began):
            CountedEventRow.delete().where(
                (CountedEventRow.organization_id == organization_id) & (CountedEventRow.month < month)
            ).execute()
        query: peewee.ModelSelect[Any] = MonthlyIntakeRow.select(MonthlyIntakeRow.event_count).where(
            _month(organization_id, month)
        )
        found: Any = self._database.locked(query).tuples().first()
        return int(found[0])

    def claim(self, events: Sequence[Event], *, month: str) -> int:
        """Remember events as counted, and return how many of them are new."""
        rows = [(event.organization_id, event.source, event.event_id, month) for event in events]
        return len(self._batch.insert_new(CountedEventRow, rows, returning=("source", "event_id")))

    def save(self, organization_id: str, *, month: str, used: int) -> None:
        """Write what a month took in; it is locked."""
        MonthlyIntakeRow.update(event_count=used).where(_month(organization_id, month)).execute()


def _month(organization_id: str, month: str) -> peewee.Expression:
    return (MonthlyIntakeRow.organization_id == organization_id) & (MonthlyIntakeRow.month == month)
