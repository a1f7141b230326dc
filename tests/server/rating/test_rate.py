from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from om_server.core.event import UsageLine
from om_server.core.money import CREDITS, USD, Money
from om_server.core.usage import QUANTITY_MAX, Certainty, Quantity, Usage
from om_server.rating.arithmetic import UnratedReason
from om_server.rating.burn_table import BurnRule, BurnTable, burn_table, default_burn_table
from om_server.rating.price import Price
from om_server.rating.price_book import PriceBook
from om_server.rating.rate import Rating, Unrated, rate
from om_server.rating.unit_rate import Rate

AT = 1_000

BOOK = PriceBook(
    [
        Price("p-4o", "openai", "gpt-4o", (Rate("input_tokens", "2.5"), Rate("output_tokens", "10"))),
        Price(
            "p-4o-batch",
            "openai",
            "gpt-4o",
            (Rate("input_tokens", "1.25"), Rate("output_tokens", "5")),
            "batch",
        ),
        Price("p-tiny", "openai", "tiny", (Rate("input_tokens", "0.00025"), Rate("output_tokens", "0.0005"))),
        Price("p-euro", "mistral", "euro", (Rate("input_tokens", "1"),), currency="EUR"),
        Price(
            "p-pro",
            "google",
            "gemini-2.5-pro",
            (
                Rate("input_tokens", "1.25"),
                Rate("input_tokens", "2.5", context_threshold=200_000),
                Rate("output_tokens", "10"),
                Rate("output_tokens", "15", context_threshold=200_000),
            ),
        ),
        Price("p-whisper", "openai", "whisper-1", (Rate("audio_seconds", "0.36", 3_600_000),)),
    ]
)


def line(model: str = "gpt-4o", *, provider: str = "openai", tier: str = "", **amounts: int) -> UsageLine:
    return UsageLine(provider, model, Usage.measured(**amounts), tier=tier)


def rated(*lines: UsageLine, table: BurnTable | None = None, feature: str = "") -> Rating:
    return rate(lines, BOOK, at=AT, burn_table=table or default_burn_table(), feature_id=feature)


def amounts_of(rating: Rating) -> tuple[str | None, str | None]:
    return (
        rating.cost.decimal() if rating.cost else None,
        rating.charge.decimal() if rating.charge else None,
    )


@pytest.mark.parametrize(
    ("usage", "cost", "charge"),
    [
        (line(input_tokens=1000, output_tokens=500), "0.0075", "7.5"),
        (line(input_tokens=1000, output_tokens=500, tier="batch"), "0.00375", "3.75"),
        (line(input_tokens=1000, output_tokens=500, reasoning_tokens=400), "0.0075", "7.5"),
        (line(input_tokens=0, output_tokens=0), "0", "0"),
        (line("whisper-1", audio_seconds=7_000), "0.0007", "0.7"),
        (line("gemini-2.5-pro", provider="GEMINI", input_tokens=200_000), "0.25", "250"),
        (
            line("gemini-2.5-pro", provider="google", input_tokens=300_000, output_tokens=10),
            "0.75015",
            "750.15",
        ),
        (
            line("gemini-2.5-pro", provider="google", input_tokens=1, cache_read_tokens=200_000),
            "0.5000025",
            "500.0025",
        ),
    ],
)
def test_known_usage_has_a_known_cost_and_charge(usage: UsageLine, cost: str, charge: str) -> None:
    assert amounts_of(rated(usage)) == (cost, charge)


def test_the_charge_works_on_the_cost_before_it_is_rounded() -> None:
    # Two tokens at a quarter of a nano: half a nano of cost, which rounds to none.
    assert amounts_of(rated(line("tiny", input_tokens=2))) == ("0", "0.0000005")


def test_an_event_is_rounded_once_and_ties_go_to_even() -> None:
    one, three = line("tiny", output_tokens=1), line("tiny", output_tokens=3)

    assert rated(one).cost == Money(USD, 0)
    assert rated(three).cost == Money(USD, 2)
    # Rounded one by one these would be 0 + 0 + 0.
    assert rated(one, one, one).cost == Money(USD, 2)
    assert [part.cost for part in rated(one, one, one).lines] == [Money(USD, 0), Money(USD, 1), Money(USD, 1)]


def test_a_line_shows_its_arithmetic() -> None:
    rating = rated(line("gemini-2.5-pro", provider="gemini", input_tokens=200_001, output_tokens=0))
    shown = rating.lines[0]

    assert (shown.provider, shown.model, shown.tier, shown.price_version) == (
        "google",
        "gemini-2.5-pro",
        "standard",
        "p-pro",
    )
    assert shown.context_threshold == 200_000
    assert [(part.unit, part.amount, part.rate.price, part.currency) for part in shown.components] == [
        ("input_tokens", 200_001, "2.5", USD)
    ]
    assert shown.components[0].exact == Fraction(200_001 * 2500)
    assert (rating.price_versions, rating.burn_table_version) == (("p-pro",), "default")


