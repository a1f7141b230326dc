"""One sum over whole hours, for limits: asked before every call that a limit counts, so it reads little."""

from __future__ import annotations

from typing import Any

import peewee

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
        return self._sum(RollupRow, RollupRow.charge, organization_id, wanted=wanted)

    def cost(self, organization_id: str, wanted: EventFilter) -> int:
        """Sum what was paid to providers, in nano-dollars; what is not rated yet is not in it."""
        return self._sum(RollupRow, RollupRow.cost, organization_id, wanted=wanted)

    def events(self, organization_id: str, wanted: EventFilter) -> int:
        """Count events, those that used nothing too."""
        return self._sum(RollupRow, RollupRow.event_count, organization_id, wanted=wanted)

    def quantity(self, organization_id: str, wanted: EventFilter, *, unit: str) -> int:
        """Sum what is known of a unit, in its steps."""
        row = RollupQuantityRow
        return self._sum(row, row.amount, organization_id, wanted=wanted, more=row.unit == unit)

    def _sum(
        self,
        row: type[RollupRow | RollupQuantityRow],
        field: peewee.Field,
        organization_id: str,
        *,
        wanted: EventFilter,
        more: Any = None,  # noqa: ANN401 - peewee's own
    ) -> int:
        """Sum a field over the whole hours from the filter's start to its end, and one tag at most."""
        conditions = [
            row.organization_id == organization_id,
            row.tag == (wanted.tags[0] if wanted.tags else TAG_ALL),
            *_hours(row, wanted),
            _series(row, organization_id, wanted),
        ]
        conditions += [] if more is None else [more]
        halves = (peewee.fn.SUM(field / _HALF), peewee.fn.SUM(field - field / _HALF * _HALF))
        query: peewee.ModelSelect[Any] = row.select(*halves).where(*conditions)
        high, low = self._database.read(lambda: query.tuples().get())
        return int(high or 0) * _HALF + int(low or 0)


def _hours(row: type[RollupRow | RollupQuantityRow], wanted: EventFilter) -> list[Any]:
    if wanted.start_time is None or wanted.end_time is None:
        raise ValueError("a window has a start and an end")
    hours = HourRange.around(wanted.start_time, wanted.end_time)
    return [row.hour >= hours.first, row.hour < hours.end]


def _series(row: type[RollupRow | RollupQuantityRow], organization_id: str, wanted: EventFilter) -> Any:  # noqa: ANN401 - peewee's own
    """Match series by id: few that match are looked up, and of none named the few of the sandbox left out."""
    series = SeriesRow.select(SeriesRow.series_id).where(SeriesRow.organization_id == organization_id)
    matching = [getattr(SeriesRow, name).in_(values) for name, values in wanted.of_events()]
    if matching:
        return row.series_id.in_(series.where(*matching, ~SeriesRow.sandbox))
    return row.series_id.not_in(series.where(SeriesRow.sandbox))
