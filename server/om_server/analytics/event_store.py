"""Settled events in the database: how they are written, found, and read back."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from om_server.analytics.event_reads import UNRATED, EventReads, Order, Reading, behind, matching, named
from om_server.analytics.event_row import (
    EVENT_RATING,
    LINE_RATING,
    Identity,
    event_rating,
    event_to_row,
    identity_of,
    line_rating,
    line_to_row,
    with_lines,
)
from om_server.analytics.query import EventFilter
from om_server.analytics.settled import SettledEvent, SettledState
from om_server.analytics.table import EventRow, LineRow
from om_server.core.page import Cursor
from om_server.storage.batch import BatchWriter
from om_server.storage.database import Database
from om_server.storage.statement import Value

_SCAN_SIZE = 1000

_UNRATED: dict[str, Value] = {UNRATED: None}


class EventStore:
    """Settled events of all organizations; the caller opens the transaction.

    What it gives back lacks the payload hash, which is kept with the identity, and names as the
    event's wallet the one that settlement charged.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._batch = BatchWriter(database)
        self._reads = EventReads(database)

    def add(self, batch: Sequence[SettledEvent]) -> None:
        """Insert events and their lines. An identity that is there is a bug of the caller's."""
        self._batch.insert(EventRow, [event_to_row(settled) for settled in batch])
        self._add_lines(batch)

    def revise(self, before: Sequence[SettledEvent], after: Sequence[SettledEvent]) -> None:
        """Write another rating of stored events. RowsContended if one is not in the state before."""
        self._batch.update(
            EventRow,
            EVENT_RATING,
            rows=[
                (*event_rating(new), *new.event.identity, old.state.value)
                for old, new in zip(before, after, strict=True)
            ],
            guard="state",
        )
        self._batch.update(
            LineRow,
            LINE_RATING,
            rows=[
                (*line_rating(new, position), *new.event.identity, position)
                for new in after
                for position in range(len(new.lines))
            ],
        )

    def replace(self, before: Sequence[SettledEvent], after: Sequence[SettledEvent]) -> None:
        """Write another end of stored events, with its lines. RowsContended as in `revise`."""
        self._batch.update(
            EventRow,
            ("outcome", *EVENT_RATING),
            rows=[
                (new.event.outcome.value, *event_rating(new), *new.event.identity, old.state.value)
                for old, new in zip(before, after, strict=True)
            ],
            guard="state",
        )
        for organization_id, source, event_id in (old.event.identity for old in before):
            LineRow.delete().where(
                (LineRow.organization_id == organization_id)
                & (LineRow.source == source)
                & (LineRow.event_id == event_id)
            ).execute()
        self._add_lines(after)

    def find(self, organization_id: str, *, source: str, event_id: str) -> SettledEvent | None:
        """Return the event with this identity."""
        found = self._read(organization_id, Reading(named([(source, event_id)]), Order.IDENTITY))
        return found[0] if found else None

    def count(self, organization_id: str, wanted: EventFilter) -> int:
        """Count the events that match, those of the sandbox as well."""
        return self._reads.count(organization_id, matching(wanted))

    def count_unrated(self, organization_id: str) -> int:
        """Count the events that wait for a price."""
        return self._reads.count(organization_id, _UNRATED)

    def unrated_organizations(self) -> list[str]:
        """Return who has events that wait for a price."""
        return sorted(self._reads.unrated_organizations())

    def page_unrated(self, organization_id: str, *, after: Cursor | None, limit: int) -> list[SettledEvent]:
        """Return events that wait for a price behind a cursor of `cursor_of`, oldest first."""
        return self._read(organization_id, Reading(_UNRATED | behind(after), Order.OLDEST, limit))

    def lock_unrated(self, organization_id: str, identities: Collection[Identity]) -> list[SettledEvent]:
        """Lock those of these events, by (source, id), that still wait for a price; before any wallet."""
        return self._locked(organization_id, identities, _UNRATED)

    def lock(self, organization_id: str, identities: Collection[Identity]) -> list[SettledEvent]:
        """Lock these events, by (source, id), whatever their state; before any wallet."""
        return self._locked(organization_id, identities, {})

    def _locked(
        self, organization_id: str, identities: Collection[Identity], conditions: dict[str, Value]
    ) -> list[SettledEvent]:
        asked = Reading(named(identities) | conditions, Order.IDENTITY, locked=True)
        found = self._read(organization_id, asked)
        return [each for each in found if (each.event.source, each.event.event_id) in identities]

    def page_rated(
        self, organization_id: str, wanted: EventFilter, *, after: Cursor | None, limit: int, lock: bool
    ) -> list[SettledEvent]:
        """Return events that have a charge behind a cursor of `cursor_of`, oldest first; locked if asked.

        Not those of the sandbox, or of which nothing was to be rated.
        """
        asked = matching(wanted) | {"state": SettledState.RATED.value} | behind(after)
        return self._read(organization_id, Reading(asked, Order.OLDEST, limit, locked=lock))

    def page(
        self, organization_id: str, wanted: EventFilter, *, after: Cursor | None, skip: int, limit: int
    ) -> list[SettledEvent]:
        """Return events behind a cursor of `cursor_of`, newest first, those of the sandbox as well."""
        asked = matching(wanted) | behind(after)
        return self._read(organization_id, Reading(asked, Order.NEWEST, limit, skip))

    def export_page(
        self, organization_id: str, wanted: EventFilter, *, after: Cursor | None, limit: int
    ) -> list[SettledEvent]:
        """Return events behind a cursor of `cursor_of`, oldest first; the sandbox's only if asked for."""
        asked = matching(wanted) | behind(after)
        if wanted.sandbox is None and not wanted.include_sandbox:
            asked["sandbox"] = False
        return self._read(organization_id, Reading(asked, Order.OLDEST, limit))

    def settled_page(
        self, organization_id: str, settle_times: Sequence[int], *, after: Cursor | None, limit: int
    ) -> list[SettledEvent]:
        """Return events settled at these times behind a cursor of `settled_cursor_of`, in its order."""
        asked = {"settle_time": settle_times} | behind(after)
        return self._read(organization_id, Reading(asked, Order.SETTLED, limit))

    def scan(self, organization_id: str, wanted: EventFilter) -> Iterator[SettledEvent]:
        """Yield all events that match, newest first, with a bounded number in memory."""
        after: Cursor | None = None
        while batch := self.page(organization_id, wanted, after=after, skip=0, limit=_SCAN_SIZE):
            yield from batch
            after = cursor_of(batch[-1])

    def _add_lines(self, batch: Sequence[SettledEvent]) -> None:
        self._batch.insert(
            LineRow,
            [line_to_row(settled, position) for settled in batch for position in range(len(settled.lines))],
        )

    def _read(self, organization_id: str, asked: Reading) -> list[SettledEvent]:
        rows = self._reads.events(organization_id, asked)
        identities = [identity_of(row) for row in rows]
        return with_lines(rows, self._reads.lines(organization_id, identities))


def cursor_of(settled: SettledEvent) -> Cursor:
    """Return an event's place in the order of pages."""
    event = settled.event
    return event.event_time, event.event_id, event.source


def cursor_behind(page: Sequence[SettledEvent], limit: int) -> Cursor | None:
    """Return where to go on behind a page; None where it was the last, being shorter than it might."""
    return cursor_of(page[-1]) if len(page) == limit else None


def settled_cursor_of(settled: SettledEvent) -> Cursor:
    """Return an event's place in the order of settlement."""
    return settled.settle_time, settled.event.event_id, settled.event.source
