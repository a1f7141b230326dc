from hypothesis import given

from om_server.analytics.counters import Counters, QuantitySum
from om_server.analytics.event_rollup import roll_up
from om_server.analytics.rollup import RollupDelta, by_day
from om_server.analytics.settled import SettledEvent
from om_server.core.hours import HOURS_OF_DAY
from tests.server.analytics.examples import batches


@given(batches(), batches(), batches(max_size=3))
def test_the_order_in_which_deltas_are_added_never_matters(
    first: list[SettledEvent], second: list[SettledEvent], third: list[SettledEvent]
) -> None:
    one, two, three = roll_up(first), roll_up(second), roll_up(third)

    assert one + two == two + one
    assert (one + two) + three == one + (two + three)
    assert one + RollupDelta() == one


@given(batches())
def test_a_day_is_the_sum_of_its_hours(events: list[SettledEvent]) -> None:
    hours, days = roll_up(events), by_day(roll_up(events))

    expected: dict[tuple[object, ...], Counters] = {}
    for key, row in hours.counters.items():
        day = key.organization_id, key.hour // HOURS_OF_DAY, key.tag, key.series_id
        expected[day] = expected.get(day, Counters()) + row
    assert days.counters == expected
    assert days.series == hours.series
    assert sum(row.amount for row in days.quantities.values()) == sum(
        row.amount for row in hours.quantities.values()
    )


@given(batches())
def test_what_is_added_and_taken_away_leaves_nothing(events: list[SettledEvent]) -> None:
    delta = roll_up(events)

    left = delta + -delta

    assert set(left.counters.values()) <= {Counters()}
    assert set(left.quantities.values()) <= {QuantitySum()}
    assert left.counters.keys() == delta.counters.keys()
