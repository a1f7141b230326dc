"""The statement that answers a question about rollups: what is read, and how it is summed and grouped."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import peewee

from om_server.analytics.facet import Facet, facet_of
from om_server.analytics.grain import AMOUNTS, COUNTS, MONEY, Source, daily, halves, hourly
from om_server.analytics.period import Cut, Granularity, Period
from om_server.analytics.query import Dimension, UsageQuery
from om_server.analytics.rollup import TAG_ALL
from om_server.analytics.rollup_span import rollup_span
from om_server.core.hours import HourRange

#: Stands in the place of a unit where a row has counters.
NO_UNIT = ""

Statement: TypeAlias = "peewee.ModelSelect[Any] | peewee.ModelCompoundSelectQuery"
_Column: TypeAlias = peewee.ColumnBase


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
    """What of a question is summed from one source, and over which of its ranges."""

    question: Question
    source: Source
    ranges: tuple[HourRange, ...]


def statement(question: Question, *, exact: bool) -> Statement:
    """Return what answers a question; `exact` says that the database itself sums beyond 64 bits.

    A row has the number of the period, the values of the groups, the unit, and then of counters eight
    numbers (four counts, cost and charge in halves) and of a quantity four, in halves, and four of nothing.
    """
    span = rollup_span(question.hours, question.cut)
    facet, wanted = _facet(question), question.query.filter
    hours = hourly(question.organization_id, facet, wanted=wanted)
    days = daily(question.organization_id, facet, wanted=wanted)
    selects: list[Statement] = []
    for source, ranges in ((hours, span.hours), (days, span.days)):
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
    return facet_of(
        named | query.filter.names,
        by_all_tags=not query.by_tag and not query.filter.tags,
        of_providers=bool(query.filter.providers) and not question.with_quantities,
    )


def _select_counters(part: _Part, *, exact: bool) -> Statement:
    row = part.source.grain.counters
    counts = (peewee.fn.SUM(getattr(row, name)) for name in COUNTS)
    numbers = [*counts, *_sums(row, MONEY, exact=exact)]
    return _selected(row, part, unit=peewee.SQL(f"'{NO_UNIT}'"), numbers=numbers)


def _select_quantities(part: _Part, *, exact: bool) -> Statement:
    row = part.source.grain.quantities
    # A union wants as many columns as the counters have.
    numbers = [*_sums(row, AMOUNTS, exact=exact), *([peewee.SQL("0")] * 4)]
    return _selected(row, part, unit=row.unit, numbers=numbers)


def _sums(row: Any, fields: Sequence[str], *, exact: bool) -> Iterator[_Column]:  # noqa: ANN401 - a table of rollups
    """Yield the sums of both halves of each field; of whole numbers all is in the lower one."""
    for field in fields:
        if exact and hasattr(row, field):
            yield from (peewee.SQL("0"), peewee.fn.SUM(getattr(row, field)))
        else:
            yield from map(peewee.fn.SUM, halves(row, field))


def _selected(row: Any, part: _Part, *, unit: _Column, numbers: Sequence[_Column]) -> Statement:  # noqa: ANN401 - as above
    """Sum rows by period, group and unit: in two steps where the groups are dimensions of a facet."""
    query, source = part.question.query, part.source
    dimensions = _dimensions(part)
    stepped = bool(dimensions) and bool(source.places)
    groups = [row.tag] if query.by_tag else [row.series_id] if stepped else dimensions
    units = [unit] if isinstance(unit, peewee.Field) else []
    period = peewee.SQL(_number(part.question.cut, source.grain.first_hour)).alias("period")
    summed = row.select(period, *groups, unit.alias("unit"), *_named(numbers)).where(*_rows(row, part))
    if dimensions and not stepped:
        series = source.grain.series
        same = (series.organization_id == row.organization_id) & (series.series_id == row.series_id)
        summed = summed.join(series, on=same).where(*source.rows(series), *source.described())
    elif source.wanted.names or not stepped:
        summed = summed.where(*source.matching(row))
    summed = summed.group_by(*_grouped_period(part.question.cut), *groups, *units)
    return _by_dimensions(summed, part, measured=bool(units)) if stepped else summed


def _dimensions(part: _Part) -> list[peewee.Field]:
    query = part.question.query
    if query.by_tag:
        return []
    return [getattr(part.source.grain.series, dimension.value) for dimension in query.group_by]


def _named(numbers: Sequence[_Column]) -> list[_Column]:
    return [number.alias(f"n{index}") for index, number in enumerate(numbers)]


def _by_dimensions(summed: Any, part: _Part, *, measured: bool) -> Statement:  # noqa: ANN401 - peewee's stubs leave it untyped
    """Sum the sums of a facet's series by dimension: a series is looked up once, not once a row.

    Of all dimensions together there are nearly as many series as rows, so that it would take longer.
    """
    source, series = part.source, part.source.grain.series
    sums = summed.alias("sums")
    groups = _dimensions(part)
    numbers: list[Any] = [peewee.fn.SUM(getattr(sums.c, f"n{index}")) for index in range(8)]
    if not measured:
        # Counts and halves fit 64 bits, and PostgreSQL's sums, which need not, take longer to read.
        numbers = [number.cast("BIGINT") for number in numbers]
    return (  # type: ignore[no-any-return]  # Peewee's own.
        series.select(sums.c.period, *groups, sums.c.unit, *numbers)
        .join(sums, on=(series.series_id == sums.c.series_id))
        .where(*source.rows(series), *source.described())
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


def _rows(row: Any, part: _Part) -> Iterator[peewee.Node]:  # noqa: ANN401 - as above
    """Match the rows of the range and of the tags, of any series."""
    yield from part.source.rows(row)
    yield part.source.within(row, part.ranges)
    tags = part.source.wanted.tags
    if not part.question.query.by_tag:
        yield row.tag == (tags[0] if tags else TAG_ALL)
    elif tags:
        yield row.tag.in_(tags)
    else:
        yield row.tag != TAG_ALL
