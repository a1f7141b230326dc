from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from om_server.rest.documented.figure import exact, exact_text, fixed_text, percentage

NANOS = st.integers(min_value=-(2**62), max_value=2**62)


@pytest.mark.parametrize(
    ("nanos", "text"),
    [
        (0, "0"),
        (10_000_000_000_000, "10000"),
        (9_992_500_000_000, "9992.5"),
        (1, "0.000000001"),
        (-1_500_000_000, "-1.5"),
        (2**62, "4611686018.427387904"),
    ],
)
def test_exact_text_has_no_trailing_zeros(nanos: int, text: str) -> None:
    assert exact_text(nanos) == text


@given(NANOS)
def test_nothing_is_lost(nanos: int) -> None:
    assert Decimal(exact_text(nanos)) * 10**9 == nanos
    assert exact(nanos) * 10**9 == nanos


@pytest.mark.parametrize(
    ("nanos", "places", "text"),
    [
        (1_500_000, 10, "0.0015000000"),
        (1_500_000, 4, "0.0015"),
        (50_000, 4, "0.0001"),
        (49_999, 4, "0.0000"),
        (0, 4, "0.0000"),
        (12_345_678_901_234, 4, "12345.6789"),
    ],
)
def test_fixed_text_has_so_many_decimals(nanos: int, places: int, text: str) -> None:
    assert fixed_text(nanos, places) == text


@pytest.mark.parametrize(
    ("part", "whole", "share"),
    [(1, 3, "33.33"), (1, 2, "50"), (5, 5, "100"), (0, 7, "0"), (0, 0, "0"), (1, 1000, "0.1")],
)
def test_a_share_has_at_most_two_decimals(part: int, whole: int, share: str) -> None:
    assert format(percentage(part, whole), "f") == share
