import pytest
from hypothesis import given
from hypothesis import strategies as st

from om_server.analytics.counters import Counters
from om_server.analytics.query import Dimension, GroupValue, UsageRow
from om_server.analytics.version_comparison import VersionSpend, compare_versions
from om_server.core.money import NANO


def row(value: str, event_count: int = 1, cost: int = 10) -> UsageRow:
    group = (GroupValue(Dimension.PROMPT_VERSION, value),)
    return UsageRow(None, group, Counters(event_count=event_count, cost=cost), {})


def test_every_registered_version_is_shown_then_what_is_not_tracked() -> None:
    rows = [row(""), row("10"), row("2"), row("0")]

    compared = compare_versions(rows, version_count=3)

    assert [(one.version, one.registered, one.counters.event_count) for one in compared] == [
        (0, False, 1),
        (1, True, 0),
        (2, True, 1),
        (3, True, 0),
        (10, False, 1),
        (None, False, 1),
    ]


def test_of_nothing_there_is_nothing() -> None:
    assert compare_versions([], version_count=0) == ()


@pytest.mark.acceptance("B-180")
@pytest.mark.parametrize(
    ("counters", "average"),
    [
        (Counters(event_count=400, cost=6 * NANO), 15 * NANO // 1000),
        (Counters(event_count=400, cost=42 * NANO // 10), 105 * NANO // 10_000),
        (Counters(event_count=2, cost=5), 2),
        (Counters(event_count=2, cost=7), 4),
        (Counters(event_count=3, cost=5), 2),
        (Counters(event_count=3, cost=0), 0),
        (Counters(event_count=3, unrated_count=1, cost=5), 2),
        (Counters(event_count=3, unrated_count=3), None),
        (Counters(), None),
        # Only a later line of its events matched the filter.
        (Counters(cost=5), None),
    ],
)
def test_an_average_is_the_cost_through_the_rated_events_half_even(
    counters: Counters, average: int | None
) -> None:
    assert VersionSpend(1, registered=True, counters=counters).average_cost == average


@given(st.integers(0, 2**62), st.integers(1, 10**6))
def test_an_average_is_never_off_by_more_than_half_a_nano(cost: int, count: int) -> None:
    average = VersionSpend(1, registered=True, counters=Counters(event_count=count, cost=cost)).average_cost

    assert average is not None
    assert abs(2 * (average * count - cost)) <= count
