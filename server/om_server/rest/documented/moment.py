"""Times as the published API writes them, and as callers write them."""

import re
from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
# A plus sign that a client did not encode arrives as a space.
_LOST_PLUS = re.compile(r"(T[0-9:.]+) (\d{2}:?\d{2})$")


def read_moment(text: str) -> datetime:
    """Any ISO 8601 date-time: with Z, with an offset with or without colon, or none, which is UTC.

    ValueError for anything else.
    """
    moment = datetime.fromisoformat(_LOST_PLUS.sub(r"\1+\2", text))
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def read_end(text: str) -> datetime:
    """The first moment after a range whose end is inclusive; a date alone includes its whole day."""
    length = timedelta(days=1) if _DATE.fullmatch(text) else _MICROSECOND
    return read_moment(text) + length


def write_timestamp(moment: datetime, target: Timestamp) -> None:
    """Set the protobuf timestamp, to the microsecond."""
    seconds, micros = divmod((moment - _EPOCH) // _MICROSECOND, 1_000_000)
    target.seconds, target.nanos = seconds, micros * 1000


def timestamp_of(moment: datetime) -> Timestamp:
    """The protobuf timestamp of a moment."""
    found = Timestamp()
    write_timestamp(moment, found)
    return found


def iso_text(timestamp: Timestamp) -> str:
    """The time in UTC to the millisecond: 2030-01-01T00:00:00.000Z."""
    moment = _EPOCH + timedelta(seconds=timestamp.seconds, microseconds=timestamp.nanos // 1000)
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def iso_now(now_us: int) -> str:
    """The same for microseconds since 1970."""
    return iso_text(Timestamp(seconds=now_us // 1_000_000, nanos=now_us % 1_000_000 * 1000))
