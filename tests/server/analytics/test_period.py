import itertools
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from om_server.analytics.period import Cut, Granularity, cut_hours, month_start, periods
from om_server.core.errors import InvalidArgument
from om_server.core.hours import HOUR, HourRange, find_zone, hour_of


def at(text: str) -> int:
    """Microseconds since 1970 of a time with an offset, UTC where there is none."""
    moment = datetime.fromisoformat(text)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1_000_000)


def starts(granularity: Granularity, zone: str, *, first: str, end: str) -> list[str]:
    """When the periods of a range start, in UTC."""
    hours = HourRange.around(at(first), at(end))
    found = periods(hours, granularity, zone=ZoneInfo(zone))
    return [f"{datetime.fromtimestamp(part.start_time // 10**6, UTC):%Y-%m-%dT%H:%M}" for part in found]


def day_lengths(zone: str, *, first: str, end: str) -> list[int]:
    hours = HourRange.around(at(first), at(end))
    found = [part.first_hour for part in periods(hours, Granularity.DAY, zone=ZoneInfo(zone))]
    return [after - before for before, after in itertools.pairwise(found)]


def test_a_range_grows_to_whole_hours() -> None:
    hours = HourRange.around(at("2026-03-01T10:59:59.999999"), at("2026-03-01T12:00:00.000001"))

    assert hours.start_time == at("2026-03-01T10:00")
    assert hours.end_time == at("2026-03-01T13:00")


def test_a_range_of_whole_hours_stays_as_it_is() -> None:
    hours = HourRange.around(at("2026-03-01T10:00"), at("2026-03-01T12:00"))

    assert (hours.start_time, hours.end_time) == (at("2026-03-01T10:00"), at("2026-03-01T12:00"))


def test_days_begin_at_local_midnight() -> None:
    assert starts(Granularity.DAY, "America/New_York", first="2026-01-10T12:00", end="2026-01-12T00:00") == [
        "2026-01-10T05:00",
        "2026-01-11T05:00",
    ]


def test_weeks_begin_on_monday() -> None:
    """2026-03-04 is a Wednesday."""
    assert starts(Granularity.WEEK, "Europe/Berlin", first="2026-03-04T00:00", end="2026-03-09T00:00") == [
        "2026-03-01T23:00",
        "2026-03-08T23:00",
    ]


def test_months_cross_the_year() -> None:
    assert starts(Granularity.MONTH, "UTC", first="2026-11-21T00:00", end="2027-01-01T00:01") == [
        "2026-11-01T00:00",
        "2026-12-01T00:00",
        "2027-01-01T00:00",
    ]


def test_the_day_of_the_spring_change_has_23_hours_and_that_of_autumn_25() -> None:
    assert day_lengths("Europe/Berlin", first="2026-03-28T00:00", end="2026-03-31T00:00") == [24, 23, 24]
    assert day_lengths("Europe/Berlin", first="2026-10-24T00:00", end="2026-10-27T00:00") == [24, 25, 24]


def test_a_day_whose_midnight_is_skipped_begins_when_the_clocks_jump() -> None:
    """In Cairo the clocks went from 2026-04-24 00:00 to 01:00."""
    assert starts(Granularity.DAY, "Africa/Cairo", first="2026-04-23T12:00", end="2026-04-25T12:00") == [
        "2026-04-22T22:00",
        "2026-04-23T22:00",
        "2026-04-24T21:00",
    ]


def test_a_midnight_that_happens_twice_begins_the_day_the_first_time() -> None:
    """In Havana the clocks go from 01:00 back to midnight."""
    lengths = day_lengths("America/Havana", first="2026-10-31T12:00", end="2026-11-03T12:00")

    assert lengths == [24, 25, 24]


def test_a_day_that_a_zone_left_out_has_no_period() -> None:
    """Samoa went from 2011-12-29 to 2011-12-31."""
    assert starts(Granularity.DAY, "Pacific/Apia", first="2011-12-30T00:00", end="2011-12-31T00:00") == [
        "2011-12-29T10:00",
        "2011-12-30T10:00",
    ]


