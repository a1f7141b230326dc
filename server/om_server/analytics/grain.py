"""Grains: which tables have the sums of one length of time, and which of their rows answer a question."""

from __future__ import annotations

import functools
import operator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from om_server.analytics.facet import Facet
from om_server.analytics.rollup_table import (
    DailyConsumerRollupRow,
    DailyFacetRollupQuantityRow,
    DailyFacetRollupRow,
    DailyRollupQuantityRow,
    DailyRollupRow,
    FacetRollupQuantityRow,
    FacetRollupRow,
    FacetSeriesRow,
    RollupQuantityRow,
    RollupRow,
    SeriesRow,
)
from om_server.core.hours import HOURS_OF_DAY

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from om_server.analytics.query import EventFilter
    from om_server.core.hours import HourRange

#: SQLite's SUM fails above 2^63, PostgreSQL's does not. Halves of 32 bits are put together in Python.
HALF = 2**32

#: Counters in the order of a row's columns; of a facet each amount of money has two.
COUNTS = ("event_count", "unrated_count", "estimated_count", "unknown_count")
MONEY = ("cost", "charge")
AMOUNTS = ("amount", "estimated_amount")


@dataclass(frozen=True, slots=True)
class Grain:
    """The tables of one length of time: of whole series, or of those of facets, which their rows name."""

    # One of two tables each, with the columns that are asked for.
    series: Any
    counters: Any
    #: None where quantities are not kept.
    quantities: Any
    #: The column that counts hours or days from 1970.
    time: str
    faceted: bool = False

    @property
    def first_hour(self) -> str:
        """The first hour of a row in SQL."""
        return "hour" if self.time == "hour" else f"(day * {HOURS_OF_DAY})"

    @property
    def number_columns(self) -> tuple[str, ...]:
        """The columns of counters behind the key."""
        money = (f"{name}_{half}" for name in MONEY for half in ("high", "low")) if self.faceted else MONEY
        return (*COUNTS, *money)

    @property
    def key_columns(self) -> tuple[str, ...]:
        """The columns that name a row of counters; a row of quantities has the unit besides."""
        return ("organization_id", *(("facet",) if self.faceted else ()), self.time, "tag", "series_id")


HOURS = Grain(SeriesRow, RollupRow, RollupQuantityRow, "hour")
DAYS = Grain(SeriesRow, DailyRollupRow, DailyRollupQuantityRow, "day")
FACET_HOURS = Grain(FacetSeriesRow, FacetRollupRow, FacetRollupQuantityRow, "hour", faceted=True)
FACET_DAYS = Grain(FacetSeriesRow, DailyFacetRollupRow, DailyFacetRollupQuantityRow, "day", faceted=True)
PROVIDER_DAYS = Grain(FacetSeriesRow, DailyConsumerRollupRow, None, "day", faceted=True)


@dataclass(frozen=True, slots=True)
class Source:
    """Where sums of an organization are read: a grain, and of facets the names under which they are kept."""

    organization_id: str
    grain: Grain
    #: What a row must still be asked for.
    wanted: EventFilter
    places: tuple[str, ...] = ()

    def rows(self, table: Any) -> Iterator[Any]:  # noqa: ANN401 - a table of the grain
        """Yield the conditions of being a row, or a series, of this source."""
        yield table.organization_id == self.organization_id
        if self.places:
            yield table.facet.in_(self.places)

    def within(self, table: Any, ranges: Iterable[HourRange]) -> Any:  # noqa: ANN401 - as above
        """Match the hours or days of some ranges."""
        time = getattr(table, self.grain.time)
        return functools.reduce(operator.or_, [(time >= span.first) & (time < span.end) for span in ranges])

    def described(self) -> list[Any]:
        """Return the conditions on a series: the fields that the filter names, and the sandbox."""
        series = self.grain.series
        fields = (*self.wanted.of_events(), *self.wanted.of_lines())
        named = [getattr(series, name).in_(values) for name, values in fields]
        return named if self.wanted.include_sandbox else [*named, ~series.sandbox]

    def matching(self, table: Any) -> Iterator[Any]:  # noqa: ANN401 - as above
        """Match series by id: few that match are looked up, of none named the few of the sandbox left out."""
        series = self.grain.series
        ids = series.select(series.series_id).where(*self.rows(series))
        if self.wanted.names:
            yield table.series_id.in_(ids.where(*self.described()))
        elif not self.wanted.include_sandbox:
            yield table.series_id.not_in(ids.where(series.sandbox))


def hourly(organization_id: str, facet: Facet | None, *, wanted: EventFilter) -> Source:
    """Return where hours are read; sums of consumers are kept by the day alone."""
    if facet is None or facet.of_consumers:
        return Source(organization_id, HOURS, wanted)
    return Source(organization_id, FACET_HOURS, wanted, (facet.value,))


def daily(organization_id: str, facet: Facet | None, *, wanted: EventFilter) -> Source:
    """Return where days are read."""
    if facet is None:
        return Source(organization_id, DAYS, wanted)
    if facet is not Facet.PROVIDER_CONSUMER:
        return Source(organization_id, FACET_DAYS, wanted, (facet.value,))
    places = tuple(map(facet.place, dict(wanted.of_lines())["provider"]))
    return Source(organization_id, PROVIDER_DAYS, replace(wanted, providers=()), places)


def halves(table: Any, field: str) -> tuple[Any, Any]:  # noqa: ANN401 - as above
    """Return the halves of a column; money of facets is kept in them."""
    if hasattr(table, f"{field}_high"):
        return getattr(table, f"{field}_high"), getattr(table, f"{field}_low")
    column = getattr(table, field)
    # Peewee writes LIKE for %, so the remainder is what the division leaves.
    return column / HALF, column - column / HALF * HALF
