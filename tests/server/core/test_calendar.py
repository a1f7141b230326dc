from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from om_server.core.calendar import CalendarSpan, last_day_of_hour, midnight


@pytest.mark.parametrize(
    ("span", "first", "following"),
    [
        (CalendarSpan.DAY, date(2026, 12, 31), date(2027, 1, 1)),
        (CalendarSpan.WEEK, date(2026, 12, 28), date(2027, 1, 4)),
        (CalendarSpan.MONTH, date(2026, 12, 1), date(2027, 1, 1)),
    ],
)
def test_periods_follow_each_other_over_the_end_of_a_year(
    span: CalendarSpan, first: date, following: date
) -> None:
    assert span.first_day(date(2026, 12, 31)) == first
    assert span.next_day(first) == following
    assert span.first_day(following) == following


def test_a_month_that_does_not_end_the_year_is_followed_by_the_next_one() -> None:
    assert CalendarSpan.MONTH.next_day(date(2026, 11, 1)) == date(2026, 12, 1)


@pytest.mark.parametrize(("week_start", "first"), [(1, 16), (6, 21), (7, 15)])
def test_a_week_begins_on_the_day_that_is_asked_for(week_start: int, first: int) -> None:
    saturday = date(2026, 11, 21)

    assert CalendarSpan.WEEK.first_day(saturday, week_start=week_start) == date(2026, 11, first)


def test_a_midnight_that_the_clocks_skip_is_the_moment_they_jump() -> None:
    moment = datetime(2024, 9, 8, 4, tzinfo=UTC)

    assert midnight(date(2024, 9, 8), ZoneInfo("America/Santiago")) == int(moment.timestamp()) * 10**6


def test_of_a_midnight_that_happens_twice_the_first_counts() -> None:
    moment = datetime(2024, 11, 3, 4, tzinfo=UTC)

    assert midnight(date(2024, 11, 3), ZoneInfo("America/Havana")) == int(moment.timestamp()) * 10**6


def test_an_hour_with_a_midnight_in_it_is_of_the_day_that_begins() -> None:
    hour = int(datetime(2026, 11, 20, 18, tzinfo=UTC).timestamp()) // 3600

    assert last_day_of_hour(hour, ZoneInfo("Asia/Kolkata")) == date(2026, 11, 21)
    assert last_day_of_hour(hour, ZoneInfo("UTC")) == date(2026, 11, 20)
