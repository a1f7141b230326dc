"""Adds to stored rollups and sums them, exactly, by period and group."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import peewee

from om_server.analytics.period import Cut, Granularity, Period
from om_server.analytics.query import Dimension, GroupKey, GroupSums, UsageQuery
from om_server.analytics.rollup import TAG_ALL, Counters, QuantitySum, RollupDelta, by_day
from om_server.analytics.rollup_span import rollup_span
from om_server.analytics.table import (
    DailyRollupQuantityRow,
    DailyRollupRow,
    RollupQuantityRow,
    RollupRow,
    SeriesRow,
)
from om_server.core.hours import HOURS_OF_DAY, HourRange
from om_server.storage.batch import BatchWriter
from om_server.storage.database import Database, Record

_ADD_COUNTERS = """
ON CONFLICT (organization_id, {time}, tag, series_id) DO UPDATE SET
  event_count = {table}.event_count + excluded.event_count,
  unrated_count = {table}.unrated_count + excluded.unrated_count,
  estimated_count = {table}.estimated_count + excluded.estimated_count,
  unknown_count = {table}.unknown_count + excluded.unknown_count,
  cost = {table}.cost + excluded.cost,
  charge = {table}.charge + excluded.charge
"""
_ADD_QUANTITIES = """
ON CONFLICT (organization_id, {time}, tag, series_id, unit) DO UPDATE SET
  amount = {table}.amount + excluded.amount,
  estimated_amount = {table}.estimated_amount + excluded.estimated_amount