def test_each_line_is_priced_at_its_own_model_and_tier() -> None:
    rating = rated(
        line(input_tokens=1_000_000),
        line(input_tokens=1_000_000, tier="batch"),
        line("whisper-1", audio_seconds=3_600_000),
    )

    assert [part.cost and part.cost.decimal() for part in rating.lines] == ["2.5", "1.25", "0.36"]
    assert rating.cost == Money.parse("4.11", USD)
    assert rating.price_versions == ("p-4o", "p-4o-batch", "p-whisper")


def test_no_lines_cost_nothing() -> None:
    rating = rated()

    assert (rating.cost, rating.charge, rating.unrated) == (Money(USD, 0), Money(CREDITS, 0), ())


@pytest.mark.parametrize(
    ("usage", "reason", "unit"),
    [
        (line("gpt-99", input_tokens=1), UnratedReason.PRICE_UNKNOWN, ""),
        (line(input_tokens=1, tier="flex"), UnratedReason.PRICE_UNKNOWN, ""),
        (line(provider="nobody", input_tokens=1), UnratedReason.PRICE_UNKNOWN, ""),
        (line(input_tokens=1, web_searches=1), UnratedReason.UNIT_UNPRICED, "web_searches"),
        (line(audio_output_tokens=1), UnratedReason.UNIT_UNPRICED, "audio_output_tokens"),
        (line(), UnratedReason.USAGE_MISSING, ""),
        (line(reasoning_tokens=5), UnratedReason.USAGE_MISSING, ""),
        (
            UsageLine("openai", "gpt-4o", Usage((Quantity("output_tokens", None, Certainty.UNKNOWN),))),
            UnratedReason.QUANTITY_UNKNOWN,
            "output_tokens",
        ),
    ],
)
def test_what_cannot_be_priced_is_unrated_with_a_reason_and_never_zero(
    usage: UsageLine, reason: UnratedReason, unit: str
) -> None:
    rating = rated(line(input_tokens=5), usage)

    assert (rating.cost, rating.charge) == (None, None)
    assert rating.unrated == (Unrated(reason, 1, unit),)
    assert all(part.cost is None and part.charge is None for part in rating.lines)


@pytest.mark.parametrize(
    "usage",
    [
        line("gpt-99", input_tokens=0, output_tokens=0),
        line(input_tokens=0, web_searches=0),
        line(input_tokens=0, tier="flex"),
    ],
)
def test_an_explicit_zero_needs_no_price(usage: UsageLine) -> None:
    assert amounts_of(rated(usage)) == ("0", "0")


def test_unknown_reasoning_leaves_nothing_unknown_because_it_is_not_charged() -> None:
    usage = Usage((Quantity("output_tokens", 100), Quantity("reasoning_tokens", None, Certainty.UNKNOWN)))

    assert amounts_of(rated(UsageLine("openai", "gpt-4o", usage))) == ("0.001", "1")


def test_the_price_of_event_time_is_used() -> None:
    book = PriceBook(
        [
            Price("old", "openai", "o3", (Rate("input_tokens", "10"),), effective_to=50),
            Price("new", "openai", "o3", (Rate("input_tokens", "2"),), effective_from=50),
        ]
    )
    usage = (line("o3", input_tokens=1_000_000),)

    before = rate(usage, book, at=49, burn_table=default_burn_table())
    after = rate(usage, book, at=50, burn_table=default_burn_table())

    assert (before.cost, after.cost) == (Money.parse("10", USD), Money.parse("2", USD))


def test_a_cost_in_another_currency_is_not_charged_by_a_rule_for_dollars() -> None:
    usage = line("euro", provider="mistral", input_tokens=1_000_000)

    rating = rated(usage)
    ours = rated(usage, table=burn_table("t", (BurnRule(credits_per_cost="1100", cost_currency="EUR"),)))

    assert (rating.cost, rating.charge) == (Money.parse("1", "EUR"), None)
    assert rating.unrated == (Unrated(UnratedReason.CURRENCY_MISMATCH, 0, cost=False),)
    assert ours.charge == Money.parse("1100", CREDITS)


