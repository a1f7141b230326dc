import pytest

from om_server.rating.burn_table import BurnRule, burn_table, default_burn_table
from om_server.rating.unit_rate import PriceInvalid, Rate

TOKENS = (Rate("input_tokens", "1"),)


def decided_by(rule: BurnRule, *, feature: str = "", provider: str = "openai", model: str = "gpt-4o") -> bool:
    return rule.matches(feature_id=feature, provider=provider, models=(model,))


@pytest.mark.parametrize(
    ("rule", "matches"),
    [
        (BurnRule(rates=TOKENS), True),
        (BurnRule(feature_id="chat", rates=TOKENS), True),
        (BurnRule(feature_id="search", rates=TOKENS), False),
        (BurnRule(provider="OPENAI", rates=TOKENS), True),
        (BurnRule(provider="google", rates=TOKENS), False),
        (BurnRule(model_pattern="gpt-4o", rates=TOKENS), True),
        (BurnRule(model_pattern="GPT-*", rates=TOKENS), True),
        (BurnRule(model_pattern="*4*", rates=TOKENS), True),
        (BurnRule(model_pattern="gpt-4", rates=TOKENS), False),
        (BurnRule(model_pattern="gpt.4o", rates=TOKENS), False),
        (BurnRule(model_pattern="*-mini", rates=TOKENS), False),
    ],
)
def test_a_rule_matches_by_feature_provider_and_pattern(rule: BurnRule, *, matches: bool) -> None:
    assert decided_by(rule, feature="chat") is matches


def test_the_first_matching_rule_decides_and_the_default_is_last() -> None:
    first, second = BurnRule(model_pattern="gpt-4o*", rates=TOKENS), BurnRule(provider="openai", flat_nanos=5)
    table = burn_table("brn_1", (first, second))

    def rule(provider: str, model: str) -> BurnRule:
        return table.rule_for(feature_id="", provider=provider, models=(model,))

    assert rule("openai", "gpt-4o-mini") is first
    assert rule("openai", "o3") is second
    assert rule("google", "gemini-pro").markup == (1000, 1)


def test_the_default_table_charges_a_thousand_credits_for_a_dollar() -> None:
    table = default_burn_table()

    assert (table.version, [rule.markup for rule in table.rules]) == ("default", [(1000, 1)])


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"minimum_nanos": 5},
        {"flat_nanos": -1},
        {"flat_nanos": 1, "minimum_nanos": -1},
        {"flat_nanos": 2**62 + 1},
        {"credits_per_cost": "-1"},
        {"credits_per_cost": "1e3"},
        {"rates": (Rate("images", "1"), Rate("images", "2"))},
    ],
)
def test_a_rule_that_charges_nothing_or_nonsense_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(PriceInvalid):
        BurnRule(**fields)  # type: ignore[arg-type]


def test_free_is_said_with_a_markup_of_zero() -> None:
    assert BurnRule(credits_per_cost="0").markup == (0, 1)


@pytest.mark.parametrize("currency", ["CREDITS", "usd", ""])
def test_a_rule_works_on_costs_in_a_currency_and_never_in_credits(currency: str) -> None:
    with pytest.raises(PriceInvalid, match="cost_currency"):
        BurnRule(credits_per_cost="1", cost_currency=currency)
