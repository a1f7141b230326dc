"""Settled events in the database: how they are written, found, and read back."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Iterator, Sequence

import orjson
import peewee

from om_server.analytics.query import EventFilter
from om_server.analytics.settled import SettledEvent, SettledLine, SettledState
from om_server.analytics.table import EventRow, LineRow
from om_server.core.event import Attribution, EdgePosition, Event, EventType, Funding, Outcome, UsageLine
from om_server.core.page import Cursor
from om_server.core.usage import Certainty, Quantity, Usage
from om_server.storage.batch import BatchWriter, Row
from om_server.storage.database import Database

_SCAN_SIZE = 1000


class EventStore:
    """Settled events of all organizations; the caller opens the transaction.

    What it gives back lacks the payload hash, which is kept with the identity, and names as the
    event's wallet the one that settlement charged.
    """

    def __init__(self, database: Database) -> None:
        self._batch = BatchWriter(database)

    def add(self, batch: Sequence[SettledEvent]) -> None:
        """Insert events and their lines. An identity that is there is a bug of the caller's."""
        self._batch.insert(EventRow, [_event_to_row(settled) for settled in batch])
        self._batch.insert(
            LineRow,
            [_line_to_row(settled, position) for settled in batch for position in range(len(settled.lines))],
        )

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
        # Written out, because SQLite does not look into a parameter to see that the partial index fits.
        unrated = EventRow.state == peewee.SQL(f"'{SettledState.UNRATED}'")
        return EventRow.select().where((EventRow.organization_id == organization_id) & unrated).count()

    def page(
        self, organization_id: str, wanted: EventFilter, *, after: Cursor | None, skip: int, limit: int
    ) -> list[SettledEvent]:
        """Return events behind a cursor of `cursor_of`, newest first, those of the sandbox as well."""
        query = EventRow.select().where(*_conditions(organization_id, wanted))
        if after is not None:
            query = query.where(peewee.Tuple(*after) > _POSITION)
        query = query.order_by(*(field.desc() for field in _ORDER)).limit(limit).offset(skip)
        return self._with_lines(organization_id, query)

    def scan(self, organization_id: str, wanted: EventFilter) -> Iterator[SettledEvent]:
        """Yield all events that match, newest first, with a bounded number in memory."""
        after: Cursor | None = None
        while batch := self.page(organization_id, wanted, after=after, skip=0, limit=_SCAN_SIZE):
            yield from batch
            after = cursor_of(batch[-1])

    def _with_lines(self, organization_id: str, query: peewee.ModelSelect[EventRow]) -> list[SettledEvent]:
        rows = list(query)
        lines: dict[tuple[str, str], list[SettledLine]] = {}
        # The two lists may name more than was asked for; the pairs are told apart here, because
        # the databases do not agree on the SQL for a list of pairs.
        found = LineRow.select().where(
            (LineRow.organization_id == organization_id)
            & LineRow.source.in_({row.source for row in rows})
            & LineRow.event_id.in_({row.event_id for row in rows})
        )
        for line in found.order_by(LineRow.position) if rows else ():
            lines.setdefault((line.source, line.event_id), []).append(_line_from_row(line))
        return [_event_from_row(row, tuple(lines.get((row.source, row.event_id), ()))) for row in rows]


# Ids are unique only within a source.
_ORDER = (EventRow.event_time, EventRow.event_id, EventRow.source)
_POSITION = peewee.Tuple(*_ORDER)


def cursor_of(settled: SettledEvent) -> Cursor:
    """Return an event's place in the order of pages."""
    event = settled.event
    return event.event_time, event.event_id, event.source


def _conditions(organization_id: str, wanted: EventFilter) -> Iterator[peewee.Node]:
    yield EventRow.organization_id == organization_id
    if wanted.start_time is not None:
        yield EventRow.event_time >= wanted.start_time
    if wanted.end_time is not None:
        yield EventRow.event_time < wanted.end_time
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
    return peewee.fn.REPLACE(EventRow.tags, _marked(tag), "") != EventRow.tags


def _marked(tag: str) -> str:
    """A tag as it stands in the column: JSON between line breaks, which JSON text never contains."""
    return f"\n{_json(tag)}\n"


def _tags_to_text(tags: Iterable[str]) -> str:
    """A JSON array in which every element has line breaks around it, so that SQL can find a whole tag."""
    return f"[{','.join(map(_marked, tags))}]"


