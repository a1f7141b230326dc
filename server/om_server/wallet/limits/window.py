"""Over what time a limit counts: whole UTC hours, because that is what usage is summed by.

Where a zone's midnight lies inside a UTC hour, the window's edge is moved down to that hour, as in
every other sum by calendar periods.
"""

import enum
from dataclasses import dataclass

from om_server.core.calendar import MONDAY, CalendarSpan, last_day_of_hour, midnight
from om_server.core.errors import InvalidArgument
from om_server.core.hours import HourRange, find_zone, hour_of

#: A leap year.
ROLLING_HOURS_MAX = 366 * 24

_SUNDAY = 7


class WindowKind(enum.StrEnum):
    """How a window is laid; the names are the contract's."""

    TOTAL = "total"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    ROLLING = "rolling"


@dataclass(frozen=True, slots=True)
class Window:
    """A window, checked. Weeks start at an ISO weekday, 1 is Monday.

    A rolling window is the hour that runs and the ones before it: of one hour it is the calendar hour.
    """

    kind: WindowKind = WindowKind.TOTAL
    rolling_hours: int = 0
    time_zone: str = ""
    week_start: int = MONDAY

    def __post_init__(self) -> None:
        rolling = self.kind is WindowKind.ROLLING
        if rolling and not 0 < self.rolling_hours <= ROLLING_HOURS_MAX:
            raise InvalidArgument("rolling_hours", f"a rolling window has 1 to {ROLLING_HOURS_MAX}")
        if not rolling and self.rolling_hours:
            raise InvalidArgument("rolling_hours", "only a rolling window has them")
        if not MONDAY <= self.week_start <= _SUNDAY:
            raise InvalidArgument("week_start", "1 is Monday, 7 is Sunday")
        find_zone(self.time_zone)

    @property
    def name(self) -> str:
        """What a refusal calls it: total, day, week, month or 24h."""
        return f"{self.rolling_hours}h" if self.kind is WindowKind.ROLLING else self.kind.value

    def span(self, now: int) -> HourRange:
        """Return the hours that count at a time; of a window without an end, up to the hour that runs."""
        hour = hour_of(now)
        if self.kind is WindowKind.TOTAL:
            return HourRange(0, hour + 1)
        if self.kind is WindowKind.ROLLING:
            return HourRange(hour + 1 - self.rolling_hours, hour + 1)
        zone = find_zone(self.time_zone)
        span = CalendarSpan(self.kind.value)
        day = span.first_day(last_day_of_hour(hour, zone), week_start=self.week_start)
        return HourRange(hour_of(midnight(day, zone)), hour_of(midnight(span.next_day(day), zone)))

    def ends(self, now: int) -> int | None:
        """Return when the window that runs ends, or a rolling one moves; None if it never does."""
        return None if self.kind is WindowKind.TOTAL else self.span(now).end_time
