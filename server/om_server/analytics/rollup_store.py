"""Adds to stored rollups and sums them, exactly, by period and group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import peewee

from om_server.analytics.facet import Facet, narrowed
from om_server.analytics.facet_table import (
    DailyFacetRollupQuantityRow,
    DailyFacetRollupRow,
    FacetRollupQuantityRow,
    FacetRollupRow,
    FacetSeriesRow,
)
from om_server.analytics.query import GroupKey, GroupSums
from om_server.analytics.rollup import Counters, QuantitySum, RollupDelta, by_day
from om_server.analytics.rollup_statement import HALF, NO_UNIT, Question, statement, within
from om_server.analytics.table import (
    DailyRollupQuantityRow,
    DailyRollupRow,
    RollupQuantityRow,
    RollupRow,
    SeriesRow,
)
from om_server.core.hours import HourRange
from om_server.storage.batch import BatchWriter, Row

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from om_server.storage.database import Database, Record

_ADD_COUNTERS = """
ON CONFLICT (organization_id, {facet}{time}, tag, series_id) DO UPDATE SET
  event_count = {table}.event_count + excluded.event_count,
  unrated_count = {table}.unrated_count + excluded.unrated_count,
  estimated_count = {table}.estimated_count + excluded.estimated_count,
  unknown_count = {table}.unknown_count + excluded.unknown_count,
  {money}
"""
_ADD_MONEY = ("cost", "charge")
_ADD_HALVES = ("cost_high", "cost_low", "charge_high", "charge_low")
_ADD_QUANTITIES = """
ON CONFLICT (organization_id, {facet}{time}, tag, series_id, unit) DO UPDATE SET
  amount = {table}.amount + excluded.amount,
  estimated_amount = {table}.estimated_amount + excluded.estimated_amount
"""
_KEEP = "ON CONFLICT DO NOTHING"


@dataclass(frozen=True, slots=True)
class _Grain:
    """The tables of one length of time, and its column."""

    counters: type[Record]
    quantities: type[Record]
    column: str


_HOURLY = _Grain(RollupRow, RollupQuantityRow, "hour")
_DAILY = _Grain(DailyRollupRow, DailyRollupQuantityRow, "day")
_FACET_HOURLY = _Grain(FacetRollupRow, FacetRollupQuantityRow, "hour")
_FACET_DAILY = _Grain(DailyFacetRollupRow, DailyFacetRollupQuantityRow, "day")


@dataclass(frozen=True, slots=True)
class _Sums:
    """What to add to the tables of a grain: to those of a facet, or without it to those of series."""

    delta: RollupDelta
    facet: Facet | None = None

    @property
    def place(self) -> tuple[str, ...]:
        """The facet's place in a key: behind the organization."""
        return () if self.facet is None else (self.facet.value,)

    @property
    def daily(self) -> _Sums:
        """The same by the day."""
        return _Sums(by_day(self.delta), self.facet)

    def counter_rows(self) -> Iterator[Row]:
        place = self.place
        for (organization_id, hour, tag, series_id), row in self.delta.counters.items():
            *counts, cost, charge = row.numbers
            money = (*divmod(cost, HALF), *divmod(charge, HALF)) if place else (cost, charge)
            yield (organization_id, *place, hour, tag, series_id, *counts, *money)

    def quantity_rows(self) -> Iterator[Row]:
        place = self.place
        for (organization_id, hour, tag, series_id, unit), row in self.delta.quantities.items():
            yield (organization_id, *place, hour, tag, series_id, unit, row.amount, row.estimated_amount)


