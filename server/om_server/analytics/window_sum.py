"""One sum over whole hours, for limits: asked before every call that a limit counts, so it reads little."""

from __future__ import annotations

from typing import Any

import peewee

from om_server.analytics.facet import facet_of
from om_server.analytics.grain import HALF, halves, hourly
from om_server.analytics.query import EventFilter
from om_server.analytics.rollup import TAG_ALL
from om_server.core.hours import HourRange
from om_server.storage.database import Database


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
        if wanted.start_time is None or wanted.end_time is None:
            raise ValueError("a window has a start and an end")
        facet = facet_of(wanted.names, by_all_tags=False)
        source = hourly(organization_id, facet, wanted=wanted)
        row = source.grain.counters if unit is None else source.grain.quantities
        query: peewee.ModelSelect[Any] = row.select(*map(peewee.fn.SUM, halves(row, field))).where(
            *source.rows(row),
            source.within(row, [HourRange.around(wanted.start_time, wanted.end_time)]),
            row.tag == (wanted.tags[0] if wanted.tags else TAG_ALL),
            *source.matching(row),
            *([] if unit is None else [row.unit == unit]),
        )
        [(high, low)] = self._database.read(lambda: self._database.ask(query))
        return int(high or 0) * HALF + int(low or 0)
