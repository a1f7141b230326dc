from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from om_server.rest.documented.query import Query
from om_server.rest.documented.spending_range import SpendingRange, month_end, read_range
from om_server.rest.errors import RequestMalformed

#: 2026-11-21 10:15 UTC.
NOW = 1_795_256_100_000_000


def read(**parameters: str) -> SpendingRange:
    return read_range(Query(parameters.items()), now_us=NOW)


def dates(days: SpendingRange) -> tuple[str, str]:
    return days.start.isoformat(), days.end.isoformat()


def edges(days: SpendingRange) -> tuple[datetime, datetime]:
    chosen = days.filter()
    return chosen.start_time.ToDatetime(UTC), chosen.end_time.ToDatetime(UTC)


@pytest.mark.acceptance("B-174", "B-176")
def test_without_dates_it_is_the_whole_current_month() -> None:
    assert dates(read()) == ("2026-11-01", "2026-11-30")


@pytest.mark.parametrize(
    ("given_dates", "expected"),
    [
        ({"start": "2026-11-05"}, ("2026-11-05", "2026-11-21")),
        ({"start": "2026-12-05"}, ("2026-12-05", "2026-12-05")),
        ({"end": "2026-02-28"}, ("2026-02-01", "2026-02-28")),
        ({"start": "2026-02-01", "end": "2026-02-28"}, ("2026-02-01", "2026-02-28")),
        (
            {"start": "2026-02-01T00:00:00Z", "end": "2026-02-28T23:59:59.999Z"},
            ("2026-02-01", "2026-02-28"),
        ),
        ({"start": "20260201", "end": "2026-02-03 10:00"}, ("2026-02-01", "2026-02-03")),
    ],
)
def test_a_missing_date_is_found_from_the_other(
    given_dates: dict[str, str], expected: tuple[str, str]
) -> None:
    assert dates(read(**given_dates)) == expected


def test_the_day_of_a_date_time_is_that_of_the_time_zone() -> None:
    days = read(start="2026-02-01T23:00:00Z", end="2026-02-28T23:00:00Z", timezone="Europe/Berlin")

    assert dates(days) == ("2026-02-02", "2026-03-01")


def test_today_is_the_time_zones() -> None:
    late = int(datetime(2026, 11, 30, 23, 30, tzinfo=UTC).timestamp()) * 10**6

    days = read_range(Query([("timezone", "Asia/Tokyo")]), now_us=late)

    assert dates(days) == ("2026-12-01", "2026-12-31")


def test_the_last_day_is_summed_whole() -> None:
    assert edges(read(start="2026-02-01", end="2026-02-28")) == (
        datetime(2026, 2, 1, tzinfo=UTC),
        datetime(2026, 3, 1, tzinfo=UTC),
    )


def test_days_of_a_zone_of_half_hours_begin_at_the_full_hour_before() -> None:
    days = read(start="2026-02-01", end="2026-02-28", timezone="Asia/Kolkata")

    assert edges(days) == (datetime(2026, 1, 31, 18, tzinfo=UTC), datetime(2026, 2, 28, 18, tzinfo=UTC))


@pytest.mark.parametrize(
    ("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-10-26", 24)], ids=str
)
def test_a_day_on_which_the_clocks_change_has_another_length(day: str, hours: int) -> None:
    start, end = edges(read(start=day, end=day, timezone="Europe/Berlin"))

    assert (end - start).total_seconds() == hours * 3600


@given(
    st.dates(date(1970, 1, 2), date(2100, 1, 1)),
    st.sampled_from(
        ["UTC", "Asia/Kolkata", "Europe/Berlin", "America/Sao_Paulo", "Australia/Lord_Howe", "Asia/Kathmandu"]
    ),
)
def test_ranges_that_follow_one_another_meet(day: date, zone: str) -> None:
    first = SpendingRange(day.replace(day=1), day, ZoneInfo(zone))
    after = date.fromordinal(day.toordinal() + 1)
    second = SpendingRange(after, after, ZoneInfo(zone))

    assert edges(first)[1] == edges(second)[0]
    assert edges(second)[0].minute == 0


@given(st.dates())
def test_the_last_day_of_a_month_is_followed_by_another_month(day: date) -> None:
    if day.year < 9999:
        last = month_end(day)
        assert (last.month, date.fromordinal(last.toordinal() + 1).day) == (day.month, 1)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"start": "soon"}, "querystring/start Invalid ISO date"),
        ({"end": "2026-02-30"}, "querystring/end Invalid ISO date"),
        ({"start": "0001-01-01T00:00:00+23:00"}, "querystring/start Invalid ISO date"),
        ({"start": "1969-12-31"}, "querystring/start Invalid ISO date: expected one from 1970-01-01"),
        ({"end": "9999-12-31"}, "querystring/end Invalid ISO date: expected one from 1970-01-01"),
        ({"start": "2026-02-02", "end": "2026-02-01"}, "querystring/end Invalid range: before the start"),
        ({"timezone": "Mars/Olympus"}, "querystring/timezone Invalid time zone"),
        ({"timezone": "../../etc/passwd"}, "querystring/timezone Invalid time zone"),
    ],
)
def test_a_range_that_is_none_names_its_parameter(parameters: dict[str, str], message: str) -> None:
    with pytest.raises(RequestMalformed) as caught:
        read(**parameters)

    assert caught.value.message.startswith(message)


@pytest.mark.acceptance("B-175")
def test_providers_are_separated_by_commas() -> None:
    assert read(provider="OpenAI, anthropic").filter().providers == ["OpenAI", "anthropic"]
    assert read().filter().providers == []
