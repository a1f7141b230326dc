"""Whole UTC hours, by which usage is summed and limits count, and the time zones that periods are cut in."""

from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from om_server.core.clock import MICROS_PER_SECOND
from om_server.core.errors import InvalidArgument

_HOUR_SECONDS = 3600
HOUR = _HOUR_SECONDS * MICROS_PER_SECOND
HOURS_OF_DAY = 24

#: Later times leave no room for a period's end in the calendar; earlier ones hold no events.
HOUR_MAX = int(datetime(9999, 1, 1, tzinfo=UTC).timestamp()) // _HOUR_SECONDS


@dataclass(frozen=True, slots=True)
class HourRange:
    """Hours since 1970, the end exclusive."""

    first: int
    end: int

    @classmethod
    def around(cls, start_time: int, end_time: int) -> "HourRange":
        """Return the whole hours around a range: its start is moved down, its end up."""
        first = min(max(hour_of(start_time), 0), HOUR_MAX)
        return cls(first, min(max(-hour_of(-end_time), first), HOUR_MAX))

    @property
    def start_time(self) -> int:
        """Microseconds since 1970."""
        return self.first * HOUR

    @property
    def end_time(self) -> int:
        """Microseconds since 1970, exclusive."""
        return self.end * HOUR


def hour_of(time: int) -> int:
    """Return the number of the hour since 1970 in which a time lies."""
    return time // HOUR


def find_zone(name: str) -> ZoneInfo:
    """Return the IANA time zone; UTC for an empty name, INVALID_ARGUMENT for an unknown one."""
    try:
        return ZoneInfo(name or "UTC")
    # Besides its own error it lets through what the file system and the file format say of the name.
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidArgument("time_zone", "not an IANA time zone") from error