def test_costs_in_two_currencies_have_no_sum_whatever_their_charges_are() -> None:
    lines = (line(input_tokens=1_000_000), line("euro", provider="mistral", input_tokens=1_000_000))
    table = burn_table("t", (BurnRule(provider="mistral", credits_per_cost="1100", cost_currency="EUR"),))

    rating, charged = rated(*lines), rated(*lines, table=table)

    assert rating.unrated == (
        Unrated(UnratedReason.CURRENCY_MISMATCH, 1, cost=False),
        Unrated(UnratedReason.CURRENCY_MISMATCH, None, charge=False),
    )
    assert (rating.cost, rating.charge) == (None, None)
    # Credits of both rules are one currency, the costs behind them are not.
    assert (charged.cost, charged.charge) == (None, Money.parse("3600", CREDITS))
    assert charged.unrated == (Unrated(UnratedReason.CURRENCY_MISMATCH, None, charge=False),)
    assert [part.cost for part in charged.lines] == [None, None]


def test_nothing_costs_nothing_in_any_currency() -> None:
    rating = rated(line("euro", provider="mistral", input_tokens=0))

    assert (rating.cost, rating.charge, rating.unrated) == (Money("EUR", 0), Money(CREDITS, 0), ())


@pytest.mark.parametrize(
    ("amounts", "cost"), [({"output_tokens": QUANTITY_MAX}, True), ({"input_tokens": 2 * 10**12}, False)]
)
def test_an_amount_beyond_the_range_is_unrated_and_not_wrapped(
    amounts: dict[str, int], *, cost: bool
) -> None:
    rating = rated(UsageLine("openai", "gpt-4o", Usage.measured(**amounts)))

    assert rating.charge is None
    assert (rating.cost is None) is cost
    assert rating.unrated == (Unrated(UnratedReason.AMOUNT_OUT_OF_RANGE, None, cost=cost),)


def test_everything_in_the_way_is_named_with_its_line_and_unit() -> None:
    usage = Usage(
        (
            Quantity("input_tokens", 1_000_000),
            Quantity("output_tokens", None, Certainty.UNKNOWN),
            Quantity("web_searches", 2),
            Quantity("images", 1),
            Quantity("pages", 0),
        )
    )

    rating = rated(line("?", input_tokens=1, output_tokens=1), UsageLine("openai", "gpt-4o", usage), line())

    assert rating.unrated == (
        Unrated(UnratedReason.PRICE_UNKNOWN, 0),
        Unrated(UnratedReason.QUANTITY_UNKNOWN, 1, "output_tokens"),
        Unrated(UnratedReason.UNIT_UNPRICED, 1, "web_searches"),
        Unrated(UnratedReason.UNIT_UNPRICED, 1, "images"),
        Unrated(UnratedReason.USAGE_MISSING, 2),
    )
    # What could be multiplied is shown, and is no cost.
    assert [part.unit for part in rating.lines[1].components] == ["input_tokens"]
    assert rating.lines[1].cost is None


def test_a_price_and_a_rule_may_each_lack_something_else() -> None:
    rule = BurnRule(rates=(Rate("web_searches", "1", 1),))

    rating = rated(line(input_tokens=1, web_searches=1), table=burn_table("t", (rule,)))

    assert rating.unrated == (
        Unrated(UnratedReason.UNIT_UNPRICED, 0, "web_searches", charge=False),
        Unrated(UnratedReason.UNIT_UNPRICED, 0, "input_tokens", cost=False),
    )


TOKEN_CREDITS = (Rate("input_tokens", "3000"), Rate("output_tokens", "9000"))


@pytest.mark.parametrize(
    ("rule", "usage", "charge"),
    [
        (BurnRule(credits_per_cost="1500"), line(input_tokens=1000, output_tokens=500), "11.25"),
        (BurnRule(credits_per_cost="0"), line(input_tokens=1000), "0"),
        (BurnRule(rates=TOKEN_CREDITS), line(input_tokens=1000, output_tokens=500), "7.5"),
        (BurnRule(rates=TOKEN_CREDITS), line(input_tokens=10, cache_read_tokens=1000), "3.03"),
        (BurnRule(flat_nanos=10**9), line(input_tokens=1000), "1"),
        (BurnRule(rates=TOKEN_CREDITS, flat_nanos=5 * 10**8), line(input_tokens=1000), "3.5"),
        (BurnRule(rates=TOKEN_CREDITS, minimum_nanos=10**10), line(input_tokens=1000), "10"),
        (BurnRule(rates=TOKEN_CREDITS, minimum_nanos=10**9), line(input_tokens=1000), "3"),
        (BurnRule(flat_nanos=10**9, minimum_nanos=10**10), line(input_tokens=0), "0"),
        # With a markup, the cost covers what has no rate of its own.
        (
            BurnRule(credits_per_cost="1000", rates=(Rate("output_tokens", "1000"),)),
            line(input_tokens=1000, output_tokens=500),
            "8",
        ),
        (BurnRule(feature_id="other", credits_per_cost="7"), line(input_tokens=1000), "2.5"),
    ],
)
def test_a_burn_table_decides_the_charge_and_leaves_the_cost(
    rule: BurnRule, usage: UsageLine, charge: str
) -> None:
    rating = rated(usage, table=burn_table("t", (rule,)), feature="chat")

    assert rating.charge == Money.parse(charge, CREDITS)
    assert rating.cost == rated(usage).cost


