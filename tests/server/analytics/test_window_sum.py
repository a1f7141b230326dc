"""The one sum that limits ask for: what every other answer about usage sums to, and read exactly."""

import pytest

from om_server.analytics.operations import AnalyticsOperations
from om_server.analytics.query import EventFilter, UsageQuery
from om_server.analytics.settled import SettledEvent
from om_server.analytics.store import AnalyticsStore
from om_server.analytics.window_sum import WindowSums
from om_server.core.hours import HOUR
from om_server.storage.database import Database
from tests.server.analytics.examples import NOW, ORG, line, settled

START = NOW // HOUR * HOUR
HUGE = 2**61


@pytest.fixture(name="sums")
def make_sums(database: Database) -> WindowSums:
    return WindowSums(database)


@pytest.fixture(name="analytics")
def make_analytics(database: Database) -> AnalyticsOperations:
    return AnalyticsOperations(database, AnalyticsStore(database), clock=lambda: NOW)


def wanted(**changes: tuple[str, ...]) -> EventFilter:
    return EventFilter(start_time=START, end_time=START + HOUR, **changes)  # type: ignore[arg-type] # A row.


def events() -> list[SettledEvent]:
    """Two lines of Ada, one of Bob with tags, and what no sum may have."""
    return [
        settled("a", line(cost=1, charge=10), line("claude", cost=2, charge=20), user_id="ada"),
        settled("b", line(cost=4, charge=40, images=3), user_id="bob", tags=("x", "y"), feature_id="chat"),
        settled("c", user_id="ada", sandbox=True),
        settled("d", user_id="ada", event_time=START - 1),
        settled("e", user_id="ada", event_time=START + HOUR),
        settled("f", user_id="ada", organization_id="org_b"),
    ]


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({}, (70, 7, 2, 200)),
        ({"user_ids": ("ada",)}, (30, 3, 1, 200)),
        ({"tags": ("y",)}, (40, 4, 1, 0)),
        ({"tags": ("y",), "user_ids": ("ada",)}, (0, 0, 0, 0)),
        ({"feature_ids": ("chat",), "user_ids": ("bob",)}, (40, 4, 1, 0)),
    ],
)
def test_a_sum_has_what_matches_within_its_hours_and_nothing_else(
    analytics: AnalyticsOperations,
    sums: WindowSums,
    condition: dict[str, tuple[str, ...]],
    expected: tuple[int, ...],
) -> None:
    analytics.record(events())
    asked = wanted(**condition)

    found = (
        sums.charge(ORG, asked),
        sums.cost(ORG, asked),
        sums.events(ORG, asked),
        sums.quantity(ORG, asked, unit="input_tokens"),
    )

    assert found == expected
    rows = analytics.query_usage(ORG, UsageQuery(asked)).rows
    assert (rows[0].counters.charge if rows else 0) == found[0]


def test_a_unit_is_summed_alone(analytics: AnalyticsOperations, sums: WindowSums) -> None:
    analytics.record(events())

    assert sums.quantity(ORG, wanted(), unit="images") == 3
    assert sums.quantity(ORG, wanted(), unit="pages") == 0


def test_a_sum_beyond_64_bits_is_exact(analytics: AnalyticsOperations, sums: WindowSums) -> None:
    analytics.record(
        [
            settled(str(number), line(cost=0, charge=HUGE + number), user_id=f"user_{number}")
            for number in range(9)
        ]
    )

    assert sums.charge(ORG, wanted()) == 9 * HUGE + 36


def test_what_a_transaction_adds_is_in_its_own_sums(
    database: Database, analytics: AnalyticsOperations, sums: WindowSums
) -> None:
    def run() -> int:
        analytics.record(events())
        return sums.events(ORG, wanted())

    assert database.write(run) == 2


def test_a_window_without_an_end_is_a_mistake(sums: WindowSums) -> None:
    with pytest.raises(ValueError, match="a start and an end"):
        sums.events(ORG, EventFilter(start_time=START))
