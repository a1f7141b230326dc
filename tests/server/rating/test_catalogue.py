import json
from datetime import UTC, datetime
from typing import Any

import pytest

from om_server.core.event import UsageLine
from om_server.core.money import USD, Money
from om_server.core.usage import Usage
from om_server.rating.burn_table import default_burn_table
from om_server.rating.catalogue import Catalogue, load_catalogue, read_catalogue
from om_server.rating.price_book import PriceBook
from om_server.rating.rate import rate
from om_server.rating.unit_rate import PriceInvalid


def micros(day: str) -> int:
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * 1_000_000


NOW = micros("2026-11-21")


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load_catalogue()


@pytest.fixture(scope="module")
def book(catalogue: Catalogue) -> PriceBook:
    return catalogue.book()


def cost(book: PriceBook, line: UsageLine, *, at: int = NOW) -> str | None:
    rating = rate((line,), book, at=at, burn_table=default_burn_table())
    return rating.cost.decimal() if rating.cost else None


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "gpt-4o"),
        ("openai", "gpt-3.5-turbo"),
        ("openai", "gpt-4-turbo"),
        ("openai", "gpt-4"),
        ("anthropic", "claude-sonnet-4-20250514"),
        ("anthropic", "claude-3-sonnet-20240229"),
        ("google", "gemini-2.0-flash"),
        ("google", "gemini-pro"),
        # What responses call models that were asked for by another name: provider-wire section 8.
        ("openai", "gpt-4o-2024-08-06"),
        ("openai", "gpt-5.6-sol"),
        ("anthropic", "claude-3-opus-20240229"),
        ("anthropic", "claude-sonnet-4-5-20250929"),
        ("google", "models/gemini-2.5-pro-preview-03-25"),
        ("azure", "gpt-4o-2024-11-20"),
        ("aws", "us.anthropic.claude-3-sonnet-20240229-v1:0"),
    ],
)
def test_sample_models_of_the_documents_work_out_of_the_box(
    book: PriceBook, provider: str, model: str
) -> None:
    line = UsageLine(provider, model, Usage.measured(input_tokens=1000, output_tokens=1000))

    assert cost(book, line) not in (None, "0")
    assert book.find_model(provider, model)


