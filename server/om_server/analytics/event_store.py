"""Settled events in the database: how they are written, found, and read back."""

from __future__ import annotations

import functools
import operator
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import peewee

from om_server.analytics.event_row import (
    EVENT_RATING,
    LINE_RATING,
    event_from_row,
    event_rating,
    event_to_row,
    line_from_row,
    line_rating,
    line_to_row,
    marked,
)
from om_server.analytics.query import EventFilter
from om_server.analytics.settled import SettledEvent, SettledLine, SettledState
from om_server.analytics.table import EventRow, LineRow
from om_server.core.page import Cursor
from om_server.storage.batch import BatchWriter
from om_server.storage.database import Database

_SCAN_SIZE = 1000


class EventStore:
    """Settled events of all organizations; the caller opens the transaction.

    What it gives back lacks the payload hash, which is kept with the identity, and names as the
    event's wallet the one that settlement charged.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._batch = BatchWriter(database)

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
        query = EventRow.select().where(
            (EventRow.organization_id == organization_id)
            & (EventRow.source == source)
            & (EventRow.event_id == event_id)
        )
        return next(iter(self._with_lines(organization_id, query)), None)

    def count(self, organization_id: str, wanted: EventFilter) -> int:
        """Count the events that match, those of the sandbox as well."""
        return EventRow.select().where(*_conditions(organization_id, wanted)).count()

    def count_unrated(self, organization_id: str) -> int:
        """Count the events that wait for a price."""
        return EventRow.select().where((EventRow.organization_id == organization_id) & _UNRATED).count()

    def unrated_organizations(self) -> list[str]:
        """Return who has events that wait for a price."""
        rows = EventRow.select(EventRow.organization_id).where(_UNRATED).distinct()
        return sorted(row.organization_id for row in rows)

    def page_unrated(self, organization_id: str, *, after: Cursor | None, limit: int) -> list[SettledEvent]:
        """Return events that wait for a price behind a cursor of `cursor_of`, oldest first."""
        query = EventRow.select().where((EventRow.organization_id == organization_id) & _UNRATED)
        if after is not None:
            query = query.where(peewee.Tuple(*after) < _POSITION)
        return self._with_lines(organization_id, query.order_by(*_ORDER).limit(limit))

    def lock_unrated(
        self, organization_id: str, identities: Collection[tuple[str, str]]
    ) -> list[SettledEvent]:
        """Lock those of these events, by (source, id), that still wait for a price; before any wallet."""
        return self._locked(organization_id, identities, _UNRATED)

    def lock(self, organization_id: str, identities: Collection[tuple[str, str]]) -> list[SettledEvent]:
        """Lock these events, by (source, id), whatever their state; before any wallet."""
        return self._locked(organization_id, identities)

    def _locked(
        self, organization_id: str, identities: Collection[tuple[str, str]], *conditions: peewee.Expression
    ) -> list[SettledEvent]:
        query = EventRow.select().where(
            (EventRow.organization_id == organization_id)
            & EventRow.source.in_({source for source, _ in identities})
            & EventRow.event_id.in_({event_id for _, event_id in identities}),
            *conditions,
        )
        # The stubs say models, not which.
        locked: Any = self._database.locked(query.order_by(EventRow.source, EventRow.event_id))  # type: ignore[arg-type]
        found = self._with_lines(organization_id, locked)
        return [each for each in found if (each.event.source, each.event.event_id) in identities]

    def page_rated(
        self, organization_id: str, wanted: EventFilter, *, after: Cursor | None, limit: int, lock: bool
    ) -> list[SettledEvent]:
        """Return events that have a charge behind a cursor of `cursor_of`, oldest first; locked if asked.

        Not those of the sandbox, or of which nothing was to be rated.
        """
        query = EventRow.select().where(
            *_conditions(organization_id, wanted), EventRow.state == SettledState.RATED.value
        )
        if after is not None:
            query = query.where(peewee.Tuple(*after) < _POSITION)
        query = query.order_by(*_ORDER).limit(limit)
        # The stubs say models, not which.
        rows: Any = self._database.locked(query) if lock else query  # type: ignore[arg-type]
        return self._with_lines(organization_id, rows)

    def page(
        self, organization_id: str, wanted: EventFilter, *, after: Cursor | None, skip: int, limit: int
    ) -> list[SettledEvent]:
        """Return events behind a cursor of `cursor_of`, newest first, those of the sandbox as well."""
        query = EventRow.select().where(*_conditions(organization_id, wanted))
        if after is not None:
            query = query.where(peewee.Tuple(*after) > _POSITION)
        query = query.order_by(*(field.desc() for field in _ORDER)).limit(limit).offset(skip)
        return self._with_lines(organization_id, query)

    def export_page(
        self, organization_id: str, wanted: EventFilter, *, after: Cursor | None, limit: int
    ) -> list[SettledEvent]:
        """Return events behind a cursor of `cursor_of`, oldest first; the sandbox's only if asked for."""
        query = EventRow.select().where(*_conditions(organization_id, wanted))
        if wanted.sandbox is None and not wanted.include_sandbox:
            query = query.where(~EventRow.sandbox)
        if after is not None:
            query = query.where(peewee.Tuple(*after) < _POSITION)
        return self._with_lines(organization_id, query.order_by(*_ORDER).limit(limit))

    def settled_page(
        self, organization_id: str, settle_times: Sequence[int], *, after: Cursor | None, limit: int
    ) -> list[SettledEvent]:
        """Return events settled at these times behind a cursor of `settled_cursor_of`, in its order."""
        query = EventRow.select().where(
            (EventRow.organization_id == organization_id) & EventRow.settle_time.in_(settle_times)
        )
        if after is not None:
            query = query.where(peewee.Tuple(*after) < peewee.Tuple(*_SETTLED_ORDER))
        return self._with_lines(organization_id, query.order_by(*_SETTLED_ORDER).limit(limit))

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

    def _with_lines(self, organization_id: str, query: peewee.ModelSelect[EventRow]) -> list[SettledEvent]:
        # Named tuples have a model's columns and are made in a third of its time.
        rows: list[EventRow] = list(query.namedtuples())
        lines: dict[tuple[str, str], list[SettledLine]] = {}
        # The two lists may name more than was asked for; the pairs are told apart here, because
        # the databases do not agree on the SQL for a list of pairs.
        found = LineRow.select().where(
            (LineRow.organization_id == organization_id)
            & LineRow.source.in_({row.source for row in rows})
            & LineRow.event_id.in_({row.event_id for row in rows})
        )
        for line in found.order_by(LineRow.position).namedtuples() if rows else ():
            lines.setdefault((line.source, line.event_id), []).append(line_from_row(line))
        return [event_from_row(row, tuple(lines.get((row.source, row.event_id), ()))) for row in rows]


