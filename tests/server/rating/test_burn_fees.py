"""Free units within one event, and the price of an answer that came from a store."""

import pytest

from om_server.core.event import UsageLine
from om_server.core.usage import Usage
from om_server.rating.burn_table import ANSWER, CACHED, BurnRule, burn_table
from om_server.rating.rate import Rating, rate
from om_server.rating.rate_card import CardSpan, model_rates
from om_server.rating.unit_rate import PriceInvalid, Rate
from tests.server.rating.desk import CATALOGUE, CREDIT

BOOK = CATALOGUE.book()
IMAGES = Rate("images", "1", 1)


def rated(rule: BurnRule, *lines: UsageLine) -> Rating:
    return rate(lines, BOOK, at=0, burn_table=burn_table("t", (rule,)))


def images(count: int, *, cached: bool = False) -> UsageLine:
    attributes = {ANSWER: CACHED} if cached else {}
    return UsageLine("openai", "m", Usage.measured(images=count), attributes=attributes)


@pytest.mark.parametrize(
    ("counts", "charged"), [([2], 0), ([3], 0), ([4], 1), ([2, 2], 1), ([2, 0, 5], 4), ([9, 9], 15)]
)
def test_free_units_are_taken_off_once_in_an_event_over_its_lines(counts: list[int], charged: int) -> None:
    rating = rated(BurnRule(rates=(IMAGES,), free_units=(("images", 3),)), *map(images, counts))

    assert rating.charge is not None
    assert rating.charge.nanos == charged * CREDIT
    shown = [part for line in rating.lines for part in line.components]
    assert sum(part.amount for part in shown) == charged
    assert sum(part.amount + part.free for part in shown) == sum(counts)


def test_free_units_start_again_with_the_next_event() -> None:
    rule = BurnRule(rates=(IMAGES,), free_units=(("images", 3),))
    table = burn_table("t", (rule,))

    charges = [rate([images(4)], BOOK, at=0, burn_table=table).charge for _ in range(2)]

    assert [charge.nanos for charge in charges if charge] == [CREDIT, CREDIT]


def test_free_units_are_free_of_the_rules_rates_and_not_of_the_cost() -> None:
    rates = (Rate("input_tokens", "3"),)
    rule = BurnRule(credits_per_cost="1000", rates=rates, free_units=(("input_tokens", 10**6),))

    rating = rated(rule, UsageLine("openai", "m", Usage.measured(input_tokens=2 * 10**6)))

    assert rating.charge is not None
    assert rating.charge.nanos == 4_003 * CREDIT


@pytest.mark.parametrize(
    "free",
    [
        [("pages", 1)],
        [("images", 0)],
        [("images", -1)],
        [("images", 2**53 + 1)],
        [("images", 1), ("images", 2)],
    ],
)
def test_what_cannot_be_free_is_refused(free: list[tuple[str, int]]) -> None:
    with pytest.raises(PriceInvalid, match="free_units"):
        BurnRule(rates=(IMAGES,), free_units=tuple(free))


@pytest.mark.parametrize(
    ("cached_nanos", "lines", "charged"),
    [
        (7, [images(0, cached=True)], 7),
        (0, [images(0, cached=True)], 0),
        # Fee and minimum are in its place; usage that was reported all the same is charged.
        (7, [images(1, cached=True)], CREDIT + 7),
        # A call was made: its fee and minimum hold.
        (7, [images(0, cached=True), images(1)], 5 * CREDIT),
        (7, [images(1)], 5 * CREDIT),
        (7, [images(0)], 0),
        (None, [images(0, cached=True)], 0),
        (None, [images(1, cached=True)], 5 * CREDIT),
    ],
)
def test_a_cached_answer_has_a_price_of_its_own(
    cached_nanos: int | None, lines: list[UsageLine], charged: int
) -> None:
    rule = BurnRule(
        rates=(IMAGES,),
        flat_nanos=CREDIT,
        minimum_nanos=5 * CREDIT,
        cached_answer_nanos=cached_nanos,
    )

    rating = rated(rule, *lines)

    assert rating.charge is not None
    assert rating.charge.nanos == charged
    span = CardSpan(0, 1, (burn_table("t", (rule,)),))
    card = model_rates(BOOK, span, provider="openai", model="m")
    assert max(card.request_nanos, card.minimum_nanos) >= max(cached_nanos or 0, 5 * CREDIT)


def test_a_cached_answer_may_cost_more_than_the_flat_fee_and_the_card_knows() -> None:
    rule = BurnRule(flat_nanos=1, cached_answer_nanos=9)
    span = CardSpan(0, 1, (burn_table("t", (rule,)),))

    assert model_rates(BOOK, span, provider="openai", model="m").request_nanos == 9


def test_a_negative_price_of_a_cached_answer_is_refused() -> None:
    with pytest.raises(PriceInvalid):
        BurnRule(flat_nanos=1, cached_answer_nanos=-1)
