"""The catalogue is what tools/snapshot_prices.py writes from the pinned package and the supplement."""

import json
from datetime import UTC, date, datetime, time
from decimal import Decimal
from fractions import Fraction

import pytest
from genai_prices import Usage, data
from genai_prices.types import (
    ClauseEquals,
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    PriceVariant,
    StartDateConstraint,
    Tier,
    TieredPrices,
    TimeOfDateConstraint,
)

from om_server.rating.catalogue import load_catalogue
from om_server.rating.rate_table import pick_table
from tools.snapshot_prices import CATALOGUE, SUPPLEMENT, Entry, OmittedError, lay_over, read_model, snapshot

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
NOW_US = int(NOW.timestamp()) * 1_000_000
SPRING, AUTUMN = date(2026, 3, 1), date(2026, 9, 1)


def mtok(**prices: str) -> ModelPrice:
    return ModelPrice(**{f"{name}_mtok": Decimal(price) for name, price in prices.items()})


def model(prices: ModelPrice | list[ConditionalPrice], *variants: PriceVariant) -> ModelInfo:
    return ModelInfo(id="m", match=ClauseEquals("m"), prices=prices, price_variants=list(variants))


def test_the_shipped_catalogue_is_what_the_tool_writes() -> None:
    assert snapshot(SUPPLEMENT.read_text("utf-8")) == CATALOGUE.read_text("utf-8")


CONTEXTS = {"standard": {}, "batch": {"processing": "batch"}, "priority": {"service_tier": "priority"}}


@pytest.mark.parametrize("tier", CONTEXTS)
@pytest.mark.parametrize("prompt", [1_000, 250_000, 1_000_000])
def test_every_model_costs_what_the_package_calculates(tier: str, prompt: int) -> None:
    book = load_catalogue().book()
    ours = {
        (fields["provider"], fields["model"])
        for fields in json.loads(SUPPLEMENT.read_text("utf-8"))["models"]
        if "prices" in fields
    }
    amounts = {"input_tokens": prompt - 200, "cache_read_tokens": 200, "output_tokens": 300}
    theirs = Usage(input_tokens=prompt, cache_read_tokens=200, output_tokens=300)
    compared = 0
    for provider in data.providers:
        for info in provider.models:
            price = book.effective(provider.id, info.id, at=NOW_US, tier=tier)
            if price is None or price.model != info.id or (provider.id, info.id) in ours:
                continue
            table = pick_table(price.tables, prompt)
            if not amounts.keys() <= table.rates.keys():
                continue
            expected = info.get_prices(NOW, CONTEXTS[tier]).calc_price(theirs)["total_price"]
            exact = sum(table.rates[unit].exact * amount for unit, amount in amounts.items())
            assert exact == Fraction(expected) * 10**9, (provider.id, info.id)
            compared += 1
    assert compared > {"standard": 1000, "batch": 50, "priority": 15}[tier]


def test_dated_prices_become_adjoining_rows() -> None:
    later = ConditionalPrice(StartDateConstraint(SPRING), prices=mtok(input="2.50"))

    entry = read_model("groq", model([ConditionalPrice(prices=mtok(input="10")), later]))

    assert entry.prices == [
        {"tier": "standard", "rates": {"input_tokens": "10"}, "to": "2026-03-01"},
        {"tier": "standard", "from": "2026-03-01", "rates": {"input_tokens": "2.5"}},
    ]


def test_a_variant_becomes_a_tier_from_its_start_and_inherits_what_it_leaves_out() -> None:
    half = PriceVariant({"processing": "batch"}, mtok(input="1"), StartDateConstraint(AUTUMN))

    entry = read_model("groq", model(mtok(input="2", output="8"), half))

    assert entry.prices == [
        {"tier": "standard", "rates": {"input_tokens": "2", "output_tokens": "8"}},
        {"tier": "batch", "from": "2026-09-01", "rates": {"input_tokens": "1", "output_tokens": "8"}},
    ]


