"""Which rollups a question is summed from: those of UTC days where they do, of hours for the rest. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from om_server.analytics.period import Cut, Granularity
from om_server.core.hours import HOURS_OF_DAY, HourRange

#: With more runs of days, between which there are hours, a statement would grow out of bounds.
_RUNS_MAX = 60


@dataclass(frozen=True, slots=True)
class RollupSpan:
    """Ranges that do not touch: hours, and days, both counted from 1970 with the end exclusive."""

    hours: tuple[HourRange, ...]
    days: tuple[HourRange, ...] = ()


def rollup_span(hours: HourRange, cut: Cut) -> RollupSpan:
    """Cover the hours once. A UTC day is read as one where it lies in the range and in one period."""
    days = tuple(_runs(hours, cut))
    if not days or len(days) > _RUNS_MAX:
        return RollupSpan((hours,))
    edges = [hours.first, *(edge * HOURS_OF_DAY for run in days for edge in (run.first, run.end)), hours.end]
    between = zip(edges[::2], edges[1::2], strict=True)
    return RollupSpan(tuple(HourRange(first, end) for first, end in between if first < end), days)


def _runs(hours: HourRange, cut: Cut) -> Iterator[HourRange]:
    first, end = -(-hours.first // HOURS_OF_DAY), hours.end // HOURS_OF_DAY
    if cut.granularity is Granularity.HOUR or first >= end:
        return
    if cut.granularity is Granularity.TOTAL:
        yield HourRange(first, end)
        return
    begun = first
    for day in range(first, end):
        if cut.number(day * HOURS_OF_DAY) != cut.number(day * HOURS_OF_DAY + HOURS_OF_DAY - 1):
            if begun < day:
                yield HourRange(begun, day)
            begun = day + 1
    if begun < end:
        yield HourRange(begun, end)
