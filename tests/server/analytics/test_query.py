import pytest

from om_server.analytics.counters import Counters
from om_server.analytics.period import Cut, Granularity, Period
from om_server.analytics.query import (
    Dimension,
    EventFilter,
    GroupKey,
    GroupSums,
    GroupValue,
    Rank,
    UsageQuery,
    by_cost,
    by_event_count,
    usage_rows,
)
from om_server.analytics.series import Series
from om_server.core.errors import InvalidArgument
from om_server.core.hours import HourRange

HOURS = HourRange(0, 48)


def test_a_range_that_ends_before_it_starts_is_refused() -> None:
    with pytest.raises(InvalidArgument) as refused:
        EventFilter(start_time=5, end_time=5)
    assert refused.value.field == "filter.end_time"


@pytest.mark.parametrize(
    "group_by",
    [
        (Dimension.TAG, Dimension.MODEL),
        (Dimension.MODEL, Dimension.MODEL),
        (Dimension.TEAM, Dimension.KEY, Dimension.MODEL, Dimension.USER, Dimension.FEATURE),
    ],
)
def test_groups_that_mean_nothing_are_refused(group_by: tuple[Dimension, ...]) -> None:
    with pytest.raises(InvalidArgument) as refused:
        UsageQuery(group_by=group_by)
    assert refused.value.field == "group_by"


@pytest.mark.parametrize(
    ("wanted", "matches"),
    [
        (EventFilter(), True),
        (EventFilter(providers=("OPENAI",)), True),
        (EventFilter(providers=("openai",), models=("other",)), False),
        (EventFilter(team_ids=("a", "b"), user_ids=("",)), True),
        (EventFilter(user_ids=("b",)), False),
    ],
)
def test_all_fields_of_a_series_must_match(wanted: EventFilter, *, matches: bool) -> None:
    assert wanted.matches(Series(team_id="b", provider="openai", model="m")) is matches


def test_the_sandbox_counts_only_on_request() -> None:
    assert not EventFilter().matches(Series(sandbox=True))
    assert EventFilter(include_sandbox=True).matches(Series(sandbox=True))


def test_rows_are_ordered_by_period_then_rank_then_group() -> None:
    cut = Cut(Granularity.DAY, (Period(0, 0), Period(24 * 3_600_000_000, 24)))
    query = UsageQuery(group_by=(Dimension.MODEL,), granularity=Granularity.DAY)
    sums: dict[GroupKey, GroupSums] = {
        (1, ("a",)): GroupSums(Counters(event_count=9, cost=9), {}),
        (0, ("few",)): GroupSums(Counters(event_count=1, cost=5), {}),
        (0, ("z",)): GroupSums(Counters(event_count=2, cost=1), {}),
        (0, ("y",)): GroupSums(Counters(event_count=2, cost=1), {}),
    }

    def models(rank: Rank) -> list[str]:
        rows = usage_rows(sums, query, cut=cut, names={}, rank=rank)
        return [row.group[0].value for row in rows]

    assert models(by_event_count) == ["y", "z", "few", "a"]
    assert models(by_cost) == ["few", "y", "z", "a"]


def test_a_group_is_named_where_a_name_is_known() -> None:
    query = UsageQuery(group_by=(Dimension.TEAM, Dimension.MODEL))
    sums: dict[GroupKey, GroupSums] = {
        (0, ("t1", "m")): GroupSums(Counters(), {}),
        (0, ("t2", "m")): GroupSums(Counters(), {}),
    }

    rows = usage_rows(
        sums,
        query,
        cut=Cut(Granularity.TOTAL),
        names={Dimension.TEAM: {"t1": "Research"}},
        rank=by_cost,
    )

    model = GroupValue(Dimension.MODEL, "m")
    assert [row.group for row in rows] == [
        (GroupValue(Dimension.TEAM, "t1", "Research"), model),
        (GroupValue(Dimension.TEAM, "t2", ""), model),
    ]