def test_a_rule_by_unit_charges_what_has_no_price() -> None:
    rule = BurnRule(rates=(Rate("custom:page", "2"),))
    usage = UsageLine("", "", Usage((Quantity("custom:page", 3_500_000),)))

    rating = rated(usage, table=burn_table("t", (rule,)))

    assert (rating.cost, rating.charge) == (None, Money.parse("7", CREDITS))
    assert rating.unrated == (Unrated(UnratedReason.PRICE_UNKNOWN, 0, charge=False),)


def test_a_rule_by_unit_without_a_rate_for_a_unit_charges_nothing_of_it() -> None:
    rating = rated(
        line(input_tokens=1, output_tokens=1),
        table=burn_table("t", (BurnRule(rates=(Rate("output_tokens", "1"),)),)),
    )

    assert rating.charge is None
    assert rating.unrated == (Unrated(UnratedReason.UNIT_UNPRICED, 0, "input_tokens", cost=False),)


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4o-2024-08-06", "tuned"])
def test_a_pattern_meets_the_asked_name_and_the_catalogue_name(model: str) -> None:
    rule = BurnRule(model_pattern="gpt-4o", flat_nanos=10**9)
    usage = UsageLine("openai", "gpt-4o-2024-08-06", Usage.measured(input_tokens=1), requested_model=model)

    assert rated(usage, table=burn_table("t", (rule,))).charge == Money.parse("1", CREDITS)


@pytest.mark.parametrize(("pattern", "decides"), [("chat-*", True), ("*-08-06", False)])
def test_a_pattern_meets_what_was_asked_for_and_not_the_snapshot_that_served(
    pattern: str, *, decides: bool
) -> None:
    """An edge bounds the call by the asked name: a rule for what served could charge more than its bound."""
    rule = BurnRule(model_pattern=pattern, flat_nanos=10**9)
    usage = UsageLine(
        "openai", "gpt-4o-2024-08-06", Usage.measured(input_tokens=1), requested_model="chat-latest"
    )

    charge = rated(usage, table=burn_table("t", (rule, BurnRule(flat_nanos=2 * 10**9)))).charge

    assert charge == Money.parse("1" if decides else "2", CREDITS)


@pytest.mark.parametrize("tier", ["", "flex"])
def test_the_deciding_rule_does_not_depend_on_whether_the_tier_has_a_price(tier: str) -> None:
    rules = (BurnRule(model_pattern="gpt-4o", rates=TOKEN_CREDITS), BurnRule(flat_nanos=10**12))

    rating = rated(line("gpt-4o-2024-08-06", input_tokens=1000, tier=tier), table=burn_table("t", rules))

    assert rating.charge == Money.parse("3", CREDITS)


def test_a_fee_and_a_minimum_apply_once_for_the_lines_that_a_rule_decides() -> None:
    rule = BurnRule(provider="openai", rates=TOKEN_CREDITS, flat_nanos=10**9, minimum_nanos=6 * 10**9)
    pro = line("gemini-2.5-pro", provider="google", input_tokens=1000)

    rating = rated(pro, line(input_tokens=1000), line(input_tokens=500), table=burn_table("t", (rule,)))

    # 1 + 3 + 1.5 is 5.5, raised to 6, and 1.25 by the default rule.
    assert rating.charge == Money.parse("7.25", CREDITS)
    assert [part.charge and part.charge.decimal() for part in rating.lines] == ["1.25", "4.5", "1.5"]
    assert [part.fee for part in rating.lines] == [0, 15 * 10**8, 0]
    assert [part.credits_per_cost for part in rating.lines] == ["1000", "", ""]


@given(
    st.dictionaries(st.sampled_from(["input_tokens", "output_tokens"]), st.integers(0, 10**6), min_size=1),
    st.integers(0, 10**6),
)
def test_more_usage_never_costs_less(amounts: dict[str, int], more: int) -> None:
    larger = {**amounts, "input_tokens": amounts.get("input_tokens", 0) + more}
    small = rated(UsageLine("google", "gemini-2.5-pro", Usage.measured(**amounts)))
    large = rated(UsageLine("google", "gemini-2.5-pro", Usage.measured(**larger)))

    assert small.cost is not None
    assert large.cost is not None
    assert small.cost <= large.cost
