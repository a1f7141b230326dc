"""Rollups: sums by time, tag and series, as deltas to what is stored. Pure.

Addition of deltas commutes, so the order of settlement never matters; rollups equal the sums over
events at any moment (invariant I16).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from om_server.analytics.counters import Counters, QuantitySum, accumulate
from om_server.analytics.series import Series
from om_server.core.hours import HOURS_OF_DAY

#: The row of all events of a series, beside one row for each tag.
TAG_ALL = ""


# Tuples, because thousands of them are hashed and sorted in the settling transaction.
class RollupKey(NamedTuple):
    """One row of counters. The hour is counted from 1970."""

    organization_id: str
    hour: int
    tag: str
    series_id: str


class QuantityKey(NamedTuple):
    """One row of quantities."""

    organization_id: str
    hour: int
    tag: str
    series_id: str
    unit: str


@dataclass(frozen=True, slots=True)
class RollupDelta:
    """What to add to the stored rollups. `series` is keyed by (organization_id, series_id)."""

    series: Mapping[tuple[str, str], Series] = field(default_factory=dict)
    counters: Mapping[RollupKey, Counters] = field(default_factory=dict)
    quantities: Mapping[QuantityKey, QuantitySum] = field(default_factory=dict)

    def __add__(self, other: "RollupDelta") -> "RollupDelta":
        counters, quantities = dict(self.counters), dict(self.quantities)
        for key, row in other.counters.items():
            accumulate(counters, key, addend=row)
        for quantity_key, quantity in other.quantities.items():
            accumulate(quantities, quantity_key, addend=quantity)
        return RollupDelta({**self.series, **other.series}, counters, quantities)

    def __neg__(self) -> "RollupDelta":
        return RollupDelta(
            self.series,
            {key: -row for key, row in self.counters.items()},
            {key: -quantity for key, quantity in self.quantities.items()},
        )


def by_day(delta: RollupDelta) -> RollupDelta:
    """Return the same sums by the UTC day: what is the hour in the keys is the day, counted from 1970."""
    counters: dict[RollupKey, Counters] = {}
    quantities: dict[QuantityKey, QuantitySum] = {}
    # Made anew, because `_replace` takes twice as long.
    for (organization_id, hour, tag, series_id), row in delta.counters.items():
        key = RollupKey(organization_id, hour // HOURS_OF_DAY, tag, series_id)
        accumulate(counters, key, addend=row)
    for (organization_id, hour, tag, series_id, unit), quantity in delta.quantities.items():
        quantity_key = QuantityKey(organization_id, hour // HOURS_OF_DAY, tag, series_id, unit)
        accumulate(quantities, quantity_key, addend=quantity)
    return RollupDelta(delta.series, counters, quantities)
