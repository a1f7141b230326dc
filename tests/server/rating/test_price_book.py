import pytest
from hypothesis import given
from hypothesis import strategies as st

from om_server.rating.model import Model
from om_server.rating.price import Price
from om_server.rating.price_book import PriceBook
from om_server.rating.unit_rate import PriceInvalid, Rate

NOW = 1_000


def row(
    version: str,
    *,
    provider: str = "openai",
    model: str = "gpt-4o",
    tier: str = "standard",
    begin: int | None = None,
    end: int | None = None,
    currency: str = "USD",
) -> Price:
    return Price(version, provider, model, (Rate("input_tokens", "1"),), tier, currency, begin, end)


def found(
    book: PriceBook,
    model: str,
    *,
    provider: str = "openai",
    at: int = NOW,
    tier: str = "",
    requested: str = "",
) -> str | None:
    price = book.effective(provider, model, at=at, tier=tier, requested_model=requested)
    return price.version if price is not None else None


HISTORY = PriceBook([row("new", begin=20), row("old", end=10), row("mid", begin=10, end=20)])


@pytest.mark.parametrize(
    ("at", "version"), [(-5, "old"), (9, "old"), (10, "mid"), (19, "mid"), (20, "new"), (10**18, "new")]
)
def test_the_version_in_force_at_event_time_is_used(at: int, version: str) -> None:
    assert found(HISTORY, "gpt-4o", at=at) == version


def test_before_the_first_and_after_the_last_version_there_is_no_price() -> None:
    book = PriceBook([row("only", begin=10, end=20)])

    assert [found(book, "gpt-4o", at=at) for at in (9, 10, 19, 20)] == [None, "only", "only", None]


@pytest.mark.parametrize(
    "prices",
    [
        [row("a"), row("b")],
        [row("a", end=10), row("b", begin=9)],
        [row("a"), row("b", begin=10)],
        [row("a", begin=5, end=10), row("b", begin=5, end=10)],
    ],
)
def test_overlapping_versions_are_refused(prices: list[Price]) -> None:
    with pytest.raises(PriceInvalid, match="overlap"):
        PriceBook(prices)


def test_a_tier_without_a_price_of_its_own_has_no_price() -> None:
    book = PriceBook([row("plain"), row("half", tier="batch")])

    assert found(book, "gpt-4o", tier="default") == "plain"
    assert found(book, "gpt-4o", tier="batch") == "half"
    assert found(book, "gpt-4o", tier="flex") is None
    assert found(book, "gpt-4o", tier="priority") is None


NAMED = PriceBook(
    [
        row("sonnet", provider="anthropic", model="claude-sonnet-4-0"),
        row("gpt"),
        row("may", model="gpt-4o-2024-05-13"),
        row("pro", provider="google", model="gemini-2.5-pro"),
        row("nova", provider="aws", model="amazon.nova-lite-v1:0"),
    ],
    models=[
        Model("anthropic", "claude-sonnet-4-0", aliases=("claude-sonnet-4",)),
        Model("google", "gemini-2.5-pro", stems=("gemini-2.5-pro",)),
        Model("aws", "amazon.nova-lite-v1:0", aliases=("amazon.nova-lite",)),
    ],
    fallback_providers={"azure": ("openai",)},
)


@pytest.mark.parametrize(
    ("provider", "model", "version"),
    [
        ("ANTHROPIC", "claude-sonnet-4-20250514", "sonnet"),
        ("anthropic", "Claude-Sonnet-4-0", "sonnet"),
        ("openai", "gpt-4o-2024-08-06", "gpt"),
        ("openai", "gpt-4o-2024-05-13", "may"),
        ("gemini", "models/gemini-2.5-pro-preview-03-25", "pro"),
        ("google", "gemini-2.5-pro-001", "pro"),
        ("bedrock", "us.amazon.nova-lite-v1:0", "nova"),
        ("azure", "gpt-4o", "gpt"),
        # A name that only begins like a known one is another model.
        ("google", "gemini-2.5-pro-tts", None),
        ("openai", "gpt-4o-mini", None),
        ("openai", "gpt-4o-preview", None),
        ("anthropic", "claude-sonnet-4-7", None),
        ("mistral", "gpt-4o", None),
        ("openai", "", None),
        ("", "gpt-4o", None),
    ],
)
def test_a_model_is_found_by_the_names_that_callers_use(
    provider: str, model: str, version: str | None
) -> None:
    assert found(NAMED, model, provider=provider) == version


def test_the_served_model_decides_and_the_asked_one_only_if_the_served_is_unknown() -> None:
    assert found(NAMED, "gpt-4o-2024-05-13", requested="gpt-4o") == "may"
    assert found(NAMED, "a-deployment-of-mine", requested="gpt-4o") == "gpt"
    assert found(NAMED, "", requested="gpt-4o") == "gpt"
    assert found(NAMED, "one", requested="two") is None


