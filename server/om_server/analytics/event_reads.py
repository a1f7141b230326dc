"""The reads of settled events as fixed statements: one for each set of conditions that anybody asks with."""

from __future__ import annotations

import functools
import operator
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

import peewee

from om_server.analytics.event_row import EVENT_COLUMNS, LINE_COLUMNS, Identity, marked
from om_server.analytics.settled import SettledState
from om_server.analytics.table import EventRow, LineRow
from om_server.storage.statement import Row, Statement, Statements, Value, among, given

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from om_server.analytics.query import EventFilter
    from om_server.core.page import Cursor
    from om_server.storage.database import Database

#: A condition that compares with nothing.
UNRATED = "unrated"
#: Events without lines match too.
_LINELESS = "lineless"
_TAG = "tag_"
_LINE_FIELDS = ("provider", "model")
_CURSOR = ("after_time", "after_id", "after_source")

_COMPARED: Mapping[str, Any] = {
    "start_time": EventRow.event_time >= given("start_time"),
    "end_time": EventRow.event_time < given("end_time"),
    "sandbox": EventRow.sandbox == given("sandbox"),
    "state": EventRow.state == given("state"),
    # Written out, because SQLite does not look into a parameter to see that the partial index fits.
    UNRATED: EventRow.state == peewee.SQL(f"'{SettledState.UNRATED}'"),
}


class Order(Enum):
    """In which order events are read; a cursor names the place behind which to go on."""

    OLDEST = "oldest"
    NEWEST = "newest"
    SETTLED = "settled"
    #: Of locks, so that nobody waits for one another.
    IDENTITY = "identity"


# Ids are unique only within a source.
_BY_TIME = (EventRow.event_time, EventRow.event_id, EventRow.source)
_COLUMNS: Mapping[Order, tuple[peewee.Field, ...]] = {
    Order.OLDEST: _BY_TIME,
    Order.NEWEST: _BY_TIME,
    Order.SETTLED: (EventRow.settle_time, EventRow.event_id, EventRow.source),
    Order.IDENTITY: (EventRow.source, EventRow.event_id),
}


@dataclass(frozen=True, slots=True)
class Reading:
    """Which events to read, by the names of conditions with what they compare with, and how."""

    conditions: Mapping[str, Value]
    order: Order
    limit: int = 2**63 - 1
    skip: int = 0
    #: Until the transaction ends nobody else changes them.
    locked: bool = False


@dataclass(frozen=True, slots=True)
class _Shape:
    """What the text of a statement depends on."""

    names: frozenset[str]
    order: Order
    locked: bool