class RollupStore:
    """Rollups of all organizations; the caller opens the transaction."""

    def __init__(self, database: Database) -> None:
        self._batch = BatchWriter(database)
        # Both the databases that lock rows and those that sum bigints exactly are PostgreSQL.
        self._exact = database.supports_row_locks

    def add(self, delta: RollupDelta) -> None:
        """Add a delta. Rows are locked in the order of their keys, so that settlers never deadlock."""
        daily = by_day(delta)
        self._add_series(SeriesRow, (_Sums(delta),))
        self._add(_HOURLY, (_Sums(delta),))
        self._add(_DAILY, (_Sums(daily),))
        # Those by facet come last: they are what every settler of an organization waits for.
        product = _Sums(narrowed(delta, Facet.PRODUCT), Facet.PRODUCT)
        # The whole is the sum of its products, of which there are far fewer than series.
        total = _Sums(narrowed(product.delta, Facet.TOTAL), Facet.TOTAL)
        consumer = _Sums(narrowed(daily, Facet.CONSUMER), Facet.CONSUMER)
        self._add_series(FacetSeriesRow, (product, total, consumer))
        self._add(_FACET_HOURLY, (product, total))
        self._add(_FACET_DAILY, (product.daily, total.daily, consumer))

    def _add_series(self, model: type[Record], parts: Sequence[_Sums]) -> None:
        rows = [
            (organization_id, *part.place, series_id, *series.dimensions)
            for part in parts
            for (organization_id, series_id), series in part.delta.series.items()
        ]
        self._batch.insert(model, sorted(rows, key=_series_key), on_conflict=_KEEP)

    def _add(self, grain: _Grain, parts: Sequence[_Sums]) -> None:
        names = {"time": grain.column, "facet": "facet, " if parts[0].facet else ""}
        table = _table(grain.counters)
        columns = _ADD_HALVES if parts[0].facet else _ADD_MONEY
        money = ", ".join(f"{column} = {table}.{column} + excluded.{column}" for column in columns)
        # No two rows have one key, so that the numbers behind it never decide.
        counters = sorted(row for part in parts for row in part.counter_rows())
        self._batch.insert(
            grain.counters,
            counters,
            on_conflict=_ADD_COUNTERS.format(table=table, money=money, **names),
        )
        quantities = sorted(row for part in parts for row in part.quantity_rows())
        self._batch.insert(
            grain.quantities,
            quantities,
            on_conflict=_ADD_QUANTITIES.format(table=_table(grain.quantities), **names),
        )

    def hours_with_usage(self, organization_id: str, hours: HourRange) -> HourRange:
        """Shrink a range to the hours that have rollups; an empty range if none has."""
        found = RollupRow.select().where(
            (RollupRow.organization_id == organization_id) & within(RollupRow.hour, hours)
        )
        # Two statements, because SQLite finds the ends in the index only where it is asked for one.
        first = found.select(peewee.fn.MIN(RollupRow.hour)).scalar()
        last = found.select(peewee.fn.MAX(RollupRow.hour)).scalar()
        return HourRange(hours.first, hours.first) if first is None else HourRange(first, last + 1)

    def sums(self, question: Question) -> dict[GroupKey, GroupSums]:
        """Sum by period and group, in one statement: counters and quantities are of one moment."""
        counters: dict[GroupKey, Counters] = {}
        quantities: dict[GroupKey, dict[str, QuantitySum]] = {}
        width = len(question.query.group_by)
        for period, *rest in statement(question, exact=self._exact).tuples().execute():
            group = (int(period), tuple("" if value is None else str(value) for value in rest[:width]))
            unit, *numbers = rest[width:]
            if unit != NO_UNIT:
                units = quantities.setdefault(group, {})
                units[unit] = units.get(unit, QuantitySum()) + _quantity([*map(int, numbers)])
            elif numbers[0] is not None:
                counters[group] = counters.get(group, Counters()) + _counters([*map(int, numbers)])
        return {group: GroupSums(row, quantities.get(group, {})) for group, row in counters.items()}


def _series_key(row: Row) -> Row:
    """The first columns of a series' row, which no two share; behind them a version may be missing."""
    return row[:3]


def _counters(numbers: list[int]) -> Counters:
    events, unrated, estimated, unknown, cost, cost_low, charge, charge_low = numbers
    return Counters(events, unrated, estimated, unknown, cost * HALF + cost_low, charge * HALF + charge_low)


def _quantity(numbers: list[int]) -> QuantitySum:
    high, low, estimated_high, estimated_low, *_ = numbers
    return QuantitySum(high * HALF + low, estimated_high * HALF + estimated_low)


def _table(model: type[Record]) -> str:
    name: str = model._meta.table_name  # noqa: SLF001 - peewee's documented way to a model's table
    return name
