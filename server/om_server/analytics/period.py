"""Calendar periods in a time zone, cut along the whole UTC hours that rollups are kept by.

Where a zone's midnight lies inside a UTC hour, the period's edge is moved down to that hour.
"""

from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from zoneinfo import ZoneInfo

from om_server.core.calendar import CalendarSpan, last_day_of_hour, midnight
from om_server.core.hours import HOUR, HOUR_MAX, HourRange, hour_of

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Granularity(Enum):
    """How time is cut."""

    TOTAL = "total"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


@dataclass(frozen=True, slots=True)
class Period:
    """A calendar period: when it starts, in microseconds since 1970, and its first hour."""

    start_time: int
    first_hour: int


def month_start(time: int, zone: ZoneInfo) -> int:
    """Return when the calendar month of a time began, in microseconds since 1970."""
    moment = _EPOCH + timedelta(microseconds=min(max(time, 0), HOUR_MAX * HOUR))
    return midnight(CalendarSpan.MONTH.first_day(moment.astimezone(zone).date()), zone)


@dataclass(frozen=True, slots=True)
class Cut:
    """How a range is cut: hours and periods have numbers, by which sums are grouped.

    An hour is its own number, a period's is its place in `periods`, and all of an uncut range is 0.
    """

    granularity: Granularity
    periods: tuple[Period, ...] = ()

    def number(self, hour: int) -> int:
        """Return the number that an hour of the range belongs to."""
        if self.granularity is Granularity.TOTAL:
            return 0
        if self.granularity is Granularity.HOUR:
            return hour
        return bisect_right(self.periods, hour, key=lambda period: period.first_hour) - 1

    def start_time(self, number: int) -> int | None:
        """Return when what has this number starts; None where time was not cut."""
        if self.granularity is Granularity.TOTAL:
            return None
        if self.granularity is Granularity.HOUR:
            return number * HOUR
        return self.periods[number].start_time


def cut_hours(hours: HourRange, granularity: Granularity, *, zone: ZoneInfo) -> Cut:
    """Return how to cut the hours."""
    if granularity in (Granularity.TOTAL, Granularity.HOUR):
        return Cut(granularity)
    return Cut(granularity, periods(hours, granularity, zone=zone))


def periods(hours: HourRange, granularity: Granularity, *, zone: ZoneInfo) -> tuple[Period, ...]:
    """Return the days, weeks or months that cover the hours, in order; none for no hours.

    The first one begins where the calendar says, which may be before the first hour.
    """
    found: dict[int, Period] = {}
    if hours.first >= hours.end:
        return ()
    span = CalendarSpan(granularity.value)
    day = span.first_day(last_day_of_hour(hours.first, zone))
    while (start := midnight(day, zone)) < hours.end * HOUR:
        # Of two days with one midnight the first did not exist there: the zone left it out.
        found[hour_of(start)] = Period(start, hour_of(start))
        day = span.next_day(day)
    return tuple(found.values())