class EventReads:
    """Events of one organization and their lines, as rows with every column."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._pages = Statements(database, self._page)
        self._counts = Statements(database, self._count)
        lines: Any = LineRow.select(*LINE_COLUMNS).where(
            LineRow.organization_id == given("organization_id"),
            among(database, LineRow.source, "source"),
            among(database, LineRow.event_id, "event_id"),
        )
        self._lines = Statement(database, lines.order_by(LineRow.position))
        waiting: Any = EventRow.select(EventRow.organization_id).where(_COMPARED[UNRATED]).distinct()
        self._waiting = Statement(database, waiting)

    def events(self, organization_id: str, asked: Reading) -> list[Row]:
        """Return the events that match."""
        statement = self._pages.of(_Shape(frozenset(asked.conditions), asked.order, asked.locked))
        return statement.rows(
            organization_id=organization_id, limit=asked.limit, skip=asked.skip, **_compared(asked.conditions)
        )

    def count(self, organization_id: str, conditions: Mapping[str, Value]) -> int:
        """Count the events that match."""
        statement = self._counts.of(frozenset(conditions))
        row = statement.row(organization_id=organization_id, **_compared(conditions))
        return int(row[0]) if row else 0

    def lines(self, organization_id: str, identities: Collection[Identity]) -> list[Row]:
        """Return the lines of these events, by position, and maybe of others: as `named` says."""
        if not identities:
            return []
        return self._lines.rows(organization_id=organization_id, **named(identities))

    def unrated_organizations(self) -> list[str]:
        """Return who has events that wait for a price."""
        return [organization_id for (organization_id,) in self._waiting.rows()]

    def _page(self, shape: _Shape) -> peewee.Node:
        columns = _COLUMNS[shape.order]
        query: Any = EventRow.select(*EVENT_COLUMNS).where(*self._where(shape.names - {*_CURSOR}))
        if _CURSOR[0] in shape.names:
            place, cursor = peewee.Tuple(*columns), peewee.Tuple(*map(given, _CURSOR))
            query = query.where(cursor > place if shape.order is Order.NEWEST else cursor < place)
        ordered = [column.desc() for column in columns] if shape.order is Order.NEWEST else columns
        query = query.order_by(*ordered).limit(given("limit")).offset(given("skip"))
        return self._database.locked(query) if shape.locked else query

    def _count(self, names: frozenset[str]) -> peewee.Node:
        query: Any = EventRow.select(peewee.fn.COUNT(peewee.SQL("*")))
        return query.where(*self._where(names))  # type: ignore[no-any-return]  # Peewee's own.

    def _where(self, names: frozenset[str]) -> list[Any]:
        """Name by name in one order, so that one set of conditions has one text."""
        tags = [_has_tag(name) for name in sorted(names) if name.startswith(_TAG)]
        fields = [name for name in _LINE_FIELDS if name in names]
        found = [EventRow.organization_id == given("organization_id")]
        for name in sorted(names - {*_LINE_FIELDS, _LINELESS}):
            if name in _COMPARED:
                found.append(_COMPARED[name])
            elif not name.startswith(_TAG):
                found.append(among(self._database, getattr(EventRow, name), name))
        found += [functools.reduce(operator.or_, tags)] if tags else []
        return found + ([self._has_line(fields, lineless=_LINELESS in names)] if fields else [])

    def _has_line(self, fields: list[str], *, lineless: bool) -> Any:  # noqa: ANN401 - peewee's expressions
        """A line that matches; an event without lines has an empty provider and model."""
        lines: Any = LineRow.select(peewee.SQL("1")).where(
            LineRow.organization_id == EventRow.organization_id,
            LineRow.source == EventRow.source,
            LineRow.event_id == EventRow.event_id,
        )
        matching = (among(self._database, getattr(LineRow, name), name) for name in fields)
        found = peewee.fn.EXISTS(lines.where(*matching))
        return found | ~peewee.fn.EXISTS(lines) if lineless else found


def matching(wanted: EventFilter) -> dict[str, Value]:
    """Return the conditions of a filter. The sandbox is left out only if the filter says it of itself."""
    fields = dict(wanted.of_lines())
    found: dict[str, Value] = {**dict(wanted.of_events()), **fields}
    if wanted.start_time is not None:
        found["start_time"] = wanted.start_time
    if wanted.end_time is not None:
        found["end_time"] = wanted.end_time
    if wanted.sandbox is not None:
        found["sandbox"] = wanted.sandbox
    if fields and all("" in values for values in fields.values()):
        found[_LINELESS] = None
    return found | {f"{_TAG}{index}": marked(tag) for index, tag in enumerate(wanted.tags)}


def named(identities: Collection[Identity]) -> dict[str, Value]:
    """Return the conditions of these events, and of any with the source of one and the id of another.

    The pairs are told apart by who asks, because the databases do not agree on the SQL for a list of pairs.
    """
    return {
        "source": {source for source, _ in identities},
        "event_id": {event_id for _, event_id in identities},
    }


def behind(after: Cursor | None) -> dict[str, Value]:
    """Return the condition of being behind a place in the order that is asked for; none for none."""
    return dict(zip(_CURSOR, after, strict=True)) if after is not None else {}


def _compared(conditions: Mapping[str, Value]) -> dict[str, Value]:
    return {name: value for name, value in conditions.items() if name not in (UNRATED, _LINELESS)}


def _has_tag(name: str) -> Any:  # noqa: ANN401 - as above
    # Both databases can replace text exactly; their LIKEs differ in case and in wildcards.
    return peewee.fn.REPLACE(EventRow.tags, given(name), "") != EventRow.tags
