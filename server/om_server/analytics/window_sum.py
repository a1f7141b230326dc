"""One sum over whole hours, for limits: asked before every call that a limit counts, so it reads little."""

from __future__ import annotations

from typing import Any

import peewee

from om_server.analytics.facet import Facet, facet_of
from om_server.analytics.facet_table import FacetRollupQuantityRow, FacetRollupRow, FacetSeriesRow
from om_server.analytics.query import EventFilter
from om_server.analytics.rollup import TAG_ALL
from om_server.analytics.table import RollupQuantityRow, RollupRow, SeriesRow
from om_server.core.hours import HourRange
from om_server.storage.database import Database

# SQLite's SUM fails above 2^63. Halves of 32 bits are summed apart and put together in Python.
_HALF = 2**32


class WindowSums:
    """Sums of rollups, the sandbox left out. It joins an open transaction, and sees what that sees."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def charge(self, organization_id: str, wanted: EventFilter) -> int:
        """Sum what was charged, in nano-credits; what is not rated yet is not in it."""
        return self._sum(organization_id, wanted, field="charge")

    def cost(self, organization_id: str, wanted: EventFilter) -> int:
        """Sum what was paid to providers, in nano-dollars; what is not rated yet is not in it."""
        return self._sum(organization_id, wanted, field="cost")

    def events(self, organization_id: str, wanted: EventFilter) -> int:
        """Count events, those that used nothing too."""
        return self._sum(organization_id, wanted, field="event_count")

    def quantity(self, organization_id: str, wanted: EventFilter, *, unit: str) -> int:
        """Sum what is known of a unit, in its steps."""
        return self._sum(organization_id, wanted, field="amount", unit=unit)

    def _sum(self, organization_id: str, wanted: EventFilter, *, field: str, unit: str | None = None) -> int:
        """Sum a field over the whole hours from the filter's start to its end, and one tag at most."""
        facet = facet_of({name for name, _ in wanted.of_events()}, by_all_tags=False)
        row = _table(facet, of_quantities=unit is not None)
        conditions = [
            row.organization_id == organization_id,
            row.tag == (wanted.tags[0] if wanted.tags else TAG_ALL),
            *_hours(row, wanted),
            _series(row, organization_id, wanted, facet=facet),
        ]
        conditions += [] if facet is None else [row.facet == facet.value]
        conditions += [] if unit is None else [row.unit == unit]
        query: peewee.ModelSelect[Any] = row.select(*map(peewee.fn.SUM, _halves(row, field))).where(
            *conditions
        )
        high, low = self._database.read(lambda: query.tuples().get())
        return int(high or 0) * _HALF + int(low or 0)


def _table(facet: Facet | None, *, of_quantities: bool) -> Any:  # noqa: ANN401 - one of four tables with these columns
    if facet is None:
        return RollupQuantityRow if of_quantities else RollupRow
    return FacetRollupQuantityRow if of_quantities else FacetRollupRow


def _halves(row: Any, field: str) -> tuple[Any, Any]:  # noqa: ANN401 - as above
    """The halves of a field; money of facets is stored in them."""
    if hasattr(row, f"{field}_high"):
        return getattr(row, f"{field}_high"), getattr(row, f"{field}_low")
    column = getattr(row, field)
    return column / _HALF, column - column / _HALF * _HALF


def _hours(row: Any, wanted: EventFilter) -> list[Any]:  # noqa: ANN401 - as above
    if wanted.start_time is None or wanted.end_time is None:
        raise ValueError("a window has a start and an end")
    hours = HourRange.around(wanted.start_time, wanted.end_time)
    return [row.hour >= hours.first, row.hour < hours.end]


def _series(row: Any, organization_id: str, wanted: EventFilter, *, facet: Facet | None) -> Any:  # noqa: ANN401 - as above
    """Match series by id: few that match are looked up, and of none named the few of the sandbox left out."""
    model: Any = SeriesRow if facet is None else FacetSeriesRow
    series = model.select(model.series_id).where(model.organization_id == organization_id)
    if facet is not None:
        series = series.where(model.facet == facet.value)
    matching = [getattr(model, name).in_(values) for name, values in wanted.of_events()]
    if matching:
        return row.series_id.in_(series.where(*matching, ~model.sandbox))
    return row.series_id.not_in(series.where(model.sandbox))
