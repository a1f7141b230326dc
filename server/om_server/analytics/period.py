"""Calendar periods in a time zone, cut along the whole UTC hours that rollups are kept by.

Where a zone's midnight lies inside a UTC hour, the period's edge is moved down to that hour.
"""

from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from zoneinfo import ZoneInfo

from om_server.core.hours import HOUR, HOUR_MAX, HourRange, hour_of

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DECEMBER = 12


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
    return _midnight(_floor(moment.astimezone(zone).date(), Granularity.MONTH), zone)


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
    # An edge inside the first hour is moved down to it, so the hour's last second decides.
    last_second = _EPOCH + timedelta(hours=hours.first + 1, seconds=-1)
    day = _floor(last_second.astimezone(zone).date(), granularity)
    while (start := _midnight(day, zone)) < hours.end * HOUR:
        # Of two days with one midnight the first did not exist there: the zone left it out.
        found[hour_of(start)] = Period(start, hour_of(start))
        day = _next(day, granularity)
    return tuple(found.values())


def _midnight(day: date, zone: ZoneInfo) -> int:
    # A midnight that the clocks skip is read with the offset before: that is the moment they jump.
    # Of a midnight that happens twice, the first counts.
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
    return (midnight - _EPOCH) // timedelta(microseconds=1)


def _floor(day: date, granularity: Granularity) -> date:
    if granularity is Granularity.MONTH:
        return day.replace(day=1)
    if granularity is Granularity.WEEK:
        return day - timedelta(days=day.weekday())
    return day


def _next(day: date, granularity: Granularity) -> date:
    if granularity is Granularity.MONTH:
        return date(day.year + day.month // _DECEMBER, day.month % _DECEMBER + 1, 1)
    return day + timedelta(days=7 if granularity is Granularity.WEEK else 1)
