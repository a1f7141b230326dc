import time
from datetime import UTC, datetime

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from om_server.rest.documented.moment import iso_now, iso_text, read_end, read_moment, timestamp_of


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-01T12:00:00Z",
        "2026-01-01T12:00:00.000Z",
        "2026-01-01T12:00:00",
        "2026-01-01T12:00:00.000000",
        "2026-01-01T12:00:00+00:00",
        "2026-01-01T14:00:00+02:00",
        "2026-01-01T14:00:00.000000+0200",
        "2026-01-01T14:00:00.000000 0200",
        "2026-01-01 12:00:00",
    ],
)
def test_every_spelling_is_the_same_moment(text: str) -> None:
    assert read_moment(text) == datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_a_time_without_a_zone_is_utc_wherever_the_server_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        assert read_moment("2026-01-01T12:00:00") == datetime(2026, 1, 1, 12, tzinfo=UTC)
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "1767225600", "2026-01-01T25:00:00Z"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_moment(text)


def test_a_date_at_the_end_of_a_range_includes_its_day() -> None:
    assert read_end("2026-01-31") == datetime(2026, 2, 1, tzinfo=UTC)
    assert read_end("2026-01-31T00:00:00Z") == datetime(2026, 1, 31, microsecond=1, tzinfo=UTC)


def test_a_time_is_written_in_utc_to_the_millisecond() -> None:
    assert iso_text(Timestamp(seconds=1_893_456_000)) == "2030-01-01T00:00:00.000Z"
    assert iso_now(1_767_225_600_123_456) == "2026-01-01T00:00:00.123Z"


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_moment_survives_the_message(moment: datetime) -> None:
    stamp = timestamp_of(moment)

    assert 0 <= stamp.nanos < 10**9
    assert stamp.ToDatetime(tzinfo=UTC) == moment