@pytest.mark.parametrize(
    ("provider", "model", "tier", "amounts", "expected"),
    [
        ("OPENAI", "gpt-4o", "", {"input_tokens": 1000, "output_tokens": 500}, "0.0075"),
        ("openai", "gpt-4o", "batch", {"input_tokens": 1000, "output_tokens": 500}, "0.00375"),
        ("openai", "gpt-4o", "fast", {"input_tokens": 1000, "output_tokens": 500}, "0.01275"),
        ("openai", "gpt-4o", "flex", {"input_tokens": 1000}, None),
        ("openai", "gpt-4", "", {"input_tokens": 1000, "output_tokens": 500}, "0.06"),
        # provider-wire section 10, vectors 1, 5, 10 and 20.
        (
            "openai",
            "gpt-5",
            "default",
            {"input_tokens": 200, "cache_read_tokens": 2000, "cache_write_tokens": 400, "output_tokens": 300},
            "0.004",
        ),
        (
            "anthropic",
            "claude-sonnet-4-5",
            "standard",
            {
                "input_tokens": 50,
                "cache_write_5m_tokens": 200,
                "cache_write_1h_tokens": 100,
                "cache_read_tokens": 1800,
                "output_tokens": 120,
                "reasoning_tokens": 40,
                "web_searches": 1,
            },
            "0.01384",
        ),
        (
            "google",
            "gemini-2.5-flash",
            "standard",
            {"input_tokens": 200, "tool_input_tokens": 10, "cache_read_tokens": 800, "output_tokens": 100},
            "0.000337",
        ),
        ("openai", "whisper-1", "", {"audio_seconds": 7_000}, "0.0007"),
        ("openai", "tts-1-hd", "", {"characters": 1000}, "0.03"),
        # Modalities: priced apart where the page does, as input where the page says so, else not at all.
        (
            "google",
            "gemini-2.5-flash",
            "",
            {"audio_input_tokens": 1000, "image_input_tokens": 1000},
            "0.0013",
        ),
        ("google", "gemini-2.5-pro", "", {"audio_input_tokens": 1000}, "0.00125"),
        ("openai", "gpt-4o", "", {"image_input_tokens": 1000}, "0.0025"),
        ("openai", "gpt-4o", "", {"audio_input_tokens": 1000}, None),
        (
            "openai",
            "gpt-4o-audio-preview",
            "",
            {"audio_input_tokens": 1000, "audio_output_tokens": 10},
            "0.0408",
        ),
        (
            "openai",
            "gpt-image-1",
            "",
            {"input_tokens": 10, "image_input_tokens": 40, "image_output_tokens": 4160},
            "0.16685",
        ),
        (
            "google",
            "gemini-2.5-flash-image",
            "",
            {"input_tokens": 17, "image_output_tokens": 1290, "output_tokens": 46},
            "0.0388201",
        ),
        # Context tiers: at the threshold the lower; the whole request above it; a flat priority tier.
        ("google", "gemini-2.5-pro", "", {"input_tokens": 200_000}, "0.25"),
        ("google", "gemini-2.5-pro", "", {"input_tokens": 300_000}, "0.75"),
        ("openai", "gpt-5.4", "", {"input_tokens": 2_000, "cache_read_tokens": 270_000}, "0.0725"),
        ("openai", "gpt-5.4", "", {"input_tokens": 2_001, "cache_read_tokens": 270_000}, "0.145005"),
        ("openai", "gpt-5.4", "priority", {"input_tokens": 300_000}, "1.5"),
        ("anthropic", "claude-opus-4-8", "fast", {"input_tokens": 1000}, "0.01"),
        ("openai", "ft:gpt-4o-mini-2024-07-18:org:name:id", "", {"input_tokens": 1000}, "0.0003"),
        ("groq", "whisper-large-v3", "", {"audio_seconds": 3_600_000}, "0.111"),
        ("mistral", "mistral-ocr-4-1", "", {"pages": 3, "annotated_pages": 1}, "0.017"),
        # Appendix A of the API reference.
        ("STABILITY_AI", "sd3.5-large-turbo", "", {"images": 2}, "0.08"),
        ("RUNWAY", "gen-4", "", {"video_seconds": 5_000}, "0.6"),
        ("google", "veo-3.0-generate-001", "", {"video_seconds": 8_000}, "3.2"),
        # What the provider's own price page says instead of appendix A.
        ("stability-ai", "sd3.5-large", "", {"images": 2}, "0.13"),
        # Its price depends on the time of day, which the format cannot say.
        ("deepseek", "deepseek-chat", "", {"input_tokens": 1}, None),
    ],
)
def test_known_usage_has_the_published_cost(
    book: PriceBook, provider: str, model: str, tier: str, amounts: dict[str, int], expected: str | None
) -> None:
    assert cost(book, UsageLine(provider, model, Usage.measured(**amounts), tier=tier)) == expected


@pytest.mark.parametrize(
    ("model", "attributes", "expected"),
    [
        ("dall-e-3", {}, "0.04"),
        ("dall-e-3", {"size": "1024x1024", "quality": "standard"}, "0.04"),
        ("dall-e-3", {"size": "1792x1024"}, "0.08"),
        ("dall-e-3", {"size": "1024x1792", "quality": "hd"}, "0.12"),
        ("dall-e-3", {"size": "512x512"}, None),
        ("dall-e-3", {"quality": "auto"}, None),
        ("dall-e-2", {"size": "256x256"}, "0.016"),
    ],
)
def test_an_image_is_priced_by_size_and_quality(
    book: PriceBook, model: str, attributes: dict[str, str], expected: str | None
) -> None:
    assert cost(book, UsageLine("openai", model, Usage.measured(images=1), attributes=attributes)) == expected