def test_an_edge_inside_an_hour_is_moved_down_to_it() -> None:
    """Midnight in Kolkata is 18:30 UTC: the hour from 18:00 belongs to the new day."""
    zone = ZoneInfo("Asia/Kolkata")
    hours = HourRange.around(at("2026-05-01T18:30"), at("2026-05-02T18:00"))

    [day] = periods(hours, Granularity.DAY, zone=zone)

    assert day.start_time == at("2026-05-02T00:00+05:30")
    assert day.first_hour * HOUR == at("2026-05-01T18:00")


def test_a_query_from_local_midnight_on_has_no_rest_of_the_day_before() -> None:
    start = at("2026-05-02T00:00+05:45")
    hours = HourRange.around(start, start + 24 * HOUR - 1)
    cut = cut_hours(hours, Granularity.DAY, zone=ZoneInfo("Asia/Kathmandu"))

    assert cut.start_time(cut.number(hours.first)) == start


def test_no_hours_have_no_periods() -> None:
    assert periods(HourRange(5, 5), Granularity.DAY, zone=ZoneInfo("UTC")) == ()


@pytest.mark.parametrize("moment", ["0001-01-01T00:00", "1969-12-31T23:59", "9999-12-31T23:59"])
@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Etc/GMT+12"])
def test_the_ends_of_the_calendar_are_survived(moment: str, zone: str) -> None:
    time = int((datetime.fromisoformat(moment) - datetime(1970, 1, 1)).total_seconds()) * 10**6  # noqa: DTZ001
    hours = HourRange.around(time - 1, time)

    assert 0 <= hours.first <= hours.end
    for granularity in (Granularity.DAY, Granularity.WEEK, Granularity.MONTH):
        periods(HourRange(hours.first, hours.first + 1), granularity, zone=ZoneInfo(zone))
    month_start(time, ZoneInfo(zone))


def test_the_month_of_the_last_half_hour_is_not_the_next() -> None:
    """23:40 on 30 April in Kolkata, in the UTC hour in which May begins there."""
    assert month_start(at("2026-04-30T23:40+05:30"), ZoneInfo("Asia/Kolkata")) == at("2026-04-01T00:00+05:30")


@pytest.mark.parametrize(
    "name", ["Nowhere/Town", "../etc/passwd", "/etc/localtime", "America", "Europe/Berlin\0", "x" * 300]
)
def test_an_unknown_zone_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        find_zone(name)
    assert refused.value.field == "time_zone"


def test_no_zone_is_utc() -> None:
    assert find_zone("").key == "UTC"


def test_an_uncut_range_has_one_number_and_no_start() -> None:
    cut = Cut(Granularity.TOTAL)

    assert cut.number(12) == cut.number(99) == 0
    assert cut.start_time(0) is None


def test_an_hour_is_its_own_number() -> None:
    cut = Cut(Granularity.HOUR)

    assert cut.start_time(cut.number(hour_of(HOUR * 7 + 5))) == 7 * HOUR


_ZONES = st.sampled_from(
    [
        "UTC",
        "Europe/Berlin",
        "Asia/Kathmandu",
        "Australia/Lord_Howe",
        "America/St_Johns",
        "Pacific/Apia",
        "Africa/Cairo",
    ]
)
_CALENDAR = st.sampled_from([Granularity.DAY, Granularity.WEEK, Granularity.MONTH])


@given(
    _ZONES, _CALENDAR, st.integers(hour_of(at("2005-01-01")), hour_of(at("2030-01-01"))), st.integers(1, 3000)
)
def test_every_hour_lies_in_the_period_of_its_last_second(
    zone: str, granularity: Granularity, first: int, length: int
) -> None:
    """The calendar of the standard library decides, hour by hour."""
    cut = cut_hours(HourRange(first, first + length), granularity, zone=ZoneInfo(zone))
    for hour in {first, first + length // 3, first + length // 2, first + length - 1}:
        local = datetime.fromtimestamp(hour * 3600 + 3599, ZoneInfo(zone)).date()
        start = cut.start_time(cut.number(hour))
        assert start is not None
        begun = datetime.fromtimestamp(start // 10**6, ZoneInfo(zone)).date()
        if granularity is Granularity.DAY:
            assert local == begun
        elif granularity is Granularity.WEEK:
            assert (local.isocalendar()[:2], begun.isoweekday()) == (begun.isocalendar()[:2], 1)
        else:
            assert (local.year, local.month, begun.day) == (begun.year, begun.month, 1)
