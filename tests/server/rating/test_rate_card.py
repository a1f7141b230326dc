from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from om_server.core.event import UsageLine
from om_server.core.usage import Usage
from om_server.rating.burn_table import BurnRule, BurnTable, burn_table, default_burn_table
from om_server.rating.model import Model
from om_server.rating.price import Price, Rate
from om_server.rating.price_book import PriceBook
from om_server.rating.rate import rate
from om_server.rating.rate_card import CardSpan, ModelRates, model_rates, rate_card

BOOK = PriceBook(
    [
        Price(
            "now",
            "openai",
            "m",
            (Rate("input_tokens", "0.0000005"), Rate("output_tokens", "10")),
            effective_to=50,
        ),
        Price("next", "openai", "m", (Rate("output_tokens", "20"),), effective_from=50),
        Price("euro", "mistral", "e", (Rate("input_tokens", "1"),), currency="EUR"),
    ],
    models=[Model("openai", "m", aliases=("nickname",), context_window=128_000)],
)


def card(*tables: BurnTable, provider: str = "OPENAI", model: str = "m", until: int = 60) -> ModelRates:
    span = CardSpan(40, until, tables or (default_burn_table(),))
    return model_rates(BOOK, span, provider=provider, model=model)


def test_the_card_has_the_dearest_credits_for_a_million_steps_rounded_up() -> None:
    found = card()

    # 0.0000005 dollars a million are 500 nanos, and 500,000 nano-credits.
    assert (found.rates["input_tokens"], found.rates["output_tokens"]) == (500_000, 20_000 * 10**9)
    assert (found.request_nanos, found.minimum_nanos) == (0, 0)


def test_a_fraction_of_a_nano_is_rounded_up() -> None:
    found = card(burn_table("t", (BurnRule(credits_per_cost="0.0015"),)))

    assert found.rates["input_tokens"] == 1


@pytest.mark.parametrize(("provider", "model"), [("openai", "unknown"), ("nobody", "m"), ("mistral", "e")])
def test_a_model_without_a_price_in_dollars_is_not_on_the_card(provider: str, model: str) -> None:
    found = card(provider=provider, model=model)

    assert (found.priced, found.rates) == (False, {})


def test_every_rule_that_some_feature_may_meet_counts() -> None:
    rules = (
        BurnRule(feature_id="vip", credits_per_cost="5000", flat_nanos=7),
        BurnRule(provider="google", credits_per_cost="9000"),
        BurnRule(provider="openai", credits_per_cost="1000", minimum_nanos=9),
        BurnRule(credits_per_cost="8000"),
    )

    found = card(burn_table("t", rules), until=50)

    assert found.rates["output_tokens"] == 50_000 * 10**9
    assert (found.request_nanos, found.minimum_nanos) == (7, 9)


def test_a_table_that_starts_while_the_card_lives_counts() -> None:
    found = card(default_burn_table(), burn_table("t", (BurnRule(credits_per_cost="3000"),)), until=50)

    assert found.rates["output_tokens"] == 30_000 * 10**9


def test_a_unit_that_one_rule_cannot_charge_is_not_on_the_card() -> None:
    rules = (BurnRule(feature_id="search", rates=(Rate("output_tokens", "1"),)),)

    found = card(burn_table("t", rules))

    assert set(found.rates) == {"output_tokens"}


def test_a_rule_by_unit_puts_an_unpriced_model_on_the_card() -> None:
    found = card(burn_table("t", (BurnRule(rates=(Rate("images", "50", 1),)),)), model="unknown")

    assert (found.priced, found.rates) == (True, {"images": 50 * 10**15})


def test_a_flat_fee_charges_no_unit() -> None:
    found = card(burn_table("t", (BurnRule(flat_nanos=5),)))

    assert set(found.rates.values()) == {0}
    assert found.request_nanos == 5


def test_a_model_is_named_as_it_was_asked_for_with_its_limits() -> None:
    found = card(model="nickname")

    assert (found.provider, found.model, found.priced) == ("openai", "nickname", True)
    assert (found.context_window, found.output_tokens_max) == (128_000, 128_000)
    assert (card(model="?").context_window, card(model="?").output_tokens_max) == (None, None)


@pytest.mark.parametrize(
    ("provider", "models", "expected"),
    [
        ("openai", ["nickname", "?"], [("openai", "nickname"), ("openai", "?")]),
        ("MISTRAL", [], [("mistral", "e")]),
        ("", [], [("mistral", "e"), ("openai", "m")]),
    ],
)
def test_a_card_has_the_models_that_were_asked_for_or_all(
    provider: str, models: list[str], expected: list[tuple[str, str]]
) -> None:
    span = CardSpan(40, 60, (default_burn_table(),))

    found = rate_card(BOOK, span, version="v7", provider=provider, models=models)

    assert [(rates.provider, rates.model) for rates in found.models] == expected
    assert (found.version, found.time_to_live_us) == ("v7", 20)


DECIMALS = st.decimals(0, 50, places=4).map(lambda value: f"{value:f}")


@given(
    st.tuples(DECIMALS, DECIMALS, DECIMALS),
    st.tuples(DECIMALS, DECIMALS, st.integers(0, 10**9), st.integers(0, 10**9)),
    st.tuples(st.integers(0, 10**5), st.integers(0, 10**5)),
    st.sampled_from(["", "vip"]),
)
def test_what_an_edge_multiplies_is_never_below_the_charge(
    prices: tuple[str, str, str], rule: tuple[str, str, int, int], usage: tuple[int, int], feature: str
) -> None:
    book = PriceBook(
        [
            Price(
                "p",
                "openai",
                "m",
                (
                    Rate("input_tokens", prices[0]),
                    Rate("input_tokens", prices[1], context_threshold=1000),
                    Rate("output_tokens", prices[2]),
                ),
            )
        ]
    )
    markup, by_unit, flat, minimum = rule
    rules = (
        BurnRule(feature_id="vip", credits_per_cost=markup, rates=(Rate("output_tokens", by_unit),)),
        BurnRule(credits_per_cost="700", flat_nanos=flat, minimum_nanos=minimum),
    )
    table = burn_table("t", rules)
    amounts = {"input_tokens": usage[0], "output_tokens": usage[1]}

    found = model_rates(book, CardSpan(0, 10, (table,)), provider="openai", model="m")
    rating = rate(
        (UsageLine("openai", "m", Usage.measured(**amounts)),),
        book,
        at=5,
        burn_table=table,
        feature_id=feature,
    )

    assert rating.charge is not None
    exact = sum(Fraction(amount * found.rates[unit], 10**6) for unit, amount in amounts.items())
    bound = max(exact + found.request_nanos, Fraction(found.minimum_nanos))
    # Half to even can only round up to a bound that is itself rounded up.
    assert -(-bound.numerator // bound.denominator) >= rating.charge.nanos