@pytest.mark.parametrize(
    ("model", "resolution", "day", "expected"),
    [
        ("veo-3.1-fast-generate-preview", "", "2026-04-06", "1.2"),
        ("veo-3.1-fast-generate-preview", "4k", "2026-04-06", "2.8"),
        ("veo-3.1-fast-generate-preview", "", "2026-04-07", "0.8"),
        ("veo-3.1-fast-generate-preview", "1080p", "2026-11-21", "0.96"),
        ("veo-3.1-fast-generate-preview", "4K", "2026-11-21", "2.4"),
        ("veo-3.1-generate-preview", "1080p", "2026-11-21", "3.2"),
        ("veo-3.1-generate-preview", "4k", "2026-11-21", "4.8"),
        ("veo-3.0-generate-001", "4k", "2026-11-21", None),
    ],
)
def test_a_video_is_priced_by_resolution_and_day(
    book: PriceBook, model: str, *, resolution: str, day: str, expected: str | None
) -> None:
    usage = Usage.measured(video_seconds=8_000)
    line = UsageLine("google", model, usage, attributes={"resolution": resolution})

    assert cost(book, line, at=micros(day)) == expected


@pytest.mark.parametrize(
    ("model", "day", "expected"),
    [
        ("o3", "2025-06-09", "10"),
        ("o3", "2025-06-10", "2"),
        ("gpt-5.6-sol", "2026-08-20", "5"),
        ("gpt-5.6", "2026-08-21", "4"),
    ],
)
def test_a_past_event_keeps_the_price_of_its_day(
    book: PriceBook, model: str, day: str, expected: str
) -> None:
    usage = Usage.measured(input_tokens=200_000)

    found = cost(book, UsageLine("openai", model, usage), at=micros(day))

    assert found is not None
    assert Money.parse(found, USD) == Money(USD, int(expected) * 10**9 // 5)


@pytest.mark.parametrize(
    ("provider", "model", "bound", "reasons"),
    [
        ("openai", "gpt-4o-2024-11-20", 16_384, False),
        ("openai", "gpt-4", 8_192, False),
        ("openai", "o3", 100_000, True),
        ("anthropic", "claude-sonnet-4-20250514", 64_000, True),
        ("anthropic", "claude-3-sonnet-20240229", 4_096, False),
        ("google", "gemini-2.0-flash", 8_192, False),
        # Not known, so the whole window bounds the answer.
        ("anthropic", "claude-opus-5", 1_000_000, True),
        ("openai", "dall-e-3", None, None),
    ],
)
def test_answers_of_known_models_are_bounded(
    book: PriceBook, provider: str, *, model: str, bound: int | None, reasons: bool | None
) -> None:
    found = book.find_model(provider, model)

    assert found is not None
    assert (found.output_tokens_bound, found.reasons) == (bound, reasons)


def test_every_model_is_found_by_each_of_its_names(catalogue: Catalogue, book: PriceBook) -> None:
    for model in catalogue.models:
        for name in (model.name, *model.aliases, *model.stems):
            assert book.find_model(model.provider, name) is model


def test_only_what_providers_give_away_has_a_rate_of_zero(catalogue: Catalogue) -> None:
    free = {
        (price.provider, price.model)
        for price in catalogue.prices
        if any(rate.numerator == 0 for rate in price.rates) and not price.model.endswith(":free")
    }

    assert {provider for provider, _ in free} == {"google", "openai"}
    assert all("gemma" in model or model == "moderation" for _, model in free)


def test_every_shipped_rate_is_within_the_dearest_of_its_model(catalogue: Catalogue, book: PriceBook) -> None:
    for price in catalogue.prices:
        if not price.covers(NOW):
            continue
        dearest = book.dearest(price.provider, price.model, since=NOW, until=NOW + 1)
        assert dearest is not None
        for table in price.tables:
            assert all(rate.exact <= dearest.rates[unit] for unit, rate in table.all_rates())


PRICE = {"tier": "standard", "rates": {"input_tokens": "1"}}
MODEL = {"provider": "openai", "model": "m", "prices": [PRICE]}
FILE = {"format": 1, "version": "2026-11-21", "currency": "USD", "models": [MODEL]}


def _file(**changes: Any) -> str:
    return json.dumps({**FILE, **changes})


def _models(**changes: Any) -> str:
    return _file(models=[{**MODEL, **changes}])


def _rows(*rows: dict[str, Any]) -> str:
    return _models(prices=[{**PRICE, **row} for row in rows])


def test_a_small_catalogue_is_read() -> None:
    found = read_catalogue(_rows({"to": "2026-01-01"}, {"from": "2026-01-01", "tier": "standard"}))

    assert [(price.version, price.effective_from, price.effective_to) for price in found.prices] == [
        ("2026-11-21/openai/m/standard/origin", None, micros("2026-01-01")),
        ("2026-11-21/openai/m/standard/2026-01-01", micros("2026-01-01"), None),
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "not JSON"),
        ("[]", "not an object"),
        (_file(format=2), "format"),
        (_file(version=""), "version"),
        (_file(currency="EUR"), "^currency: the prices of a catalogue are in USD, not in EUR"),
        (_file(currency=None), "not in an unnamed currency"),
        (_rows({"currency": "EUR"}), "^openai/m.currency: .* not in EUR"),
        (_file(surprise=1), "unknown field surprise"),
        (_file(models=[MODEL, MODEL]), "^openai/m: the model is named twice"),
        (_models(checked="yesterday"), "^openai/m.checked: not a date"),
        (_file().replace('{"input_tokens": "1"}', '{"input_tokens": "1", "input_tokens": "2"}'), "twice"),
        (_file(models={}), "not a list"),
        (_file(models=[MODEL, {**MODEL, "model": "n", "aliases": ["m"]}]), "answer to m"),
        (_models(provider=""), "provider"),
        (_models(kinds=["poem"]), "unknown kind"),
        (_models(reasons="yes"), "not true, false or null"),
        (_models(context_window=0), "positive"),
        (_models(output_tokens_max=True), "positive"),
        (_models(aliases="m2"), "not a list"),
        (_models(same_as={"images": "input_tokens", "pages": "images"}), "alias"),
        (_models(prices=None), "not a list"),
        (_rows({}, {}), "out of order"),
        (_rows({"from": "2026-01-01"}, {"to": "2026-01-01"}), "out of order"),
        (_rows({"from": "2026-01-01"}, {"from": "2026-01-01"}), "out of order"),
        (
            _rows({"to": "2026-01-02"}, {"from": "2026-01-01"}),
            "overlaps with 2026-11-21/openai/m/standard/origin",
        ),
        (_rows({}, {"from": "2026-01-01"}), "overlaps"),
        (_rows({"from": "2026-01-01"}, {"from": "2026-02-01"}), "overlaps"),
        (_rows({"to": "2026-01-01"}, {"from": "2026-01-02"}), "there is a gap after"),
        (_rows({"from": "2026-02-01", "to": "2026-01-01"}), "ends before it starts"),
        (_rows({"from": "2026-01-01", "to": "2026-01-01"}), "ends before it starts"),
        (_rows({"from": "01.02.2026"}), "not a date"),
        (_rows({"until": "2026-01-01"}), "unknown field until"),
        (_rows({"rates": {}}), "has none"),
        (_rows({"rates": {"input_tokens": "-1"}}), "^2026-11-21/openai/m/standard/origin.*non-negative"),
        (_rows({"rates": {"input_tokens": 1}}), "not an object"),
        (_rows({"rates": {"tokens": "1"}}), "not registered"),
        (_rows({"rates": {"reasoning_tokens": "1"}}), "counted in another unit"),
        (_rows({"rates": {"images": {"price": "1", "per": 0}}}), "positive"),
        (_rows({"rates": {"images": {"price": "1", "each": 1}}}), "unknown field each"),
        (_rows({"rates": {"input_tokens": {"price": "1", "above": {"-5": "2"}}}}), "threshold"),
        (_rows({"rates": {"images": [{"price": "1"}, {"price": "2"}]}}), "two rates"),
    ],
)
def test_a_catalogue_that_breaks_a_rule_is_refused_with_the_place(text: str, complaint: str) -> None:
    with pytest.raises(PriceInvalid, match=complaint):
        read_catalogue(text)
