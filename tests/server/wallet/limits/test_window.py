"""Windows of limits: whole hours that tile the calendar, daylight saving included."""

import dataclasses
import zoneinfo
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from om_server.core.errors import InvalidArgument
from om_server.core.hours import HOUR, HourRange
from om_server.wallet.limits.window import ROLLING_HOURS_MAX, Window, WindowKind

ZONES = sorted(zoneinfo.available_timezones())
CALENDAR = (WindowKind.DAY, WindowKind.WEEK, WindowKind.MONTH)


def at(text: str) -> int:
    """Microseconds since 1970 of a time in UTC, or with an offset of its own."""
    moment = datetime.fromisoformat(text)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(moment.timestamp()) * 1_000_000


def hours_of(window: Window, now: str) -> tuple[str, str]:
    """The span at a time, in UTC."""
    span = window.span(at(now))
    ends = (span.start_time, span.end_time)
    first, end = (f"{datetime.fromtimestamp(end // 10**6, UTC):%Y-%m-%dT%H:%M}" for end in ends)
    return first, end


times = st.integers(at("1980-01-01"), at("2037-01-01"))
calendar_windows = st.builds(
    Window, st.sampled_from(CALENDAR), time_zone=st.sampled_from(ZONES), week_start=st.integers(1, 7)
)
rolling_windows = st.builds(
    Window, st.just(WindowKind.ROLLING), rolling_hours=st.integers(1, ROLLING_HOURS_MAX)
)


@given(st.one_of(calendar_windows, rolling_windows, st.just(Window())), times)
def test_the_hour_that_runs_always_counts(window: Window, now: int) -> None:
    span = window.span(now)

    assert span.first <= now // HOUR < span.end


@given(calendar_windows, times)
def test_every_hour_of_a_calendar_window_has_the_same_window(window: Window, now: int) -> None:
    span = window.span(now)

    assert window.span(span.start_time) == span
    assert window.span(span.end_time - 1) == span


@given(calendar_windows, times)
def test_calendar_windows_leave_no_gap_and_never_overlap(window: Window, now: int) -> None:
    span = window.span(now)

    assert window.span(span.end_time).first == span.end
    assert window.span(span.start_time - 1).end == span.first


@given(calendar_windows, times)
def test_a_calendar_window_begins_when_the_wall_clock_says(window: Window, now: int) -> None:
    """At local midnight, or at the hour that it lies in; where midnight is skipped, right behind it."""
    first = datetime.fromtimestamp(window.span(now).start_time // 10**6, ZoneInfo(window.time_zone))
    inside = datetime.fromtimestamp(window.span(now).start_time // 10**6 + 3599, first.tzinfo)

    assert inside.hour < 3 or first.date() != inside.date()
    if window.kind is WindowKind.MONTH:
        assert inside.day <= 2
    if window.kind is WindowKind.WEEK:
        # A zone that crossed the date line left a day out, once.
        assert (inside.isoweekday() - window.week_start) % 7 in (0, 1)


@given(rolling_windows, times)
def test_a_rolling_window_is_as_long_as_it_says_and_moves_by_the_hour(window: Window, now: int) -> None:
    span = window.span(now)

    assert span.end - span.first == window.rolling_hours
    assert window.span(now + HOUR) == HourRange(span.first + 1, span.end + 1)
    assert window.ends(now) == span.end_time


def test_a_window_since_ever_never_ends() -> None:
    now = at("2026-05-01T10:30")

    assert Window().span(now) == HourRange(0, now // HOUR + 1)
    assert Window().ends(now) is None


def test_a_rolling_window_of_one_hour_is_the_calendar_hour() -> None:
    window = Window(WindowKind.ROLLING, 1)

    assert hours_of(window, "2026-05-01T10:30") == ("2026-05-01T10:00", "2026-05-01T11:00")


@pytest.mark.parametrize(
    ("window", "now", "expected"),
    [
        (Window(WindowKind.DAY), "2026-05-01T23:59:59", ("2026-05-01T00:00", "2026-05-02T00:00")),
        (
            Window(WindowKind.DAY, time_zone="America/New_York"),
            "2026-01-11T04:59",
            ("2026-01-10T05:00", "2026-01-11T05:00"),
        ),
        # The clocks go forward: 23 hours. And back: 25.
        (
            Window(WindowKind.DAY, time_zone="Europe/Berlin"),
            "2026-03-29T12:00",
            ("2026-03-28T23:00", "2026-03-29T22:00"),
        ),
        (
            Window(WindowKind.DAY, time_zone="Europe/Berlin"),
            "2026-10-25T12:00",
            ("2026-10-24T22:00", "2026-10-25T23:00"),
        ),
        # Midnight itself is skipped: the day begins when the clocks jump.
        (
            Window(WindowKind.DAY, time_zone="Africa/Cairo"),
            "2026-04-24T12:00",
            ("2026-04-23T22:00", "2026-04-24T21:00"),
        ),
        # Midnight inside an hour is moved down to it.
        (
            Window(WindowKind.DAY, time_zone="Asia/Kolkata"),
            "2026-05-01T18:00",
            ("2026-05-01T18:00", "2026-05-02T18:00"),
        ),
        # The day that Samoa left out.
        (
            Window(WindowKind.DAY, time_zone="Pacific/Apia"),
            "2011-12-30T11:00",
            ("2011-12-30T10:00", "2011-12-31T10:00"),
        ),
        (Window(WindowKind.WEEK), "2026-05-03T23:59", ("2026-04-27T00:00", "2026-05-04T00:00")),
        (
            Window(WindowKind.WEEK, week_start=7),
            "2026-05-03T00:00",
            ("2026-05-03T00:00", "2026-05-10T00:00"),
        ),
        (
            Window(WindowKind.WEEK, time_zone="Europe/Berlin"),
            "2026-03-29T22:30",
            ("2026-03-29T22:00", "2026-04-05T22:00"),
        ),
        (Window(WindowKind.MONTH), "2026-12-31T23:59", ("2026-12-01T00:00", "2027-01-01T00:00")),
        (
            Window(WindowKind.MONTH, time_zone="Europe/Berlin"),
            "2026-03-31T22:00",
            ("2026-03-31T22:00", "2026-04-30T22:00"),
        ),
    ],
)
def test_calendar_windows(window: Window, now: str, expected: tuple[str, str]) -> None:
    assert hours_of(window, now) == expected


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"time_zone": "Mars/Olympus"}, "time_zone"),
        ({"time_zone": "../etc/passwd"}, "time_zone"),
        ({"rolling_hours": 1}, "rolling_hours"),
        ({"kind": WindowKind.ROLLING}, "rolling_hours"),
        ({"kind": WindowKind.ROLLING, "rolling_hours": ROLLING_HOURS_MAX + 1}, "rolling_hours"),
        ({"week_start": 0}, "week_start"),
        ({"week_start": 8}, "week_start"),
    ],
)
def test_a_window_that_cannot_be_is_refused(changes: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        dataclasses.replace(Window(WindowKind.DAY), **changes)  # type: ignore[arg-type] # A table's row.

    assert raised.value.field == field


@pytest.mark.parametrize(
    ("window", "name"), [(Window(WindowKind.MONTH), "month"), (Window(WindowKind.ROLLING, 24), "24h")]
)
def test_a_window_has_a_name_for_refusals(window: Window, name: str) -> None:
    assert window.name == name
