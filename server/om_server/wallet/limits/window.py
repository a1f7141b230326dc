"""Over what time a limit counts: whole UTC hours, because that is what usage is summed by.

Where a zone's midnight lies inside a UTC hour, the window's edge is moved down to that hour, as in
every other sum by calendar periods.
"""

import enum
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from om_server.core.errors import InvalidArgument
from om_server.core.hours import HourRange, find_zone, hour_of

#: A leap year.
ROLLING_HOURS_MAX = 366 * 24

_MONDAY, _SUNDAY = 1, 7
_DECEMBER = 12
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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
    week_start: int = _MONDAY

    def __post_init__(self) -> None:
        rolling = self.kind is WindowKind.ROLLING
        if rolling and not 0 < self.rolling_hours <= ROLLING_HOURS_MAX:
            raise InvalidArgument("rolling_hours", f"a rolling window has 1 to {ROLLING_HOURS_MAX}")
        if not rolling and self.rolling_hours:
            raise InvalidArgument("rolling_hours", "only a rolling window has them")
        if not _MONDAY <= self.week_start <= _SUNDAY:
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
        # An edge inside an hour is moved down to it, so that the hour's last second decides.
        last_second = _EPOCH + timedelta(hours=hour + 1, seconds=-1)
        day = self._floor(last_second.astimezone(zone).date())
        return HourRange(_midnight_hour(day, zone), _midnight_hour(self._next(day), zone))

    def ends(self, now: int) -> int | None:
        """Return when the window that runs ends, or a rolling one moves; None if it never does."""
        return None if self.kind is WindowKind.TOTAL else self.span(now).end_time

    def _floor(self, day: date) -> date:
        if self.kind is WindowKind.MONTH:
            return day.replace(day=1)
        if self.kind is WindowKind.WEEK:
            return day - timedelta(days=(day.isoweekday() - self.week_start) % 7)
        return day

    def _next(self, day: date) -> date:
        if self.kind is WindowKind.MONTH:
            return date(day.year + day.month // _DECEMBER, day.month % _DECEMBER + 1, 1)
        return day + timedelta(days=7 if self.kind is WindowKind.WEEK else 1)


def _midnight_hour(day: date, zone: ZoneInfo) -> int:
    # A midnight that the clocks skip is read with the offset before: that is the moment they jump.
    # Of a midnight that happens twice, the first counts.
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
    return (midnight - _EPOCH) // timedelta(hours=1)
