from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from om_server.core.errors import InvalidArgument
from om_server.core.money import (
    AMOUNT_MAX,
    CREDITS,
    USD,
    AmountOutOfRange,
    CurrencyMismatch,
    Money,
    round_half_even,
)

AMOUNTS = st.integers(-AMOUNT_MAX, AMOUNT_MAX)


@pytest.mark.parametrize(
    ("text", "nanos"),
    [
        ("0", 0),
        ("1.5", 1_500_000_000),
        ("-0.000000001", -1),
        ("0.100000000", 100_000_000),
        ("1.50000000000000", 1_500_000_000),
        ("4611686018.427387904", AMOUNT_MAX),
    ],
)
def test_plain_decimals_are_read_exactly(text: str, nanos: int) -> None:
    assert Money.parse(text, USD).nanos == nanos


@pytest.mark.parametrize(
    "text", ["", "1e3", "1.", ".5", "+1", " 1", "0.0000000001", "\u0661", "1,5", "NaN", "9" * 30]
)
def test_anything_but_a_plain_decimal_of_nine_places_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        Money.parse(text, USD)


@given(AMOUNTS)
def test_what_is_written_is_read_back(nanos: int) -> None:
    money = Money(CREDITS, nanos)

    assert Money.parse(money.decimal(), CREDITS) == money


@pytest.mark.parametrize(
    ("nanos", "text"),
    [(0, "0"), (1, "0.000000001"), (-1_500_000_000, "-1.5"), (10_000_000_000, "10"), (-1, "-0.000000001")],
)
def test_decimals_have_no_exponent_and_no_trailing_zeros(nanos: int, text: str) -> None:
    assert Money(USD, nanos).decimal() == text


@pytest.mark.parametrize("nanos", [AMOUNT_MAX + 1, -AMOUNT_MAX - 1])
def test_amounts_beyond_the_range_do_not_exist(nanos: int) -> None:
    with pytest.raises(AmountOutOfRange) as caught:
        Money(USD, nanos)

    assert caught.value.metadata == {"amount": str(nanos)}


def test_a_sum_beyond_the_range_is_refused_and_not_wrapped() -> None:
    with pytest.raises(AmountOutOfRange):
        Money(USD, AMOUNT_MAX) + Money(USD, 1)


@pytest.mark.parametrize("currency", ["", "usd", "US", "CREDIT", "DOLLARS"])
def test_a_currency_is_three_capitals_or_credits(currency: str) -> None:
    with pytest.raises(InvalidArgument):
        Money(currency, 1)


@given(AMOUNTS, AMOUNTS)
def test_amounts_of_one_currency_add_subtract_and_compare_as_integers(left: int, right: int) -> None:
    a, b = Money(USD, left), Money(USD, right)

    assert (a < b, a <= b, a > b, a >= b) == (left < right, left <= right, left > right, left >= right)
    assert (-a).nanos == -left
    if abs(left + right) <= AMOUNT_MAX:
        assert (a + b).nanos == left + right
    if abs(left - right) <= AMOUNT_MAX:
        assert (a - b).nanos == left - right


def test_two_currencies_neither_add_nor_compare_nor_equal() -> None:
    dollars, credits_ = Money(USD, 1), Money(CREDITS, 1)

    assert dollars != credits_
    with pytest.raises(CurrencyMismatch) as caught:
        dollars + credits_
    assert caught.value.metadata == {"currency": USD, "other_currency": CREDITS}
    with pytest.raises(CurrencyMismatch):
        dollars - credits_
    with pytest.raises(CurrencyMismatch):
        assert dollars < credits_
    with pytest.raises(CurrencyMismatch):
        assert dollars >= credits_


@pytest.mark.parametrize(
    ("numerator", "denominator", "expected"),
    [(1, 2, 0), (3, 2, 2), (5, 2, 2), (-1, 2, 0), (-3, 2, -2), (7, 3, 2), (8, 3, 3), (-8, 3, -3), (6, 3, 2)],
)
def test_ties_go_to_the_even_neighbour(numerator: int, denominator: int, expected: int) -> None:
    assert round_half_even(numerator, denominator) == expected


@given(st.integers(-(10**40), 10**40), st.integers(1, 10**20))
def test_rounding_equals_that_of_exact_fractions(numerator: int, denominator: int) -> None:
    assert round_half_even(numerator, denominator) == round(Fraction(numerator, denominator))
