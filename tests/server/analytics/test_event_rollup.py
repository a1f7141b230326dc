import random
from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from om_server.analytics.counters import Counters, QuantitySum
from om_server.analytics.event_rollup import correction, roll_up
from om_server.analytics.rollup import TAG_ALL, RollupDelta, RollupKey
from om_server.analytics.settled import SettledEvent, SettledState
from om_server.core.event import Outcome
from om_server.core.hours import HOUR, hour_of
from om_server.core.usage import Certainty, Quantity, Usage
from tests.server.analytics.examples import NOW, batches, line, settled


def totals(delta: RollupDelta) -> Counters:
    return sum((row for key, row in delta.counters.items() if key.tag == TAG_ALL), Counters())


def by_model(delta: RollupDelta) -> dict[str, Counters]:
    return {
        delta.series[key.organization_id, key.series_id].model: row
        for key, row in delta.counters.items()
        if key.tag == TAG_ALL
    }


def with_usage(event: SettledEvent, *quantities: Quantity) -> SettledEvent:
    part = event.lines[0]
    return replace(event, lines=(replace(part, line=replace(part.line, usage=Usage(quantities))),))


def test_an_event_counts_once_and_its_lines_share_the_money() -> None:
    delta = roll_up([settled("e", line("m1", cost=3, charge=5), line("m2", cost=4, charge=6))])

    assert by_model(delta) == {
        "m1": Counters(event_count=1, cost=3, charge=5),
        "m2": Counters(event_count=0, cost=4, charge=6),
    }


def test_two_lines_at_one_model_make_one_row() -> None:
    delta = roll_up([settled("e", line(cost=3, input_tokens=1), line(cost=4, input_tokens=2))])

    [counted] = delta.counters.values()
    assert (counted.event_count, counted.cost) == (1, 7)
    assert list(delta.quantities.values()) == [QuantitySum(3)]


def test_each_tag_is_given_the_whole_event() -> None:
    delta = roll_up([settled("e", tags=("a", "b"))])

    assert {key.tag: row.cost for key, row in delta.counters.items()} == {"": 10, "a": 10, "b": 10}


def test_an_empty_or_repeated_tag_does_not_count_an_event_twice() -> None:
    delta = roll_up([settled("e", tags=("", "a", "a"))])

    assert {key.tag: row.event_count for key, row in delta.counters.items()} == {"": 1, "a": 1}


def test_an_event_without_lines_counts_at_no_model() -> None:
    event = replace(settled("e"), lines=(), cost=8, charge=9)

    assert by_model(roll_up([event])) == {"": Counters(event_count=1, cost=8, charge=9)}


def test_the_money_of_an_unrated_event_waits() -> None:
    event = settled("e", line(cost=None, charge=4), state=SettledState.UNRATED, cost=None)

    assert totals(roll_up([event])) == Counters(event_count=1, unrated_count=1)


def test_an_unknown_quantity_is_counted_and_not_summed() -> None:
    event = with_usage(
        settled("e"),
        Quantity("input_tokens", 5),
        Quantity("output_tokens", None, Certainty.UNKNOWN),
    )

    delta = roll_up([event])

    assert totals(delta).unknown_count == 1
    assert [(key.unit, row) for key, row in delta.quantities.items()] == [("input_tokens", QuantitySum(5))]


def test_a_known_zero_is_summed() -> None:
    delta = roll_up([with_usage(settled("e"), Quantity("input_tokens", 0))])

    assert totals(delta).unknown_count == 0
    assert list(delta.quantities.values()) == [QuantitySum(0)]


def test_a_line_that_reports_nothing_is_unknown_unless_nothing_was_consumed() -> None:
    silent = with_usage(settled("e"))
    refused = replace(silent, event=replace(silent.event, outcome=Outcome.ZERO))

    assert totals(roll_up([silent])).unknown_count == 1
    assert totals(roll_up([refused])).unknown_count == 0


def test_a_call_that_left_no_trace_is_unknown() -> None:
    gone = replace(settled("e", outcome=Outcome.UNKNOWN), lines=(), cost=0, charge=0)
    deferred = replace(gone, event=replace(gone.event, outcome=Outcome.DEFERRED))

    assert totals(roll_up([gone])).unknown_count == 1
    assert totals(roll_up([deferred])).unknown_count == 0


