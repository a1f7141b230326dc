"""Adds to stored rollups and sums them, exactly, by period and group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import peewee

from om_server.analytics.counters import Counters, QuantitySum, accumulate
from om_server.analytics.facet import Facet, narrowed
from om_server.analytics.grain import (
    AMOUNTS,
    DAYS,
    FACET_DAYS,
    FACET_HOURS,
    HALF,
    HOURS,
    PROVIDER_DAYS,
    Grain,
)
from om_server.analytics.query import GroupKey, GroupSums
from om_server.analytics.rollup import RollupDelta, by_day
from om_server.analytics.rollup_statement import NO_UNIT, Question, statement
from om_server.analytics.rollup_table import RollupRow
from om_server.core.hours import HourRange
from om_server.storage.batch import BatchWriter, Row

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from om_server.storage.database import Database, Record

_KEEP = "ON CONFLICT DO NOTHING"


@dataclass(frozen=True, slots=True)
class _Addend:
    """What to add to the tables of a grain: sums of a facet, or without it of whole series."""

    delta: RollupDelta
    facet: Facet | None = None

    @property
    def daily(self) -> _Addend:
        """The same by the day."""
        return _Addend(by_day(self.delta), self.facet)

    def series_rows(self) -> Iterator[Row]:
        places = self._places
        for (organization_id, series_id), series in self.delta.series.items():
            place = () if places is None else (places[organization_id, series_id],)
            yield (organization_id, *place, series_id, *series.dimensions)

    def counter_rows(self) -> Iterator[Row]:
        places = self._places
        for key, row in self.delta.counters.items():
            if places is None:
                yield (*key, *row.numbers)
            else:
                organization_id, time, tag, series_id = key
                place = organization_id, places[organization_id, series_id], time, tag, series_id
                *counts, cost, charge = row.numbers
                yield (*place, *counts, *divmod(cost, HALF), *divmod(charge, HALF))

    def quantity_rows(self) -> Iterator[Row]:
        places = self._places
        for key, row in self.delta.quantities.items():
            if places is None:
                yield (*key, row.amount, row.estimated_amount)
            else:
                organization_id, time, tag, series_id, unit = key
                place = organization_id, places[organization_id, series_id], time, tag, series_id
                yield (*place, unit, row.amount, row.estimated_amount)

    @property
    def _places(self) -> Mapping[tuple[str, str], str] | None:
        """Under which name of the facet each series is kept; it stands behind the organization in a key."""
        facet = self.facet
        if facet is None:
            return None
        return {key: facet.place(series.provider) for key, series in self.delta.series.items()}


class RollupStore:
    """Rollups of all organizations; the caller opens the transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._batch = BatchWriter(database)
        # Both the databases that lock rows and those that sum bigints exactly are PostgreSQL.
        self._exact = database.supports_row_locks

    def add(self, delta: RollupDelta) -> None:
        """Add a delta. Rows are locked in the order of their keys, so that settlers never deadlock."""
        whole, product = _Addend(delta), _Addend(narrowed(delta, Facet.PRODUCT), Facet.PRODUCT)
        # The whole is the sum of its products, of which there are far fewer than series; so with consumers.
        total = _Addend(narrowed(product.delta, Facet.TOTAL), Facet.TOTAL)
        days = whole.daily
        of_provider = _Addend(narrowed(days.delta, Facet.PROVIDER_CONSUMER), Facet.PROVIDER_CONSUMER)
        consumer = _Addend(narrowed(of_provider.delta, Facet.CONSUMER), Facet.CONSUMER)
        self._add_series(HOURS, [whole])
        self._add(HOURS, [whole])
        self._add(DAYS, [days])
        # Those by facet come last: they are what every settler of an organization waits for.
        self._add_series(FACET_HOURS, [product, total, consumer, of_provider])
        self._add(FACET_HOURS, [product, total])
        self._add(FACET_DAYS, [product.daily, total.daily, consumer])
        self._add(PROVIDER_DAYS, [of_provider])

    def _add_series(self, grain: Grain, addends: Sequence[_Addend]) -> None:
        rows = [row for addend in addends for row in addend.series_rows()]
        self._batch.insert(grain.series, sorted(rows, key=_series_key), on_conflict=_KEEP)

    def _add(self, grain: Grain, addends: Sequence[_Addend]) -> None:
        # No two rows have one key, so that the numbers behind it never decide.
        counters = sorted(row for addend in addends for row in addend.counter_rows())
        adding = _adding(grain.counters, grain.key_columns, numbers=grain.number_columns)
        self._batch.insert(grain.counters, counters, on_conflict=adding)
        if grain.quantities is None:
            return
        quantities = sorted(row for addend in addends for row in addend.quantity_rows())
        adding = _adding(grain.quantities, (*grain.key_columns, "unit"), numbers=AMOUNTS)
        self._batch.insert(grain.quantities, quantities, on_conflict=adding)

    def hours_with_usage(self, organization_id: str, hours: HourRange) -> HourRange:
        """Shrink a range to the hours that have rollups; an empty range if none has."""
        hour = RollupRow.hour
        found = RollupRow.select().where(
            RollupRow.organization_id == organization_id, hour >= hours.first, hour < hours.end
        )
        # Two statements, because SQLite finds the ends in the index only where it is asked for one.
        first = found.select(peewee.fn.MIN(hour)).scalar()
        last = found.select(peewee.fn.MAX(hour)).scalar()
        return HourRange(hours.first, hours.first) if first is None else HourRange(first, last + 1)

    def sums(self, question: Question) -> dict[GroupKey, GroupSums]:
        """Sum by period and group, in one statement: counters and quantities are of one moment."""
        counters: dict[GroupKey, Counters] = {}
        quantities: dict[GroupKey, dict[str, QuantitySum]] = {}
        width = len(question.query.group_by)
        for period, *rest in self._database.ask(statement(question, exact=self._exact)):
            values = tuple(["" if value is None else str(value) for value in rest[:width]])
            group = int(period), values
            unit, numbers = rest[width], rest[width + 1 :]
            if unit != NO_UNIT:
                accumulate(quantities.setdefault(group, {}), unit, addend=_quantity(numbers))
            elif numbers[0] is not None:
                accumulate(counters, group, addend=_counters(numbers))
        return {group: GroupSums(row, quantities.get(group, {})) for group, row in counters.items()}


def _series_key(row: Row) -> Row:
    """The first columns of a series' row, which no two share; behind them a version may be missing."""
    return row[:3]


def _counters(numbers: Sequence[Any]) -> Counters:
    events, unrated, estimated, unknown, cost, cost_low, charge, charge_low = map(int, numbers)
    return Counters(events, unrated, estimated, unknown, cost * HALF + cost_low, charge * HALF + charge_low)


def _quantity(numbers: Sequence[Any]) -> QuantitySum:
    high, low, estimated_high, estimated_low, *_ = map(int, numbers)
    return QuantitySum(high * HALF + low, estimated_high * HALF + estimated_low)


def _adding(model: type[Record], key: Sequence[str], *, numbers: Sequence[str]) -> str:
    """How an insert ends that adds to the rows that are there."""
    table = model._meta.table_name  # noqa: SLF001 - peewee's documented way to a model's table
    settings = ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in numbers)
    return f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {settings}"
