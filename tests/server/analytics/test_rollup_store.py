from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from om_server.analytics.counters import Counters, QuantitySum
from om_server.analytics.event_rollup import roll_up
from om_server.analytics.period import Cut, Granularity, Period, cut_hours
from om_server.analytics.query import Dimension, EventFilter, GroupKey, GroupSums, UsageQuery, group_sums
from om_server.analytics.rollup_statement import Question
from om_server.analytics.rollup_store import RollupStore
from om_server.analytics.settled import SettledEvent
from om_server.core.hours import HOUR, HourRange, hour_of
from om_server.storage.database import Database
from tests.server.analytics.examples import NOW, ORG, OTHER_ORG, batches, line, settled
from tests.server.analytics.rolled_back import rolled_back

ALL_HOURS = HourRange(hour_of(NOW) - 72, hour_of(NOW) + 1)
UNCUT = Cut(Granularity.TOTAL)


@pytest.fixture
def store(database: Database) -> RollupStore:
    return RollupStore(database)


def add(database: Database, store: RollupStore, *events: SettledEvent) -> None:
    database.write(lambda: store.add(roll_up(events)))


def sums(database: Database, store: RollupStore, query: UsageQuery, **changes: Any) -> Any:
    question = Question(
        **{
            "organization_id": ORG,
            "query": query,
            "hours": ALL_HOURS,
            "cut": UNCUT,
            "with_quantities": True,
            **changes,
        }
    )
    return database.read(lambda: store.sums(question))


def test_a_second_batch_adds_to_the_first(database: Database, store: RollupStore) -> None:
    add(database, store, settled("e1", line(cost=1, charge=2, input_tokens=3)))
    add(database, store, settled("e2", line(cost=10, charge=20, input_tokens=30)))

    [found] = sums(database, store, UsageQuery()).values()

    assert found.counters == Counters(event_count=2, cost=11, charge=22)
    assert found.quantities == {"input_tokens": QuantitySum(33)}


def test_sums_beyond_64_bits_are_exact(database: Database, store: RollupStore) -> None:
    amount = 2**62 - 1
    for days_ago in range(3):
        event = settled(
            f"e{days_ago}",
            line(cost=amount, charge=-amount, input_tokens=2**53),
            event_time=NOW - days_ago * 24 * HOUR,
        )
        add(database, store, event)

    [found] = sums(database, store, UsageQuery()).values()

    assert found.counters == Counters(event_count=3, cost=3 * amount, charge=-3 * amount)
    assert found.quantities == {"input_tokens": QuantitySum(3 * 2**53)}
    assert all(type(number) is int for number in (found.counters.cost, found.counters.event_count))


@pytest.mark.parametrize("group", [(), (Dimension.MODEL,), (Dimension.CUSTOMER,), (Dimension.TAG,)])
def test_what_all_series_of_an_hour_have_may_pass_64_bits(
    database: Database, store: RollupStore, group: tuple[Dimension, ...]
) -> None:
    """A day is read by facet, whose rows have the money of many series."""
    amount = 2**62 - 1
    of_day = [
        settled(f"e{number}", line(cost=amount, charge=-amount), user_id=f"u{number}", tags=("t",))
        for number in range(3)
    ]
    add(database, store, *of_day)
    add(database, store, settled("late", line(cost=-5, charge=7), user_id="u9", tags=("t",)))
    day = hour_of(NOW) // 24 * 24

    for hours in (HourRange(day, day + 24), HourRange(hour_of(NOW), hour_of(NOW) + 1)):
        [found] = sums(database, store, UsageQuery(group_by=group), hours=hours).values()
        assert (found.counters.cost, found.counters.charge) == (3 * amount - 5, 7 - 3 * amount)


def test_nothing_is_no_group(database: Database, store: RollupStore) -> None:
    assert sums(database, store, UsageQuery()) == {}
    assert sums(database, store, UsageQuery(group_by=(Dimension.MODEL,))) == {}


def test_quantities_are_left_out_on_request(database: Database, store: RollupStore) -> None:
    add(database, store, settled("e"))

    [found] = sums(database, store, UsageQuery(), with_quantities=False).values()

    assert (found.counters.event_count, found.quantities) == (1, {})


def test_the_end_of_a_range_is_exclusive(database: Database, store: RollupStore) -> None:
    add(database, store, settled("e"))
    hour = hour_of(NOW)

    assert sums(database, store, UsageQuery(), hours=HourRange(hour - 1, hour)) == {}
    assert sums(database, store, UsageQuery(), hours=HourRange(hour + 1, hour + 2)) == {}
    assert len(sums(database, store, UsageQuery(), hours=HourRange(hour, hour + 1))) == 1


