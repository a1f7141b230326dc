"""What of rates by quantity is shown, whose rates they are, and what a rate card makes of them."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from om_server.core.event import UsageLine
from om_server.core.usage import Usage
from om_server.rating.burn_table import BurnRule, burn_table
from om_server.rating.rate_card import CardSpan, model_rates
from om_server.rating.unit_rate import Rate
from tests.server.rating.desk import CREDIT
from tests.server.rating.tariffs import GRADUATED
from tests.server.rating.test_burn_fees import BOOK, images, rated

TIERS = (
    Rate("images", "5", 1),
    Rate("images", "3", 1, quantity_threshold=10),
    Rate("images", "1", 1, quantity_threshold=100),
)


@pytest.mark.parametrize(
    ("free", "count", "shown"),
    [
        (0, 103, [(10, 0, 0), (90, 10, 0), (3, 100, 0)]),
        (12, 7, [(0, 0, 7)]),
        (12, 15, [(3, 10, 12)]),
        (12, 103, [(88, 10, 12), (3, 100, 0)]),
    ],
)
def test_each_tier_is_a_product_and_what_is_free_is_shown_with_the_first(
    free: int, count: int, shown: list[tuple[int, int, int]]
) -> None:
    rule = BurnRule(rates=TIERS, free_units=(("images", free),) if free else ())

    [line] = rated(rule, images(count)).lines

    assert [(part.amount, part.rate.quantity_threshold, part.free) for part in line.components] == shown


def test_a_unit_without_a_rate_of_its_own_has_the_tiers_of_its_rate_and_a_count_of_its_own() -> None:
    rule = BurnRule(rates=(Rate("input_tokens", "5", 1), Rate("input_tokens", "1", 1, quantity_threshold=2)))
    line = UsageLine("openai", "m", Usage.measured(input_tokens=3, cache_read_tokens=3))

    charge = rated(rule, line).charge

    assert charge is not None
    assert charge.nanos == 2 * 11 * CREDIT


def test_the_card_has_the_dearest_of_the_tiers() -> None:
    rule = BurnRule(rates=(Rate("images", "1", 1), Rate("images", "4", 1, quantity_threshold=10)))
    span = CardSpan(0, 1, (burn_table("t", (rule,)),))

    assert model_rates(BOOK, span, provider="openai", model="m").rates["images"] == 4 * CREDIT * 10**6


@given(GRADUATED.filter(bool), st.lists(st.integers(0, 20_000), min_size=1, max_size=3))
def test_what_the_card_says_is_never_below_the_charge(
    graduated: tuple[Rate, ...], amounts: list[int]
) -> None:
    rule = BurnRule(rates=graduated)
    unit = graduated[0].unit
    lines = [UsageLine("openai", "m", Usage.measured(**{unit: amount})) for amount in amounts]

    charge = rated(rule, *lines).charge

    span = CardSpan(0, 1, (burn_table("t", (rule,)),))
    card = model_rates(BOOK, span, provider="openai", model="m")
    assert charge is not None
    assert math.ceil(Fraction(sum(amounts) * card.rates[unit], 10**6)) >= charge.nanos
