"""Adds to stored rollups and sums them, exactly, by period and group."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import peewee

from om_server.analytics.period import Cut, Granularity, Period
from om_server.analytics.query import Dimension, GroupKey, GroupSums, UsageQuery
from om_server.analytics.rollup import TAG_ALL, Counters, QuantitySum, RollupDelta
from om_server.analytics.table import RollupQuantityRow, RollupRow, SeriesRow
from om_server.core.hours import HourRange
from om_server.storage.batch import BatchWriter
from om_server.storage.database import Database

_ADD_COUNTERS = """
ON CONFLICT (organization_id, hour, tag, series_id) DO UPDATE SET
  event_count = rollups.event_count + excluded.event_count,
  unrated_count = rollups.unrated_count + excluded.unrated_count,
  estimated_count = rollups.estimated_count + excluded.estimated_count,
  unknown_count = rollups.unknown_count + excluded.unknown_count,
  cost = rollups.cost + excluded.cost,
  charge = rollups.charge + excluded.charge
"""
_ADD_QUANTITIES = """
ON CONFLICT (organization_id, hour, tag, series_id, unit) DO UPDATE SET
  amount = rollup_quantities.amount + excluded.amount,
  estimated_amount = rollup_quantities.estimated_amount + excluded.estimated_amount
"""
_KEEP = "ON CONFLICT DO NOTHING"

_NO_UNIT = ""

# SQLite's SUM fails above 2^63. Halves of 32 bits are summed apart and put together in Python.
_HALF = 2**32

_Select: TypeAlias = "peewee.ModelSelect[RollupRow] | peewee.ModelCompoundSelectQuery"
_Row = TypeVar("_Row", RollupRow, RollupQuantityRow)
_Rollup: TypeAlias = type[RollupRow] | type[RollupQuantityRow]


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


class RollupStore:
    """Rollups of all organizations; the caller opens the transaction."""

    def __init__(self, database: Database) -> None:
        self._batch = BatchWriter(database)

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
        counters = sorted(delta.counters.items(), key=lambda item: item[0])
        self._batch.insert(
            RollupRow,
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
            on_conflict=_ADD_COUNTERS,
        )
        quantities = sorted(delta.quantities.items(), key=lambda item: item[0])
        self._batch.insert(
            RollupQuantityRow,
            [(*key, row.amount, row.estimated_amount) for key, row in quantities],
            on_conflict=_ADD_QUANTITIES,
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
        statement: _Select = _select_counters(question)
        if question.with_quantities:
            statement = statement.union_all(_select_quantities(question))
        counters: dict[GroupKey, Counters] = {}
        quantities: dict[GroupKey, dict[str, QuantitySum]] = {}
        width = len(question.query.group_by)
        for period, *rest in statement.tuples().execute():
            group = (int(period), tuple("" if value is None else str(value) for value in rest[:width]))
            unit, *numbers = rest[width:]
            if unit != _NO_UNIT:
                quantities.setdefault(group, {})[unit] = _quantity([*map(int, numbers)])
            elif numbers[0] is not None:
                counters[group] = _counters([*map(int, numbers)])
        return {group: GroupSums(row, quantities.get(group, {})) for group, row in counters.items()}


def _select_counters(question: Question) -> peewee.ModelSelect[RollupRow]:
    row = RollupRow
    counts = (row.event_count, row.unrated_count, row.estimated_count, row.unknown_count)
    numbers = [*map(peewee.fn.SUM, counts), *_halves(row.cost), *_halves(row.charge)]
    groups = _groups(row, question)
    no_unit = peewee.SQL(f"'{_NO_UNIT}'").alias("unit")
    query = row.select(_period(question.cut), *groups, no_unit, *numbers).where(*_conditions(row, question))
    return _joined(query, question).group_by(*_grouped_period(question.cut), *groups)


def _select_quantities(question: Question) -> peewee.ModelSelect[RollupQuantityRow]:
    row = RollupQuantityRow
    # A union wants as many columns as the counters have.
    numbers = [*_halves(row.amount), *_halves(row.estimated_amount), *([peewee.SQL("0")] * 4)]
    groups = _groups(row, question)
    query = row.select(_period(question.cut), *groups, row.unit, *numbers).where(*_conditions(row, question))
    return _joined(query, question).group_by(*_grouped_period(question.cut), *groups, row.unit)


def _counters(numbers: list[int]) -> Counters:
    events, unrated, estimated, unknown, cost, cost_low, charge, charge_low = numbers
    return Counters(events, unrated, estimated, unknown, cost * _HALF + cost_low, charge * _HALF + charge_low)


def _quantity(numbers: list[int]) -> QuantitySum:
    high, low, estimated_high, estimated_low, *_ = numbers
    return QuantitySum(high * _HALF + low, estimated_high * _HALF + estimated_low)


def _halves(field: peewee.Field) -> list[peewee.Function]:
    # Peewee writes LIKE for %, so the remainder is what the division leaves.
    return [peewee.fn.SUM(field / _HALF), peewee.fn.SUM(field - field / _HALF * _HALF)]


def _groups(row: _Rollup, question: Question) -> list[peewee.Field]:
    return [
        row.tag if dimension is Dimension.TAG else getattr(SeriesRow, dimension.value)
        for dimension in question.query.group_by
    ]


def _joined(query: peewee.ModelSelect[_Row], question: Question) -> peewee.ModelSelect[_Row]:
    """Join the series where they are grouped by; looking one up costs as much as the row itself."""
    if question.query.by_tag or not question.query.group_by:
        return query
    row = query.model
    same = (SeriesRow.organization_id == row.organization_id) & (SeriesRow.series_id == row.series_id)
    return query.join(SeriesRow, on=same)


def _period(cut: Cut) -> peewee.Node:
    """`Cut.number` in SQL, under the name `period`."""
    return peewee.SQL(_number(cut)).alias("period")


def _grouped_period(cut: Cut) -> list[peewee.Node]:
    # SQLite sorts all rows even for a group that is a constant.
    return [] if cut.granularity is Granularity.TOTAL else [peewee.SQL("period")]


def _number(cut: Cut) -> str:
    if cut.granularity is Granularity.TOTAL:
        return "0"
    if cut.granularity is Granularity.HOUR:
        return "hour"
    return _bisect(cut.periods, number=0)


def _bisect(periods: Sequence[Period], *, number: int) -> str:
    """Find a period by halving: a day among 400 takes nine comparisons, not 400."""
    if len(periods) == 1:
        return str(number)
    middle = len(periods) // 2
    before = _bisect(periods[:middle], number=number)
    after = _bisect(periods[middle:], number=number + middle)
    return f"CASE WHEN hour < {periods[middle].first_hour} THEN {before} ELSE {after} END"


def _conditions(row: _Rollup, question: Question) -> Iterator[peewee.Node]:
    wanted = question.query.filter
    yield row.organization_id == question.organization_id
    yield _within(row.hour, question.hours)
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


def _within(hour: peewee.Field, hours: HourRange) -> peewee.Node:
    return (hour >= hours.first) & (hour < hours.end)
