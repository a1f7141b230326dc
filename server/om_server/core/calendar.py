"""Days, weeks and months of the calendar, and when a day begins in a time zone. Pure."""

from datetime import UTC, date, datetime, timedelta
from enum import Enum
from zoneinfo import ZoneInfo

MONDAY = 1

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DECEMBER = 12


class CalendarSpan(Enum):
    """How long a period of the calendar is."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"

    def first_day(self, day: date, *, week_start: int = MONDAY) -> date:
        """Return the first day of the period that a day is in. Weeks start at an ISO weekday."""
        if self is CalendarSpan.MONTH:
            return day.replace(day=1)
        if self is CalendarSpan.WEEK:
            return day - timedelta(days=(day.isoweekday() - week_start) % 7)
        return day

    def next_day(self, first_day: date) -> date:
        """Return the first day of the period behind the one that begins at a day."""
        if self is CalendarSpan.MONTH:
            year, month = divmod(first_day.month, _DECEMBER)
            return date(first_day.year + year, month + 1, 1)
        return first_day + timedelta(days=7 if self is CalendarSpan.WEEK else 1)


def midnight(day: date, zone: ZoneInfo) -> int:
    """Return when a day begins, in microseconds since 1970.

    A midnight that the clocks skip is read with the offset before: that is the moment they jump. Of a
    midnight that happens twice, the first counts.
    """
    begins = datetime(day.year, day.month, day.day, tzinfo=zone)
    return (begins - _EPOCH) // timedelta(microseconds=1)


def last_day_of_hour(hour: int, zone: ZoneInfo) -> date:
    """Return the day in which an hour since 1970 ends.

    A period's edge inside an hour is moved down to it, so that the hour's last second decides.
    """
    return (_EPOCH + timedelta(hours=hour + 1, seconds=-1)).astimezone(zone).date()