def test_estimates_are_summed_apart_as_well() -> None:
    measured = with_usage(settled("e1"), Quantity("input_tokens", 5))
    estimated = with_usage(settled("e2"), Quantity("input_tokens", 7, Certainty.ESTIMATED))

    delta = roll_up([measured, estimated])

    assert totals(delta).estimated_count == 1
    assert list(delta.quantities.values()) == [QuantitySum(12, estimated_amount=7)]


def test_an_hour_begins_at_its_first_microsecond() -> None:
    start = hour_of(NOW) * HOUR
    events = [settled("last", event_time=start - 1), settled("first", event_time=start)]

    assert [key.hour for key in roll_up(events).counters] == [hour_of(NOW) - 1, hour_of(NOW)]


def test_a_provider_is_one_series_however_it_is_spelled() -> None:
    event = settled("e")
    part = event.lines[0]
    shouted = replace(event, lines=(replace(part, line=replace(part.line, provider="OpenAI")),))

    assert roll_up([event]).series == roll_up([shouted]).series


@given(batches(), st.randoms(use_true_random=False), st.integers(0, 12))
def test_batches_settle_to_the_same_however_they_are_cut(
    events: list[SettledEvent], shuffler: random.Random, cut: int
) -> None:
    shuffled = events[:]
    shuffler.shuffle(shuffled)

    assert roll_up(shuffled[:cut]) + roll_up(shuffled[cut:]) == roll_up(events)


@given(batches())
def test_rollups_equal_sums_over_events(events: list[SettledEvent]) -> None:
    """I16, for the rows of all events and for those of each tag."""
    expected: Counter[tuple[str, str]] = Counter()
    costs: Counter[tuple[str, str]] = Counter()
    amounts: Counter[tuple[str, str, str]] = Counter()
    for item in events:
        for tag in ("", *item.event.attribution.tags):
            where = item.event.organization_id, tag
            expected[where] += 1
            costs[where] += item.cost or 0 if item.state is not SettledState.UNRATED else 0
            for quantity in (q for part in item.lines for q in part.line.usage.quantities):
                amounts[*where, quantity.unit] += quantity.amount or 0

    delta = roll_up(events)

    found: Counter[tuple[str, str]] = Counter()
    found_costs: Counter[tuple[str, str]] = Counter()
    found_amounts: Counter[tuple[str, str, str]] = Counter()
    for key, row in delta.counters.items():
        found[key.organization_id, key.tag] += row.event_count
        found_costs[key.organization_id, key.tag] += row.cost
    for quantity_key, amount in delta.quantities.items():
        found_amounts[quantity_key.organization_id, quantity_key.tag, quantity_key.unit] += amount.amount
    assert (found, found_costs, found_amounts) == (expected, costs, amounts)


@given(batches())
def test_every_quantity_has_a_row_of_counters_and_every_row_a_series(events: list[SettledEvent]) -> None:
    delta = roll_up(events)

    assert {RollupKey(*key[:4]) for key in delta.quantities} <= set(delta.counters)
    assert {(key.organization_id, key.series_id) for key in delta.counters} == set(delta.series)


@given(batches(), batches())
def test_a_correction_makes_the_sums_over_some_events_those_over_others(
    before: list[SettledEvent], after: list[SettledEvent]
) -> None:
    delta = correction(before, after)

    corrected, wanted = roll_up(before) + delta, roll_up(after)
    for mine, theirs, nothing in (
        (corrected.counters, wanted.counters, Counters()),
        (corrected.quantities, wanted.quantities, QuantitySum()),
    ):
        assert {key: row for key, row in mine.items() if row != nothing} == {
            key: row for key, row in theirs.items() if row != nothing
        }
    assert nothing not in delta.quantities.values()


def test_a_correction_of_nothing_is_nothing() -> None:
    events = [settled("e1", line(cost=1, charge=2))]

    assert correction(events, events).counters == {}
    assert correction(events, events).quantities == {}
