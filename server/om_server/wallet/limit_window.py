"""Over what time a limit counts: whole UTC hours, because that is what usage is summed by.

Where a zone's midnight lies inside a UTC hour, the window's edge is moved down to that hour, as in
every other sum by calendar periods.
"""

import enum
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from om_server.core.clock import MICROS_PER_SECOND
from om_server.core.errors import InvalidArgument

_HOUR_SECONDS = 3600
HOUR = _HOUR_SECONDS * MICROS_PER_SECOND

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
class HourSpan:
    """Hours since 1970, the end exclusive."""

    first: int
    end: int

    @property
    def start_time(self) -> int:
        """Microseconds since 1970."""
        return self.first * HOUR

    @property
    def end_time(self) -> int:
        """Microseconds since 1970, exclusive."""
        return self.end * HOUR


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
        _find_zone(self.time_zone)

    @property
    def name(self) -> str:
        """What a refusal calls it: total, day, week, month or 24h."""
        return f"{self.rolling_hours}h" if self.kind is WindowKind.ROLLING else self.kind.value

    def span(self, now: int) -> HourSpan:
        """Return the hours that count at a time; of a window without an end, up to the hour that runs."""
        hour = now // HOUR
        if self.kind is WindowKind.TOTAL:
            return HourSpan(0, hour + 1)
        if self.kind is WindowKind.ROLLING:
            return HourSpan(hour + 1 - self.rolling_hours, hour + 1)
        zone = _find_zone(self.time_zone)
        # An edge inside an hour is moved down to it, so that the hour's last second decides.
        last_second = _EPOCH + timedelta(seconds=hour * _HOUR_SECONDS + _HOUR_SECONDS - 1)
        day = self._floor(last_second.astimezone(zone).date())
        return HourSpan(_midnight_hour(day, zone), _midnight_hour(self._next(day), zone))

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


def _find_zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name or "UTC")
    # Besides its own error it lets through what the file system and the file format say of the name.
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidArgument("time_zone", "not an IANA time zone") from error


def _midnight_hour(day: date, zone: ZoneInfo) -> int:
    # A midnight that the clocks skip is read with the offset before: that is the moment they jump.
    # Of a midnight that happens twice, the first counts.
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
    return (midnight - _EPOCH) // timedelta(seconds=_HOUR_SECONDS)
