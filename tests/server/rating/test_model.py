import pytest

from om_server.rating.model import Model, canonical_provider, canonical_tier, spellings, without_date


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("OPENAI", "openai"),
        (" Anthropic ", "anthropic"),
        ("google", "google"),
        ("GEMINI", "google"),
        ("vertex_ai", "google"),
        ("bedrock", "aws"),
        ("AMAZON", "aws"),
        ("azure_openai", "azure"),
        ("STABILITY_AI", "stability-ai"),
        ("xai", "x-ai"),
        ("My Own Model Farm", "my own model farm"),
        ("", ""),
    ],
)
def test_a_provider_has_one_name(name: str, canonical: str) -> None:
    assert canonical_provider(name) == canonical


@pytest.mark.parametrize(
    ("provider", "tier", "canonical"),
    [
        ("openai", "", "standard"),
        ("openai", "default", "standard"),
        ("openai", "auto", "standard"),
        ("openai", "FLEX", "flex"),
        ("openai", "fast", "priority"),
        ("anthropic", "fast", "fast"),
        ("anthropic", "batch", "batch"),
        ("google", "ON_DEMAND", "standard"),
        ("google", "ON_DEMAND_PRIORITY", "priority"),
        # Prepaid capacity has no price for a call.
        ("openai", "scale", "scale"),
        ("google", "PROVISIONED_THROUGHPUT", "provisioned_throughput"),
    ],
)
def test_a_service_tier_has_one_name(provider: str, tier: str, canonical: str) -> None:
    assert canonical_tier(provider, tier) == canonical


@pytest.mark.parametrize(
    ("provider", "name", "spelled"),
    [
        ("openai", "GPT-4o", "gpt-4o"),
        ("google", "models/gemini-2.5-pro", "gemini-2.5-pro"),
        ("google", "projects/p/locations/l/publishers/google/models/gemini-2.5-pro", "gemini-2.5-pro"),
        ("google", "claude-opus-4-1@20250805", "claude-opus-4-1-20250805"),
        ("aws", "us.anthropic.claude-3-haiku-20240307-v1:0", "claude-3-haiku-20240307"),
        ("aws", "us-gov.amazon.nova-lite-v1:0", "amazon.nova-lite"),
        ("anthropic", "global.anthropic.claude-opus-5", "claude-opus-5"),
        ("openai", "openai/gpt-4o", "gpt-4o"),
        ("openai", "ft:gpt-4o-mini-2024-07-18:org:name:id", "ft:gpt-4o-mini-2024-07-18"),
    ],
)
def test_a_name_is_freed_of_paths_regions_vendors_and_versions(
    provider: str, name: str, spelled: str
) -> None:
    assert spelled in spellings(provider, name)


@pytest.mark.parametrize(
    ("provider", "name", "never"),
    [
        # Each would be another price.
        ("aws", "global.anthropic.claude-opus-5", "anthropic.claude-opus-5"),
        ("openrouter", "meta/llama:free", "meta/llama"),
        ("openrouter", "anthropic/claude-opus-5", "claude-opus-5"),
        ("openai", "ft:gpt-4o-2024-08-06:o:n:i", "gpt-4o-2024-08-06"),
        ("google", "tunedModels/gemini-2.5-pro", "gemini-2.5-pro"),
    ],
)
def test_a_name_is_not_shortened_to_another_price(provider: str, name: str, never: str) -> None:
    assert never not in spellings(provider, name)


@pytest.mark.parametrize(
    ("provider", "name", "undated"),
    [
        ("openai", "gpt-4o-2024-08-06", "gpt-4o"),
        ("openai", "gpt-4-0613", "gpt-4"),
        ("openai", "babbage:2023-07-21-v2", "babbage"),
        ("anthropic", "claude-opus-4-1-20250805", "claude-opus-4-1"),
        ("anthropic", "claude-3-opus-latest", "claude-3-opus"),
        ("anthropic", "claude-opus-4-1", None),
        ("mistral", "mistral-large-2512", None),
        ("openai", "gpt-4-1399", None),
    ],
)
def test_only_a_date_at_the_end_is_dropped(provider: str, name: str, undated: str | None) -> None:
    assert without_date(provider, name) == undated


@pytest.mark.parametrize(
    ("window", "maximum", "bound"), [(128_000, 16_384, 16_384), (128_000, None, 128_000), (None, None, None)]
)
def test_an_answer_is_bounded_by_its_maximum_else_by_the_window(
    window: int | None, maximum: int | None, bound: int | None
) -> None:
    model = Model("openai", "m", context_window=window, output_tokens_max=maximum)

    assert model.output_tokens_bound == bound
