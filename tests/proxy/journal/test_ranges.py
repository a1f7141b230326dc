from hypothesis import given
from hypothesis import strategies as st

from om_proxy.journal.ranges import Ranges

runs = st.tuples(st.integers(1, 60), st.integers(0, 12)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@given(st.lists(runs, max_size=25), runs)
def test_ranges_hold_exactly_the_numbers_of_their_runs(
    added: list[tuple[int, int]], asked: tuple[int, int]
) -> None:
    ranges, numbers = Ranges(), set[int]()
    for first, last in added:
        ranges.add(first, last)
        numbers.update(range(first, last + 1))

    assert [number for number in range(90) if number in ranges] == sorted(numbers)
    assert ranges.cover(*asked) == numbers.issuperset(range(asked[0], asked[1] + 1))
    assert ranges.count(*asked) == len(numbers & set(range(asked[0], asked[1] + 1)))


@given(st.permutations(range(1, 40)))
def test_numbers_that_touch_become_one_run_in_any_order(numbers: list[int]) -> None:
    ranges = Ranges()
    for number in numbers:
        ranges.add(number, number)

    assert ranges.cover(1, 39)
    assert len(ranges._firsts) == 1


def test_a_run_of_nothing_is_always_covered() -> None:
    assert Ranges().cover(1, 0)
    assert not Ranges().cover(1, 1)
