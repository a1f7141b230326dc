"""What fails among things that fail together."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from om_server.core.errors import DependencyUnavailable
from om_server.pipeline.isolation import halves, is_transient, isolate
from om_server.storage.batch import RowsContended


class _Attempts:
    """Takes parts without a bad number in them."""

    def __init__(self, bad: set[int], error: Exception | None = None) -> None:
        self.bad = bad
        self.error = error or ValueError("bad")
        self.taken: list[int] = []
        self.count = 0

    def __call__(self, part: Sequence[int]) -> None:
        self.count += 1
        if self.bad & set(part):
            raise self.error
        self.taken += part


@given(st.integers(0, 40), st.sets(st.integers(0, 39)))
def test_exactly_the_bad_ones_fail_and_the_others_are_taken_once_in_order(size: int, bad: set[int]) -> None:
    attempts, failed = _Attempts(bad), list[int]()

    isolate(halves(range(size)), attempts, failed=lambda item, _: failed.append(item))

    assert failed == [item for item in range(size) if item in bad]
    assert attempts.taken == [item for item in range(size) if item not in bad]


@pytest.mark.parametrize("bad", [0, 123, 499])
def test_one_bad_in_five_hundred_costs_two_tries_for_each_halving(bad: int) -> None:
    attempts = _Attempts({bad})

    isolate(halves(range(500)), attempts, failed=lambda *_: None)

    assert attempts.count <= 2 * 9


@pytest.mark.parametrize("error", [DependencyUnavailable(), RowsContended("wallets")])
def test_what_passes_by_itself_ends_it_and_blames_nobody(error: Exception) -> None:
    failed = list[int]()

    with pytest.raises(type(error)):
        isolate(halves(range(8)), _Attempts({5}, error), failed=lambda item, _: failed.append(item))

    assert failed == []
    assert is_transient(error)
    assert not is_transient(ValueError())
