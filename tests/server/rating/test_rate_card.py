import math
import random
from collections.abc import Mapping
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from om_server.core.event import UsageLine
from om_server.core.usage import PROMPT_UNITS, Usage
from om_server.rating.burn_table import BurnRule, BurnTable, burn_table, default_burn_table
from om_server.rating.catalogue import load_catalogue
from om_server.rating.model import Model
from om_server.rating.price import Price
from om_server.rating.price_book import PriceBook
from om_server.rating.rate import rate
from om_server.rating.rate_card import CardSpan, ModelRates, model_rates, rate_card
from om_server.rating.unit_rate import Rate

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
    # Half to even can only round up to a bound that is itself rounded up.
    assert edge_bound(found, amounts) >= rating.charge.nanos


# Rules that an organization may have: by feature, by pattern, by unit, with fees and minimums.
HARSH = burn_table(
    "harsh",
    (
        BurnRule(feature_id="vip", credits_per_cost="2500.5", flat_nanos=3 * 10**9),
        BurnRule(model_pattern="*mini*", credits_per_cost="1333.375", minimum_nanos=10**9),
        BurnRule(
            provider="google",
            credits_per_cost="0.0000001",
            rates=(Rate("output_tokens", "7"), Rate("input_tokens", "0.000000001")),
        ),
        BurnRule(credits_per_cost="999.999999", flat_nanos=1, minimum_nanos=2),
    ),
)
FEATURES = ("", "vip", "other")


def edge_bound(card: ModelRates, amounts: Mapping[str, int]) -> int:
    """What an edge sets aside: it multiplies, adds the fee, and rounds up."""
    exact = sum(Fraction(amount * card.rates[unit], 10**6) for unit, amount in amounts.items())
    return math.ceil(max(exact + card.request_nanos, Fraction(card.minimum_nanos)))


def usage_of(price: Price, dice: random.Random) -> tuple[dict[str, int], dict[str, str]]:
    """Make up a call in a price's units, often at the edge of a context tier, and attributes for it."""
    table = dice.choice(price.tables)
    units = [*table.rates, *table.keyed]
    amounts = {
        unit: dice.choice([1, dice.randrange(10**5)])
        for unit in dice.sample(units, dice.randint(1, min(5, len(units))))
    }
    if table.threshold and "input_tokens" in units:
        prompt = sum(amount for unit, amount in amounts.items() if unit in PROMPT_UNITS)
        prompt -= amounts.get("input_tokens", 0)
        amounts["input_tokens"] = max(0, table.threshold + dice.choice([0, 1]) - prompt)
    rates = [rate for keyed in table.keyed.values() for rate in keyed.by_values.values()]
    return amounts, dict(dice.choice(rates).attributes) if rates else {}


@pytest.mark.parametrize("table", [default_burn_table(), HARSH], ids=lambda table: table.version)
def test_no_call_at_any_model_of_the_catalogue_is_charged_more_than_an_edge_set_aside(
    table: BurnTable,
) -> None:
    catalogue, now = load_catalogue(), 1_795_000_000_000_000
    book, dice = catalogue.book(), random.Random(20261121)
    span = CardSpan(now, now + 60_000_000, (table,))
    charged = 0
    for price in catalogue.prices:
        if not price.overlaps(span.since, span.until):
            continue
        known = book.find_model(price.provider, price.model)
        assert known is not None
        name = dice.choice([price.model, *known.aliases])
        card = model_rates(book, span, provider=price.provider, model=name)
        # The rates travel as int64.
        assert max(card.rates.values()) < 2**63
        for feature in FEATURES:
            amounts, attributes = usage_of(price, dice)
            line = UsageLine(
                price.provider, name, Usage.measured(**amounts), tier=price.tier, attributes=attributes
            )
            at = dice.choice([span.since, span.until - 1])
            charge = rate((line,), book, at=at, burn_table=table, feature_id=feature).charge
            # A unit that can be charged is on the card, else the edge could not bound it.
            assert charge is None or card.rates.keys() >= amounts.keys(), (name, amounts)
            if charge is not None:
                assert edge_bound(card, amounts) >= charge.nanos, (name, price.tier, amounts)
                charged += 1
    assert charged > 3000


@pytest.mark.parametrize(("name", "tier"), [("nickname", ""), ("nickname", "flex"), ("alias", "")])
def test_the_same_rule_decides_the_card_and_the_charge_where_a_tier_or_a_model_has_no_price(
    name: str, tier: str
) -> None:
    # The alias leads to a model that the catalogue knows without any price.
    models = [Model("openai", "m", aliases=("nickname",)), Model("openai", "m-free", aliases=("alias",))]
    book = PriceBook(BOOK.prices(), models=models)
    rules = (
        BurnRule(model_pattern="m*", rates=(Rate("output_tokens", "1"),)),
        BurnRule(rates=(Rate("output_tokens", "900"),)),
    )
    table = burn_table("t", rules)
    line = UsageLine("openai", name, Usage.measured(output_tokens=10**6), tier=tier)

    found = model_rates(book, CardSpan(40, 60, (table,)), provider="openai", model=name)
    rating = rate((line,), book, at=45, burn_table=table)

    assert rating.charge is not None
    assert rating.charge.nanos == found.rates["output_tokens"] == 10**9
