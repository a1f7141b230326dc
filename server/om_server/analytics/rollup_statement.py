"""The statement that answers a question about rollups: what is read, and how it is summed and grouped."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import peewee

from om_server.analytics.facet import Facet, facet_of
from om_server.analytics.facet_table import (
    DailyFacetRollupQuantityRow,
    DailyFacetRollupRow,
    FacetRollupQuantityRow,
    FacetRollupRow,
    FacetSeriesRow,
)
from om_server.analytics.period import Cut, Granularity, Period
from om_server.analytics.query import Dimension, UsageQuery
from om_server.analytics.rollup import TAG_ALL
from om_server.analytics.rollup_span import rollup_span
from om_server.analytics.table import (
    DailyRollupQuantityRow,
    DailyRollupRow,
    RollupQuantityRow,
    RollupRow,
    SeriesRow,
)
from om_server.core.hours import HOURS_OF_DAY, HourRange
from om_server.storage.database import Record

#: Stands in the place of a unit where a row has counters.
NO_UNIT = ""

#: SQLite's SUM fails above 2^63, PostgreSQL's does not. Halves of 32 bits are put together in Python.
HALF = 2**32

Statement: TypeAlias = "peewee.ModelSelect[Any] | peewee.ModelCompoundSelectQuery"
_Column: TypeAlias = peewee.ColumnBase
_Table: TypeAlias = type[Record]


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
class _Source:
    """Tables to sum from: of one length of time, and of one facet or, without it, of whole series."""

    facet: Facet | None
    series: Any
    counters: _Table
    quantities: _Table
    column: str
    #: Gives the first hour of a row in SQL.
    hour: str


@dataclass(frozen=True, slots=True)
class _Part:
    """What of a question is summed from one source, and over which of its ranges."""

    question: Question
    source: _Source
    ranges: tuple[HourRange, ...]


def statement(question: Question, *, exact: bool) -> Statement:
    """Return what answers a question; `exact` says that the database itself sums beyond 64 bits.

    A row has the number of the period, the values of the groups, the unit, and then of counters eight
    numbers (four counts, cost and charge in halves) and of a quantity four, in halves, and four of nothing.
    """
    span = rollup_span(question.hours, question.cut)
    facet = _facet(question)
    selects: list[Statement] = []
    for source, ranges in ((_hourly(facet), span.hours), (_daily(facet), span.days)):
        if ranges:
            part = _Part(question, source, ranges)
            selects.append(_select_counters(part, exact=exact))
            if question.with_quantities:
                selects.append(_select_quantities(part, exact=exact))
    return functools.reduce(_union, selects)


def _union(one: Statement, other: Statement) -> Statement:
    return one.union_all(other)


def _facet(question: Question) -> Facet | None:
    query = question.query
    named = {dimension.value for dimension in query.group_by if dimension is not Dimension.TAG}
    named |= {name for name, _ in (*query.filter.of_events(), *query.filter.of_lines())}
    return facet_of(named, by_all_tags=not query.by_tag and not query.filter.tags)


def _hourly(facet: Facet | None) -> _Source:
    if facet in (None, Facet.CONSUMER):
        return _Source(None, SeriesRow, RollupRow, RollupQuantityRow, "hour", "hour")
    return _Source(facet, FacetSeriesRow, FacetRollupRow, FacetRollupQuantityRow, "hour", "hour")


def _daily(facet: Facet | None) -> _Source:
    hour = f"(day * {HOURS_OF_DAY})"
    if facet is None:
        return _Source(None, SeriesRow, DailyRollupRow, DailyRollupQuantityRow, "day", hour)
    return _Source(facet, FacetSeriesRow, DailyFacetRollupRow, DailyFacetRollupQuantityRow, "day", hour)


def _select_counters(part: _Part, *, exact: bool) -> peewee.ModelSelect[Any]:
    row: Any = part.source.counters
    counts = (row.event_count, row.unrated_count, row.estimated_count, row.unknown_count)
    numbers = [
        *map(peewee.fn.SUM, counts),
        *(_money(row, exact=exact) if part.source.facet is None else _facet_money(row)),
    ]
    return _selected(row, part, unit=peewee.SQL(f"'{NO_UNIT}'"), numbers=numbers)


def _money(row: Any, *, exact: bool) -> list[_Column]:  # noqa: ANN401 - a table of rollups
    return [*_halves(row.cost, exact=exact), *_halves(row.charge, exact=exact)]


def _facet_money(row: Any) -> list[_Column]:  # noqa: ANN401 - as above
    """Money of facets is stored in halves."""
    return [*map(peewee.fn.SUM, (row.cost_high, row.cost_low, row.charge_high, row.charge_low))]


def _select_quantities(part: _Part, *, exact: bool) -> peewee.ModelSelect[Any]:
    row: Any = part.source.quantities
    # A union wants as many columns as the counters have.
    numbers = [
        *_halves(row.amount, exact=exact),
        *_halves(row.estimated_amount, exact=exact),
        *([peewee.SQL("0")] * 4),
    ]
    return _selected(row, part, unit=row.unit, numbers=numbers)


def _halves(field: peewee.Field, *, exact: bool) -> list[_Column]:
    if exact:
        return [peewee.SQL("0"), peewee.fn.SUM(field)]
    # Peewee writes LIKE for %, so the remainder is what the division leaves.
    return [peewee.fn.SUM(field / HALF), peewee.fn.SUM(field - field / HALF * HALF)]


def _selected(row: Any, part: _Part, *, unit: _Column, numbers: Sequence[_Column]) -> peewee.ModelSelect[Any]:  # noqa: ANN401 - a table of rollups
    """Sum rows by period, group and unit: in two steps where the groups are dimensions of a facet."""
    question, source = part.question, part.source
    by_dimensions = bool(question.query.group_by) and not question.query.by_tag
    stepped = by_dimensions and source.facet is not None
    period = peewee.SQL(_number(question.cut, source.hour)).alias("period")
    groups = [row.tag] if question.query.by_tag else _dimensions(part)
    groups = [row.series_id] if stepped else groups
    units = [unit] if isinstance(unit, peewee.Field) else []
    query: peewee.ModelSelect[Any] = row.select(period, *groups, unit.alias("unit"), *_named(numbers))
    if by_dimensions and not stepped:
        query = query.join(SeriesRow, on=_same_series(row))
    query = query.where(*_conditions(row, part, stepped=stepped)).group_by(
        *_grouped_period(question.cut), *groups, *units
    )
    return _by_dimensions(query, part) if stepped else query


def _dimensions(part: _Part) -> list[peewee.Field]:
    return [getattr(part.source.series, dimension.value) for dimension in part.question.query.group_by]


def _same_series(row: Any) -> Any:  # noqa: ANN401 - as above
    return (SeriesRow.organization_id == row.organization_id) & (SeriesRow.series_id == row.series_id)


def _named(numbers: Sequence[_Column]) -> list[_Column]:
    return [number.alias(f"n{index}") for index, number in enumerate(numbers)]


def _by_dimensions(summed: peewee.ModelSelect[Any], part: _Part) -> peewee.ModelSelect[Any]:
    """Sum the sums of a facet's series by dimension: a series is looked up once, not once a row.

    Of all dimensions together there are nearly as many series as rows, so that it would take longer.
    """
    series, question = part.source.series, part.question
    sums = summed.alias("sums")
    groups = _dimensions(part)
    numbers = [peewee.fn.SUM(getattr(sums.c, f"n{index}")) for index in range(8)]
    conditions = [series.organization_id == question.organization_id]
    if part.source.facet is not None:
        conditions.append(series.facet == part.source.facet.value)
    if not question.query.filter.include_sandbox:
        conditions.append(~series.sandbox)
    return (  # type: ignore[no-any-return]  # Peewee's own.
        series.select(sums.c.period, *groups, sums.c.unit, *numbers)
        .join(sums, on=(series.series_id == sums.c.series_id))
        .where(*conditions)
        .group_by(sums.c.period, *groups, sums.c.unit)
    )


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


def _conditions(row: Any, part: _Part, *, stepped: bool) -> Iterator[peewee.Node]:  # noqa: ANN401 - as above
    source, wanted = part.source, part.question.query.filter
    time = getattr(row, source.column)
    yield row.organization_id == part.question.organization_id
    if source.facet is not None:
        yield row.facet == source.facet.value
    yield functools.reduce(operator.or_, [within(time, span) for span in part.ranges])
    if not part.question.query.by_tag:
        yield row.tag == (wanted.tags[0] if wanted.tags else TAG_ALL)
    elif wanted.tags:
        yield row.tag.in_(wanted.tags)
    else:
        yield row.tag != TAG_ALL
    yield from _of_series(row, part, stepped=stepped)


def _of_series(row: Any, part: _Part, *, stepped: bool) -> Iterator[peewee.Node]:  # noqa: ANN401 - as above
    """Match series by id: few that match are looked up, and of none named the few of the sandbox left out."""
    series, wanted = part.source.series, part.question.query.filter
    ids = series.select(series.series_id).where(series.organization_id == part.question.organization_id)
    if part.source.facet is not None:
        ids = ids.where(series.facet == part.source.facet.value)
    fields = (*wanted.of_events(), *wanted.of_lines())
    matching = [getattr(series, name).in_(values) for name, values in fields]
    if matching:
        matching += [] if wanted.include_sandbox else [~series.sandbox]
        yield row.series_id.in_(ids.where(*matching))
    elif not wanted.include_sandbox and not stepped:
        yield row.series_id.not_in(ids.where(series.sandbox))


def within(time: peewee.Field, span: HourRange) -> peewee.Node:
    """Match the hours or days of a range."""
    return (time >= span.first) & (time < span.end)