def _event_to_row(settled: SettledEvent) -> Row:
    event, attribution, edge = settled.event, settled.event.attribution, settled.event.edge
    return (
        event.organization_id,
        event.source,
        event.event_id,
        event.event_type.value,
        settled.state.value,
        event.outcome.value,
        event.sandbox,
        event.unfunded,
        attribution.team_id,
        event.key_id,
        attribution.customer_id,
        attribution.user_id,
        attribution.feature_id,
        attribution.prompt_key,
        attribution.prompt_version,
        _tags_to_text(attribution.tags),
        event.metadata_json,
        _json(settled.flags),
        settled.unrated_reason,
        settled.cost if settled.rated else None,
        settled.charge if settled.rated else None,
        settled.burn_table_version,
        settled.wallet_id,
        _json([(part.lease_id, part.bound, part.retained) for part in event.funding]),
        settled.receivable,
        edge.edge_id if edge is not None else "",
        edge.edge_epoch if edge is not None else None,
        edge.sequence if edge is not None else None,
        event.http_status,
        event.latency_ms,
        event.idempotency_key,
        event.job_id,
        event.event_time,
        event.receive_time,
        settled.settle_time,
    )


def _line_to_row(settled: SettledEvent, position: int) -> Row:
    share = settled.lines[position]
    line = share.line
    return (
        settled.event.organization_id,
        settled.event.source,
        settled.event.event_id,
        position,
        line.provider.lower(),
        line.model,
        line.requested_model,
        line.tier,
        _json(
            [(quantity.unit, quantity.amount, quantity.certainty.value) for quantity in line.usage.quantities]
        ),
        _json(dict(line.attributes)),
        line.raw_usage,
        share.priced_model,
        share.price_version,
        share.context_threshold,
        share.cost if settled.rated else None,
        share.charge if settled.rated else None,
    )


def _event_from_row(row: EventRow, lines: tuple[SettledLine, ...]) -> SettledEvent:
    event = Event(
        organization_id=row.organization_id,
        source=row.source,
        event_id=row.event_id,
        event_type=EventType(row.event_type),
        event_time=row.event_time,
        receive_time=row.receive_time,
        attribution=Attribution(
            customer_id=row.customer_id,
            user_id=row.user_id,
            team_id=row.team_id,
            feature_id=row.feature_id,
            prompt_key=row.prompt_key,
            prompt_version=row.prompt_version,
            tags=tuple(orjson.loads(row.tags)),
        ),
        lines=tuple(line.line for line in lines),
        outcome=Outcome(row.outcome),
        metadata_json=row.metadata,
        idempotency_key=row.idempotency_key,
        sandbox=row.sandbox,
        key_id=row.key_id,
        edge=_edge_from_row(row),
        funding=tuple(Funding(*part) for part in orjson.loads(row.funding)),
        wallet_id=row.wallet_id,
        unfunded=row.unfunded,
        job_id=row.job_id,
        http_status=row.http_status,
        latency_ms=row.latency_ms,
        flags=tuple(orjson.loads(row.flags)),
    )
    return SettledEvent(
        event=event,
        state=SettledState(row.state),
        cost=row.cost,
        charge=row.charge,
        lines=lines,
        settle_time=row.settle_time,
        wallet_id=row.wallet_id,
        receivable=row.receivable,
        flags=event.flags,
        unrated_reason=row.unrated_reason,
        burn_table_version=row.burn_table_version,
    )


def _edge_from_row(row: EventRow) -> EdgePosition | None:
    if row.edge_epoch is None or row.edge_sequence is None:
        return None
    return EdgePosition(row.edge_id, row.edge_epoch, row.edge_sequence)


def _line_from_row(row: LineRow) -> SettledLine:
    quantities = (
        Quantity(unit, amount, Certainty(certainty))
        for unit, amount, certainty in orjson.loads(row.quantities)
    )
    line = UsageLine(
        provider=row.provider,
        model=row.model,
        usage=Usage(tuple(quantities)),
        requested_model=row.requested_model,
        tier=row.tier,
        attributes=orjson.loads(row.attributes),
        raw_usage=row.raw_usage,
    )
    return SettledLine(
        line=line,
        cost=row.cost,
        charge=row.charge,
        priced_model=row.priced_model,
        price_version=row.price_version,
        context_threshold=row.context_threshold,
    )


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