def test_another_organization_is_never_summed(database: Database, store: RollupStore) -> None:
    """Its series has the same id, because the dimensions are the same."""
    add(database, store, settled("e1", tags=("a",)), settled("e2", organization_id=OTHER_ORG, tags=("a",)))

    for query in (
        UsageQuery(),
        UsageQuery(group_by=(Dimension.MODEL,)),
        UsageQuery(group_by=(Dimension.TAG,)),
        UsageQuery(EventFilter(models=("gpt-4o",))),
    ):
        [found] = sums(database, store, query).values()
        assert found.counters.event_count == 1
    assert database.read(lambda: store.hours_with_usage("org_c", ALL_HOURS)) == HourRange(
        ALL_HOURS.first, ALL_HOURS.first
    )


def test_the_range_shrinks_to_hours_with_usage(database: Database, store: RollupStore) -> None:
    hour = hour_of(NOW)
    for ago in (50, 7, 3):
        add(database, store, settled(f"e{ago}", event_time=NOW - ago * HOUR))

    def shrunk(first: int, end: int) -> HourRange:
        return database.read(lambda: store.hours_with_usage(ORG, HourRange(first, end)))

    assert shrunk(0, hour + 1) == HourRange(hour - 50, hour - 2)
    assert shrunk(hour - 49, hour - 3) == HourRange(hour - 7, hour - 6)


@pytest.mark.parametrize("step", [1, 2, 5, 24, 100])
def test_the_database_finds_the_period_of_an_hour(database: Database, store: RollupStore, step: int) -> None:
    """Any edges will do, so that up to 73 periods are told apart."""
    edges = range(ALL_HOURS.first, ALL_HOURS.end, step)
    cut = Cut(Granularity.DAY, tuple(Period(first * HOUR, first) for first in edges))
    events = [settled(f"e{hour}", event_time=hour * HOUR) for hour in range(ALL_HOURS.first, ALL_HOURS.end)]
    add(database, store, *events)

    found = sums(database, store, UsageQuery(), cut=cut)

    expected = Counter(cut.number(hour_of(item.event.event_time)) for item in events)
    assert {number: part.counters.event_count for (number, _), part in found.items()} == expected


_QUERIES = st.builds(
    UsageQuery,
    filter=st.builds(
        EventFilter,
        providers=st.sampled_from([(), ("openai",), ("OPENAI", "x")]),
        models=st.sampled_from([(), ("m2",)]),
        customer_ids=st.sampled_from([(), ("a", "")]),
        team_ids=st.sampled_from([(), ("a",)]),
        include_sandbox=st.booleans(),
    ),
    group_by=st.lists(
        st.sampled_from([dimension for dimension in Dimension if dimension is not Dimension.TAG]),
        max_size=4,
        unique=True,
    ).map(tuple),
    granularity=st.sampled_from(Granularity),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=batches(), cut_at=st.integers(0, 12), query=_QUERIES, measured=st.booleans())
def test_stored_sums_equal_sums_in_memory(
    database: Database,
    store: RollupStore,
    events: list[SettledEvent],
    cut_at: int,
    query: UsageQuery,
    *,
    measured: bool,
) -> None:
    """I16 through the database: added in two batches, for any question."""
    cut = cut_hours(ALL_HOURS, query.granularity, zone=query.zone)
    question = Question(ORG, query, ALL_HOURS, cut, with_quantities=measured)

    def settle_and_sum() -> dict[GroupKey, GroupSums]:
        store.add(roll_up(events[:cut_at]))
        store.add(roll_up(events[cut_at:]))
        return store.sums(question)

    found = rolled_back(database, settle_and_sum)

    ours = [item for item in events if item.event.organization_id == ORG]
    expected = group_sums(roll_up(ours), query, cut=cut)
    assert found == (
        expected if measured else {group: GroupSums(sums.counters, {}) for group, sums in expected.items()}
    )


def test_the_consumers_of_one_provider_are_summed_without_those_of_another(
    database: Database, store: RollupStore
) -> None:
    """Over whole days, which are read where each provider has sums of its own, and hours at both ends."""
    users = ("u1", "u2", "u1")
    models = ("gpt-4o", "gpt-4o", "claude-4")
    for ago in (0, 30, 60):
        add(
            database,
            store,
            *(
                settled(f"{user}{model}{ago}", line(model), user_id=user, event_time=NOW - ago * HOUR)
                for user, model in zip(users, models, strict=True)
            ),
        )

    def counts(*providers: str) -> dict[str, int]:
        query = UsageQuery(EventFilter(providers=providers), (Dimension.USER,))
        found = sums(database, store, query, with_quantities=False)
        return {values[0]: part.counters.event_count for (_, values), part in found.items()}

    assert counts("OpenAI") == {"u1": 3, "u2": 3}
    assert counts("anthropic") == {"u1": 3}
    assert counts("openai", "anthropic", "openai") == {"u1": 6, "u2": 3}
    assert counts("none") == {}
