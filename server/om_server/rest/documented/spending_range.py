"""Which days an aggregation sums, and whose: read from its query, which all of them share.

Rollups are kept by the UTC hour, so a day begins at the full hour at or before its midnight. Both edges
of a range are moved so, and ranges that follow one another neither overlap nor leave a gap.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from google.protobuf.timestamp_pb2 import Timestamp

from om.analytics.v1.analytics_service_pb2 import EventFilter
from om_server.core.errors import InvalidArgument
from om_server.core.hours import find_zone
from om_server.rest.documented.moment import timestamp_of
from om_server.rest.documented.query import Query
from om_server.rest.errors import FieldProblem, RequestMalformed

#: No event is older, and later days have no end in the calendar.
_FIRST, _LAST = date(1970, 1, 1), date(9998, 12, 31)
_DAY = timedelta(days=1)
_MICROSECOND = timedelta(microseconds=1)
_DATE_LENGTH = len("2026-01-31")


@dataclass(frozen=True, slots=True)
class SpendingRange:
    """Calendar days in a time zone, both included, and the providers that count; none means all."""

    start: date
    end: date
    zone: ZoneInfo
    providers: tuple[str, ...] = ()

    def filter(self) -> EventFilter:
        """The events of the range. The sandbox costs nothing and is no request, so it is left out."""
        return EventFilter(
            start_time=self._edge(self.start),
            end_time=self._edge(self.end + _DAY),
            providers=self.providers,
        )

    def body(self) -> dict[str, str]:
        """The published period."""
        return {"start": self.start.isoformat(), "end": self.end.isoformat()}

    def _edge(self, day: date) -> Timestamp:
        midnight = datetime(day.year, day.month, day.day, tzinfo=self.zone).astimezone(UTC)
        hour = midnight.replace(minute=0, second=0, microsecond=0)
        return timestamp_of(max(hour, datetime(1970, 1, 1, tzinfo=UTC)))


def read_range(query: Query, *, now_us: int, since: date | None = None) -> SpendingRange:
    """The range that a query asks for.

    Without dates the current calendar month, all of it. A start alone lasts until today; an end alone
    begins with its month, or at `since` where that is given, as a range without any start then does.
    """
    zone = _zone(query)
    today = local_day(now_us, zone)
    start, end = _day(query, "start", zone), _day(query, "end", zone)
    if end is None:
        end = max(today, start) if start else month_end(today)
    if start is None:
        start = since or end.replace(day=1)
    if end < start:
        raise refused("end", "Invalid range: before the start")
    return SpendingRange(start, end, zone, tuple(query.texts("provider")))


def local_day(time_us: int, zone: ZoneInfo) -> date:
    """The calendar day in which a time lies, given in microseconds since 1970."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + time_us * _MICROSECOND).astimezone(zone).date()


def month_end(day: date) -> date:
    """The last day of a day's month."""
    return (day.replace(day=28) + timedelta(days=4)).replace(day=1) - _DAY


def refused(name: str, reason: str) -> RequestMalformed:
    """The refusal of a query parameter, by the name that is documented."""
    return RequestMalformed(FieldProblem(f"querystring/{name}", reason))


def _zone(query: Query) -> ZoneInfo:
    try:
        return find_zone(query.text("timezone"))
    except InvalidArgument:
        raise refused("timezone", "Invalid time zone: expected an IANA name") from None


def _day(query: Query, name: str, zone: ZoneInfo) -> date | None:
    """A date; of a date-time the day in the zone, because clients send what their language prints."""
    text = query.text(name)
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        if len(text) > _DATE_LENGTH and moment.tzinfo is not None:
            moment = moment.astimezone(zone)
    except (ValueError, OverflowError):
        raise refused(name, "Invalid ISO date") from None
    if not _FIRST <= moment.date() <= _LAST:
        raise refused(name, f"Invalid ISO date: expected one from {_FIRST} to {_LAST}")
    return moment.date()