def test_context_tiers_and_other_quantities_come_over() -> None:
    tiered = TieredPrices(Decimal("1.25"), [Tier(200_000, Decimal("2.5"))])

    entry = read_model("groq", model(ModelPrice(input_mtok=tiered, audio_hours=Decimal("0.36"))))

    assert entry.prices[0]["rates"] == {
        "audio_seconds": {"price": "0.36", "per": 3_600_000},
        "input_tokens": {"price": "1.25", "above": {"200000": "2.5"}},
    }


@pytest.mark.parametrize(
    "prices",
    [
        mtok(),
        mtok(input="1", output_reasoning="3"),
        ModelPrice(audio_hours=Decimal(1), input_audio_hours=Decimal(2)),
        [
            ConditionalPrice(prices=mtok(input="1")),
            ConditionalPrice(
                TimeOfDateConstraint(time(1, tzinfo=UTC), time(4, tzinfo=UTC)), prices=mtok(input="2")
            ),
        ],
    ],
)
def test_what_the_format_cannot_say_is_omitted(prices: ModelPrice | list[ConditionalPrice]) -> None:
    with pytest.raises(OmittedError):
        read_model("groq", model(prices))


def test_a_fast_tier_that_is_not_priority_stops_the_tool() -> None:
    fast = PriceVariant({"service_tier": "fast"}, mtok(input="3"))
    priority = PriceVariant({"service_tier": "priority"}, mtok(input="2"))

    with pytest.raises(ValueError, match="fast is not priority"):
        read_model("openai", model(mtok(input="1"), fast, priority))


def test_what_is_left_out_is_listed_with_a_reason() -> None:
    omitted = json.loads(CATALOGUE.read_text("utf-8"))["omitted"]

    assert {
        "provider": "deepseek",
        "model": "deepseek-chat",
        "reason": "the price depends on the time of day",
    } in omitted


def test_the_supplement_replaces_prices_adds_names_and_takes_them_from_others() -> None:
    entries = {
        ("p", "a"): Entry(
            "p", "a", aliases={"x", "y"}, same_as={"images": "pages"}, prices=[{"tier": "old"}]
        ),
        ("p", "b"): Entry("p", "b", aliases={"z"}),
    }

    lay_over(entries, {"provider": "p", "model": "b", "aliases": ["x"], "output_tokens_max": 5})
    lay_over(entries, {"provider": "p", "model": "a", "prices": [{"tier": "new"}]})

    assert (entries["p", "b"].aliases, entries["p", "b"].output_tokens_max) == ({"x", "z"}, 5)
    assert (entries["p", "a"].aliases, entries["p", "a"].same_as) == ({"y"}, {})
    assert entries["p", "a"].prices == [{"tier": "new"}]


def test_every_figure_of_the_supplement_names_its_source_and_when_it_was_compared() -> None:
    priced = [fields for fields in json.loads(SUPPLEMENT.read_text("utf-8"))["models"] if "prices" in fields]

    for fields in priced:
        assert fields["source"].startswith(("https://", "API reference, appendix A", "price list"))
        assert date.fromisoformat(fields["checked"]).isoformat() == fields["checked"]
    shipped = {
        (row["provider"], row["model"]): row for row in json.loads(CATALOGUE.read_text("utf-8"))["models"]
    }
    assert all(shipped[row["provider"], row["model"]]["checked"] == row["checked"] for row in priced)


def test_limits_for_a_model_without_a_price_stop_the_tool() -> None:
    overlay = {
        "version": "v",
        "models": [{"provider": "openai", "model": "misspelt", "output_tokens_max": 5}],
    }

    with pytest.raises(ValueError, match="misspelt"):
        snapshot(json.dumps(overlay))


def test_the_version_is_a_day() -> None:
    version = json.loads(CATALOGUE.read_text("utf-8"))["version"]

    assert date.fromisoformat(version).isoformat() == version
