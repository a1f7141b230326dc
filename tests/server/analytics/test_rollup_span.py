from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from om_server.analytics.period import Granularity, cut_hours
from om_server.analytics.rollup_span import RollupSpan, rollup_span
from om_server.core.hours import HOURS_OF_DAY, HourRange

#: 2026-03-01 00:00 UTC; the clocks of Berlin change on the 29th.
MARCH = 20_513 * HOURS_OF_DAY
ZONES = st.sampled_from(["UTC", "Asia/Kolkata", "Europe/Berlin", "America/New_York", "Pacific/Apia"])


def span(first: int, end: int, granularity: Granularity, zone: str = "UTC") -> RollupSpan:
    hours = HourRange(first, end)
    return rollup_span(hours, cut_hours(hours, granularity, zone=ZoneInfo(zone)))


def test_whole_days_are_read_as_days_and_the_edges_as_hours() -> None:
    assert span(MARCH - 3, MARCH + 50, Granularity.TOTAL) == RollupSpan(
        hours=(HourRange(MARCH - 3, MARCH), HourRange(MARCH + 48, MARCH + 50)),
        days=(HourRange(MARCH // 24, MARCH // 24 + 2),),
    )


@pytest.mark.parametrize(
    ("granularity", "zone", "runs", "hour_ranges"),
    [
        (Granularity.HOUR, "UTC", 0, 1),
        (Granularity.DAY, "UTC", 1, 0),
        (Granularity.MONTH, "UTC", 1, 0),
        (Granularity.DAY, "Asia/Kolkata", 0, 1),
        # Two days are parts of two months there: the last of March and the last of April.
        (Granularity.MONTH, "Asia/Kolkata", 3, 2),
    ],
)
def test_a_day_of_two_periods_is_read_as_hours(
    granularity: Granularity, zone: str, runs: int, hour_ranges: int
) -> None:
    found = span(MARCH, MARCH + 65 * 24, granularity, zone)

    assert (len(found.days), len(found.hours)) == (runs, hour_ranges)


def test_too_many_pieces_are_read_as_hours_in_one() -> None:
    years = HourRange(MARCH, MARCH + 24 * 365 * 3)

    assert span(years.first, years.end, Granularity.WEEK, "Asia/Tokyo") == RollupSpan((years,))


@given(st.integers(0, 24 * 60), st.integers(0, 24 * 60), st.sampled_from(Granularity), ZONES)
def test_every_hour_is_read_once_and_a_day_lies_in_one_period(
    start: int, length: int, granularity: Granularity, zone: str
) -> None:
    hours = HourRange(MARCH + start, MARCH + start + length)
    cut = cut_hours(hours, granularity, zone=ZoneInfo(zone))

    found = rollup_span(hours, cut)

    read = [hour for part in found.hours for hour in range(part.first, part.end)]
    for part in found.days:
        for day in range(part.first, part.end):
            of_day = range(day * HOURS_OF_DAY, (day + 1) * HOURS_OF_DAY)
            read += of_day
            assert len({cut.number(hour) for hour in of_day}) == 1
    assert sorted(read) == list(range(hours.first, hours.end))