"""
_KEEP = "ON CONFLICT DO NOTHING"

_NO_UNIT = ""

# SQLite's SUM fails above 2^63, PostgreSQL's does not. Halves of 32 bits are put together in Python.
_HALF = 2**32

_Select: TypeAlias = "peewee.ModelSelect[Any] | peewee.ModelCompoundSelectQuery"
_Counters: TypeAlias = type[RollupRow] | type[DailyRollupRow]
_Quantities: TypeAlias = type[RollupQuantityRow] | type[DailyRollupQuantityRow]
_Rollup: TypeAlias = _Counters | _Quantities


@dataclass(frozen=True, slots=True)
class _Grain:
    """Tables of one length of time: its column, and what gives the first hour of a row in SQL."""

    counters: _Counters
    quantities: _Quantities
    column: str
    hour: str


_HOURLY = _Grain(RollupRow, RollupQuantityRow, "hour", "hour")
_DAILY = _Grain(DailyRollupRow, DailyRollupQuantityRow, "day", f"(day * {HOURS_OF_DAY})")


@dataclass(frozen=True, slots=True)
class Question:
    """A query with its range resolved.

    It filters by one tag at most unless tags are the groups: the rows of several tags overlap.
    """

    organization_id: str
    query: UsageQuery
    hours: HourRange
    cut: Cut
    with_quantities: bool


@dataclass(frozen=True, slots=True)
class _Part:
    """What of a question is summed from one grain, and over which of its ranges."""

    question: Question
    grain: _Grain
    ranges: tuple[HourRange, ...]


class RollupStore:
    """Rollups of all organizations; the caller opens the transaction."""

    def __init__(self, database: Database) -> None:
        self._batch = BatchWriter(database)
        # Both the databases that lock rows and those that sum bigints exactly are PostgreSQL.
        self._exact = database.supports_row_locks

    def add(self, delta: RollupDelta) -> None:
        """Add a delta. Rows are locked in the order of their keys, so that settlers never deadlock."""
        self._batch.insert(
            SeriesRow,
            [
                (*key, *series.dimensions)
                for key, series in sorted(delta.series.items(), key=lambda item: item[0])
            ],
            on_conflict=_KEEP,
        )
        for grain, sums in ((_HOURLY, delta), (_DAILY, by_day(delta))):
            self._add(grain, sums)

    def _add(self, grain: _Grain, delta: RollupDelta) -> None:
        counters = sorted(delta.counters.items(), key=lambda item: item[0])
        self._batch.insert(
            grain.counters,
            [
                (
                    *key,
                    row.event_count,
                    row.unrated_count,
                    row.estimated_count,
                    row.unknown_count,
                    row.cost,
                    row.charge,
                )
                for key, row in counters
            ],
            on_conflict=_ADD_COUNTERS.format(time=grain.column, table=_table(grain.counters)),
        )
        quantities = sorted(delta.quantities.items(), key=lambda item: item[0])
        self._batch.insert(
            grain.quantities,
            [(*key, row.amount, row.estimated_amount) for key, row in quantities],
            on_conflict=_ADD_QUANTITIES.format(time=grain.column, table=_table(grain.quantities)),
        )

    def hours_with_usage(self, organization_id: str, hours: HourRange) -> HourRange:
        """Shrink a range to the hours that have rollups; an empty range if none has."""
        found = RollupRow.select().where(
            (RollupRow.organization_id == organization_id) & _within(RollupRow.hour, hours)
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
            if unit != _NO_UNIT:
                units = quantities.setdefault(group, {})
                units[unit] = units.get(unit, QuantitySum()) + _quantity([*map(int, numbers)])
            elif numbers[0] is not None:
                counters[group] = counters.get(group, Counters()) + _counters([*map(int, numbers)])
        return {group: GroupSums(row, quantities.get(group, {})) for group, row in counters.items()}


def statement(question: Question, *, exact: bool) -> _Select:
    """Return what answers a question; `exact` says that the database itself sums beyond 64 bits."""
    span = rollup_span(question.hours, question.cut)
    selects: list[_Select] = []
    for grain, ranges in ((_HOURLY, span.hours), (_DAILY, span.days)):
        if ranges:
            part = _Part(question, grain, ranges)
            selects.append(_select_counters(part, exact=exact))
            if question.with_quantities:
                selects.append(_select_quantities(part, exact=exact))
    return functools.reduce(_union, selects)


def _union(one: _Select, other: _Select) -> _Select:
    return one.union_all(other)


def _select_counters(part: _Part, *, exact: bool) -> peewee.ModelSelect[Any]:
    row = part.grain.counters
    counts = (row.event_count, row.unrated_count, row.estimated_count, row.unknown_count)
    numbers = [
        *map(peewee.fn.SUM, counts),
        *_halves(row.cost, exact=exact),
        *_halves(row.charge, exact=exact),
    ]
    no_unit = peewee.SQL(f"'{_NO_UNIT}'").alias("unit")
    return _selected(row, part, numbers=[no_unit, *numbers])


def _select_quantities(part: _Part, *, exact: bool) -> peewee.ModelSelect[Any]:
    row = part.grain.quantities
    # A union wants as many columns as the counters have.
    numbers = [
        *_halves(row.amount, exact=exact),
        *_halves(row.estimated_amount, exact=exact),
        *([peewee.SQL("0")] * 4),
    ]
    return _selected(row, part, numbers=[row.unit, *numbers]).group_by_extend(row.unit)


def _selected(row: _Rollup, part: _Part, *, numbers: Sequence[peewee.Node]) -> peewee.ModelSelect[Any]:
    question = part.question
    groups = _groups(row, question)
    period = peewee.SQL(_number(question.cut, part.grain.hour)).alias("period")
    query: peewee.ModelSelect[Any] = row.select(period, *groups, *numbers).where(*_conditions(row, part))
    return _joined(query, question).group_by(*_grouped_period(question.cut), *groups)


def _counters(numbers: list[int]) -> Counters:
    events, unrated, estimated, unknown, cost, cost_low, charge, charge_low = numbers
    return Counters(events, unrated, estimated, unknown, cost * _HALF + cost_low, charge * _HALF + charge_low)


def _quantity(numbers: list[int]) -> QuantitySum:
    high, low, estimated_high, estimated_low, *_ = numbers
    return QuantitySum(high * _HALF + low, estimated_high * _HALF + estimated_low)


def _halves(field: peewee.Field, *, exact: bool) -> list[peewee.Node]:
    if exact:
        return [peewee.SQL("0"), peewee.fn.SUM(field)]
    # Peewee writes LIKE for %, so the remainder is what the division leaves.
    return [peewee.fn.SUM(field / _HALF), peewee.fn.SUM(field - field / _HALF * _HALF)]


def _groups(row: _Rollup, question: Question) -> list[peewee.Field]:
    return [
        row.tag if dimension is Dimension.TAG else getattr(SeriesRow, dimension.value)
        for dimension in question.query.group_by
    ]


def _joined(query: peewee.ModelSelect[Any], question: Question) -> peewee.ModelSelect[Any]:
    """Join the series where they are grouped by; looking one up costs as much as the row itself."""
    if question.query.by_tag or not question.query.group_by:
        return query
    row = query.model
    same = (SeriesRow.organization_id == row.organization_id) & (SeriesRow.series_id == row.series_id)
    return query.join(SeriesRow, on=same)


def _grouped_period(cut: Cut) -> list[peewee.Node]:
    # SQLite sorts all rows even for a group that is a constant.
    return [] if cut.granularity is Granularity.TOTAL else [peewee.SQL("period")]


def _number(cut: Cut, hour: str) -> str:
    """`Cut.number` in SQL, of an hour in SQL."""
    if cut.granularity is Granularity.TOTAL:
        return "0"
    if cut.granularity is Granularity.HOUR:
        return hour
    return _bisect(cut.periods, hour, number=0)


def _bisect(periods: Sequence[Period], hour: str, *, number: int) -> str:
    """Find a period by halving: a day among 400 takes nine comparisons, not 400."""
    if len(periods) == 1:
        return str(number)
    middle = len(periods) // 2
    before = _bisect(periods[:middle], hour, number=number)
    after = _bisect(periods[middle:], hour, number=number + middle)
    return f"CASE WHEN {hour} < {periods[middle].first_hour} THEN {before} ELSE {after} END"


def _conditions(row: _Rollup, part: _Part) -> Iterator[peewee.Node]:
    question, wanted = part.question, part.question.query.filter
    time = getattr(row, part.grain.column)
    yield row.organization_id == question.organization_id
    yield functools.reduce(operator.or_, [_within(time, span) for span in part.ranges])
    if not question.query.by_tag:
        yield row.tag == (wanted.tags[0] if wanted.tags else TAG_ALL)
    elif wanted.tags:
        yield row.tag.in_(wanted.tags)
    else:
        yield row.tag != TAG_ALL
    series = SeriesRow.select(SeriesRow.series_id).where(
        SeriesRow.organization_id == question.organization_id
    )
    fields = (*wanted.of_events(), *wanted.of_lines())
    matching = [getattr(SeriesRow, name).in_(values) for name, values in fields]
    if matching:
        matching += [] if wanted.include_sandbox else [~SeriesRow.sandbox]
        yield row.series_id.in_(series.where(*matching))
    elif not wanted.include_sandbox:
        yield row.series_id.not_in(series.where(SeriesRow.sandbox))


def _within(time: peewee.Field, span: HourRange) -> peewee.Node:
    return (time >= span.first) & (time < span.end)


def _table(model: type[Record]) -> str:
    name: str = model._meta.table_name  # noqa: SLF001 - peewee's documented way to a model's table
    return name