def test_a_known_model_without_a_price_in_the_tier_is_not_priced_as_another() -> None:
    assert found(NAMED, "gpt-4o-2024-05-13", requested="gpt-4o", tier="flex") is None


@pytest.mark.parametrize(
    "models",
    [
        [Model("openai", "a", aliases=("b",)), Model("openai", "b")],
        [Model("openai", "a", aliases=("x",)), Model("openai", "b", stems=("x",))],
    ],
)
def test_two_models_do_not_answer_to_one_name(models: list[Model]) -> None:
    with pytest.raises(PriceInvalid, match="answer to"):
        PriceBook([], models=models)


def test_what_is_known_of_a_model_is_found_by_any_name() -> None:
    model = Model("openai", "gpt-4o", aliases=("chatgpt",), context_window=128_000)
    book = PriceBook([row("v")], models=[model])

    assert book.find_model("OpenAI", "chatgpt-latest") is model
    assert book.find_model("openai", "gpt-5") is None


def test_listings_are_in_order_and_complete() -> None:
    assert [price.version for price in HISTORY.prices()] == ["old", "mid", "new"]
    assert [model.name for model in NAMED.models()] == [
        "claude-sonnet-4-0",
        "amazon.nova-lite-v1:0",
        "gemini-2.5-pro",
        "gpt-4o",
        "gpt-4o-2024-05-13",
    ]


def test_the_dearest_rates_are_over_versions_tiers_and_contexts_of_the_span() -> None:
    rates = (
        Rate("input_tokens", "1"),
        Rate("input_tokens", "4", context_threshold=100),
        Rate("output_tokens", "2"),
        Rate("images", "0.1", 1, (("size", "s"),)),
        Rate("images", "0.3", 1, (("size", "l"),)),
    )
    book = PriceBook(
        [
            Price("past", "openai", "m", (Rate("input_tokens", "99"),), effective_to=10),
            Price("now", "openai", "m", rates, effective_from=10, effective_to=20),
            Price("next", "openai", "m", (Rate("output_tokens", "3"),), effective_from=20),
            Price("priority", "openai", "m", (Rate("output_tokens", "7"),), "priority"),
        ]
    )

    dearest = book.dearest("OPENAI", "m", since=10, until=20)
    assert dearest is not None
    assert (dearest.provider, dearest.model, dearest.currency) == ("openai", "m", "USD")
    assert dearest.versions == ("now", "priority")
    assert dearest.rates == {
        "input_tokens": 4000,
        "cache_read_tokens": 4000,
        "cache_write_tokens": 4000,
        "tool_input_tokens": 4000,
        "output_tokens": 7000,
        "images": 300_000_000,
    }
    # A rate of the past no longer counts, one that starts inside the span does.
    later = book.dearest("openai", "m", since=19, until=21)
    assert later is not None
    assert later.versions == ("now", "next", "priority")


def test_there_is_no_dearest_rate_without_a_price_or_over_two_currencies() -> None:
    book = PriceBook(
        [row("past", end=5), row("a", model="x"), row("b", model="x", tier="batch", currency="EUR")]
    )

    assert book.dearest("openai", "gpt-4o", since=5, until=9) is None
    assert book.dearest("openai", "unknown", since=5, until=9) is None
    assert book.dearest("openai", "x", since=5, until=9) is None


@given(
    st.lists(
        st.tuples(st.integers(0, 10**6), st.integers(0, 10**6), st.sampled_from(["standard", "batch"])),
        min_size=1,
        max_size=6,
    ),
    st.integers(0, 100),
    st.integers(1, 60),
)
def test_no_rate_in_force_is_above_the_dearest(
    rows: list[tuple[int, int, str]], since: int, length: int
) -> None:
    prices = [
        Price(
            f"{tier}{place}",
            "openai",
            "m",
            (Rate("input_tokens", f"{base}"), Rate("input_tokens", f"{above}", context_threshold=1000)),
            tier,
            effective_from=place * 20,
            effective_to=place * 20 + 20,
        )
        for place, (base, above, tier) in enumerate(rows)
    ]
    book = PriceBook(prices)
    dearest = book.dearest("openai", "m", since=since, until=since + length)

    for at in range(since, since + length):
        for tier in ("standard", "batch"):
            price = book.effective("openai", "m", at=at, tier=tier)
            if price is None:
                continue
            assert dearest is not None
            for table in price.tables:
                for unit, rate in table.all_rates():
                    assert dearest.rates[unit] >= rate.exact
