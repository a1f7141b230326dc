"""Ranges stand for sets of positions, and are the fewest that do."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from om_server.core.sequence_range import SequenceRange, merged, runs

SEQUENCES = st.sets(st.integers(1, 60))


def some_ranges() -> st.SearchStrategy[list[SequenceRange]]:
    part = st.tuples(st.integers(1, 60), st.integers(0, 12))
    return st.lists(part.map(lambda found: SequenceRange(found[0], sum(found))), max_size=12)


def positions(ranges: list[SequenceRange] | tuple[SequenceRange, ...]) -> set[int]:
    return {sequence for first, last in ranges for sequence in range(first, last + 1)}


def test_neighbours_become_one_and_a_gap_stays() -> None:
    assert runs([3, 1, 2, 5]) == ((1, 3), (5, 5))


def test_a_range_inside_another_does_not_shorten_it() -> None:
    assert merged([SequenceRange(1, 9), SequenceRange(2, 3)]) == ((1, 9),)


@given(SEQUENCES)
def test_runs_hold_exactly_the_positions(sequences: set[int]) -> None:
    assert positions(runs(sequences)) == sequences


@given(some_ranges())
def test_merging_neither_adds_nor_loses_a_position(ranges: list[SequenceRange]) -> None:
    assert positions(merged(ranges)) == positions(ranges)


@given(some_ranges())
def test_merged_ranges_are_in_order_with_a_gap_between(ranges: list[SequenceRange]) -> None:
    found = merged(ranges)

    assert all(before.last + 1 < after.first for before, after in itertools.pairwise(found))


@given(some_ranges(), some_ranges())
def test_merging_in_steps_is_merging_at_once(left: list[SequenceRange], right: list[SequenceRange]) -> None:
    assert merged((*merged(left), *right)) == merged((*left, *right))
