"""Rates by quantity: each step of an event has the rate of its place in it."""

import pytest

from om_server.core.event import UsageLine
from om_server.core.usage import Usage
from om_server.rating.burn_rules import RateDraft, find_price_flaws
from om_server.rating.burn_table import BurnRule, burn_table
from om_server.rating.onset import never_dearer
from om_server.rating.price import Price
from om_server.rating.price_book import PriceBook
from om_server.rating.rate import rate
from om_server.rating.unit_rate import PriceInvalid, Rate

CREDIT = 10**9
FIRST = Rate("images", "10", 1)
#: The first three images cost ten credits each, the next two seven, and those behind them one.
GRADUATED = (
    FIRST,
    Rate("images", "7", 1, quantity_threshold=3),
    Rate("images", "1", 1, quantity_threshold=5),
)


def charged(*counts: int, free: int = 0) -> int | None:
    """Credits for an event with a line for each count."""
    rule = BurnRule(rates=GRADUATED, free_units=(("images", free),) if free else ())
    lines = [UsageLine("openai", "m", Usage.measured(images=count)) for count in counts]
    charge = rate(lines, PriceBook(()), at=0, burn_table=burn_table("t", (rule,))).charge
    return None if charge is None else charge.nanos // CREDIT


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([0], 0),
        ([1], 10),
        ([3], 30),
        ([4], 37),
        ([5], 44),
        ([6], 45),
        ([100], 139),
        # Lines of one event are counted together, whatever their order.
        ([2, 2, 2], 45),
        ([4, 2], 45),
        ([6, 1], 46),
    ],
)
def test_each_step_has_the_rate_of_its_place_in_the_event(counts: list[int], expected: int) -> None:
    assert charged(*counts) == expected


@pytest.mark.parametrize(("free", "expected"), [(1, 35), (3, 15), (4, 8), (5, 1), (6, 0), (7, 0)])
def test_what_is_free_is_the_first_of_the_event_and_counts(free: int, expected: int) -> None:
    assert charged(4, 2, free=free) == expected


@pytest.mark.parametrize(
    "rates",
    [
        (GRADUATED[1],),
        (FIRST, Rate("images", "7", 1, (("size", "xl"),), quantity_threshold=3)),
        (FIRST, Rate("images", "7", 1, context_threshold=9), GRADUATED[1]),
        (FIRST, GRADUATED[1], GRADUATED[1]),
    ],
)
def test_rates_by_quantity_begin_at_nothing_and_depend_on_nothing_else(rates: tuple[Rate, ...]) -> None:
    with pytest.raises(PriceInvalid, match="rates"):
        BurnRule(rates=rates)


def test_a_price_of_a_provider_has_no_rates_by_quantity() -> None:
    with pytest.raises(PriceInvalid, match="quantity"):
        Price("p", "openai", "m", GRADUATED)
    drafts = [RateDraft("images", "10", 1), RateDraft("images", "7", 1, quantity_threshold=3)]
    assert [f"{flaw.kind} {flaw.place}" for flaw in find_price_flaws(drafts, place="price")] == [
        "TIERS price.rates[1]"
    ]


@pytest.mark.parametrize(
    ("new", "cheaper"),
    [
        (GRADUATED, True),
        ((FIRST, GRADUATED[1]), False),
        ((*GRADUATED[:2], Rate("images", "0.5", 1, quantity_threshold=5)), True),
        # Cheaper behind the fourth, dearer at the third.
        ((Rate("images", "10.1", 1), *GRADUATED[1:]), False),
        ((FIRST, Rate("images", "7", 1, quantity_threshold=4), GRADUATED[2]), False),
        ((FIRST, Rate("images", "7", 1, quantity_threshold=2), GRADUATED[2]), True),
    ],
)
def test_a_table_is_compared_at_every_quantity(new: tuple[Rate, ...], *, cheaper: bool) -> None:
    old, other = burn_table("old", (BurnRule(rates=GRADUATED),)), burn_table("new", (BurnRule(rates=new),))

    assert never_dearer(other, old) is cheaper