# Written out, because SQLite does not look into a parameter to see that the partial index fits.
_UNRATED = EventRow.state == peewee.SQL(f"'{SettledState.UNRATED}'")
# Ids are unique only within a source.
_ORDER = (EventRow.event_time, EventRow.event_id, EventRow.source)
_POSITION = peewee.Tuple(*_ORDER)
_SETTLED_ORDER = (EventRow.settle_time, EventRow.event_id, EventRow.source)


def cursor_of(settled: SettledEvent) -> Cursor:
    """Return an event's place in the order of pages."""
    event = settled.event
    return event.event_time, event.event_id, event.source


def settled_cursor_of(settled: SettledEvent) -> Cursor:
    """Return an event's place in the order of settlement."""
    return settled.settle_time, settled.event.event_id, settled.event.source


def _conditions(organization_id: str, wanted: EventFilter) -> Iterator[peewee.Node]:
    yield EventRow.organization_id == organization_id
    if wanted.start_time is not None:
        yield EventRow.event_time >= wanted.start_time
    if wanted.end_time is not None:
        yield EventRow.event_time < wanted.end_time
    if wanted.sandbox is not None:
        yield EventRow.sandbox == wanted.sandbox
    for name, values in wanted.of_events():
        yield getattr(EventRow, name).in_(values)
    if wanted.tags:
        yield functools.reduce(operator.or_, [_has_tag(tag) for tag in wanted.tags])
    if any(wanted.of_lines()):
        yield _has_line(wanted)


def _has_line(wanted: EventFilter) -> peewee.Node:
    """A line that matches; an event without lines has an empty provider and model."""
    lines = LineRow.select(peewee.SQL("1")).where(
        (LineRow.organization_id == EventRow.organization_id)
        & (LineRow.source == EventRow.source)
        & (LineRow.event_id == EventRow.event_id)
    )
    fields = list(wanted.of_lines())
    found = peewee.fn.EXISTS(lines.where(*(getattr(LineRow, name).in_(values) for name, values in fields)))
    return found | ~peewee.fn.EXISTS(lines) if all("" in values for _, values in fields) else found


def _has_tag(tag: str) -> peewee.Node:
    # Both databases can replace text exactly; their LIKEs differ in case and in wildcards.
    return peewee.fn.REPLACE(EventRow.tags, marked(tag), "") != EventRow.tags
