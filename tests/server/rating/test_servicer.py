"""RatingService over a real socket."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import cast

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from om.rating.v1 import rating_service_pb2 as pb
from om.rating.v1 import rating_service_pb2_grpc
from om.type.v1 import event_pb2, money_pb2, unrated_reason_pb2, usage_pb2
from om_server.core.event import UsageLine
from om_server.core.usage import Usage
from om_server.rating.arithmetic import UnratedReason
from om_server.rating.burn_table import BurnRule, burn_table, default_burn_table
from om_server.rating.catalogue import Catalogue
from om_server.rating.model import Model
from om_server.rating.operations import RatingOperations
from om_server.rating.price import Price
from om_server.rating.rate import rate
from om_server.rating.servicer import RatingServicer, rating_to_proto
from om_server.rating.unit_rate import Rate
from om_server.rpc.caller import Scope, acting_as
from tests.rpc import Keyring, bearer, failing, key_caller, made, serving

Stub = rating_service_pb2_grpc.RatingServiceStub

SECOND = 1_000_000
NOW = 1_000 * SECOND
READER = bearer("reader")

CATALOGUE = Catalogue(
    version="2026-11-21",
    prices=(
        Price(
            "p-4o",
            "openai",
            "gpt-4o",
            (Rate("input_tokens", "2.5"), Rate("output_tokens", "10")),
        ),
        Price("p-4o-batch", "openai", "gpt-4o", (Rate("input_tokens", "1.25"),), "batch"),
        Price(
            "p-pro",
            "google",
            "gemini-2.5-pro",
            (
                Rate("input_tokens", "1.25"),
                Rate("input_tokens", "2.5", context_threshold=200_000),
                Rate("output_tokens", "10"),
            ),
        ),
        Price(
            "p-dalle",
            "openai",
            "dall-e-3",
            (
                Rate("images", "0.04", 1, (("quality", "standard"),)),
                Rate("images", "0.08", 1, (("quality", "hd"),)),
            ),
            attribute_defaults=(("quality", "standard"),),
        ),
        Price("p-whisper", "groq", "whisper", (Rate("audio_seconds", "0.111", 3_600_000),)),
        Price("o3-old", "openai", "o3", (Rate("input_tokens", "10"),), effective_to=500 * SECOND),
        Price("o3-new", "openai", "o3", (Rate("input_tokens", "2"),), effective_from=500 * SECOND),
        Price("p-euro", "mistral", "euro", (Rate("input_tokens", "1"),), currency="EUR"),
    ),
    models=(Model("openai", "gpt-4o", aliases=("omni",)),),
    fallback_providers={},
)


@pytest.fixture(scope="module")
def operations() -> RatingOperations:
    return RatingOperations(CATALOGUE, clock=lambda: NOW)


@pytest.fixture(scope="module")
def stub(operations: RatingOperations) -> Iterator[Stub]:
    keyring = Keyring({"reader": key_caller(Scope.READ)})
    with serving([preview_only(operations)], keyring) as channel:
        yield Stub(channel)


def preview_only(operations: RatingOperations) -> RatingServicer:
    return made(RatingServicer, operations, burn_tables=None, prices=None, explanations=None, past=None)


def line(provider: str, model: str, tier: str = "", /, **amounts: int | None) -> event_pb2.UsageLine:
    """Make a line; None is an unknown amount."""
    quantities = [
        usage_pb2.Quantity(
            unit=unit,
            amount=amount,
            certainty=usage_pb2.CERTAINTY_UNKNOWN if amount is None else usage_pb2.CERTAINTY_MEASURED,
        )
        for unit, amount in amounts.items()
    ]
    return event_pb2.UsageLine(
        provider=provider, model=model, tier=tier, usage=usage_pb2.Usage(quantities=quantities)
    )


def asked(stub: Stub, *lines: event_pb2.UsageLine, at: Timestamp | None = None) -> pb.Rating:
    return stub.RateUsage(pb.RateUsageRequest(lines=lines, at_time=at), metadata=READER).rating


def dollars(nanos: int) -> money_pb2.Money:
    return money_pb2.Money(currency_code="USD", amount_nanos=nanos)


def credit(nanos: int) -> money_pb2.Money:
    return money_pb2.Money(currency_code="CREDITS", amount_nanos=nanos)


def causes(rating: pb.Rating) -> list[tuple[str, int | None, str, bool, bool]]:
    return [
        (
            unrated_reason_pb2.UnratedReason.Name(cause.reason).removeprefix("UNRATED_REASON_"),
            cause.line_index if cause.HasField("line_index") else None,
            cause.unit,
            cause.prevents_cost,
            cause.prevents_charge,
        )
        for cause in rating.unrated
    ]


def test_a_usage_is_answered_with_its_whole_arithmetic(stub: Stub) -> None:
    rating = asked(stub, line("OPENAI", "omni", input_tokens=1000, output_tokens=500, reasoning_tokens=400))

    assert (rating.cost, rating.charge) == (dollars(7_500_000), credit(7_500_000_000))
    assert (rating.burn_table_version, rating.unrated_reason, len(rating.unrated)) == ("default", 0, 0)
    [shown] = rating.lines
    assert (shown.provider, shown.model, shown.tier, shown.price_version) == (
        "openai",
        "gpt-4o",
        "standard",
        "p-4o",
    )
    assert (shown.cost, shown.charge, shown.credits_per_cost, shown.fee) == (
        rating.cost,
        rating.charge,
        "1000",
        "0",
    )
    assert list(shown.components) == [
        pb.RatedComponent(
            unit="input_tokens",
            amount=1000,
            rate_per_million="2.5",
            exact_amount="0.0025",
            currency_code="USD",
            rate="2.5",
            rate_steps=1_000_000,
        ),
        pb.RatedComponent(
            unit="output_tokens",
            amount=500,
            rate_per_million="10",
            exact_amount="0.005",
            currency_code="USD",
            rate="10",
            rate_steps=1_000_000,
        ),
    ]


@pytest.mark.parametrize(
    ("amounts", "threshold", "cost"),
    [
        ({"input_tokens": 200_000}, 0, 250_000_000),
        ({"input_tokens": 200_001}, 200_000, 500_002_500),
        # Cached input counts for the size, and costs what input costs where no cache price is listed.
        ({"input_tokens": 1, "cache_read_tokens": 200_000, "output_tokens": 10}, 200_000, 500_102_500),
    ],
)
def test_a_context_tier_reprices_the_whole_request(
    stub: Stub, amounts: dict[str, int], threshold: int, cost: int
) -> None:
    rating = asked(stub, line("google", "gemini-2.5-pro", **amounts))

    assert (rating.lines[0].context_threshold, rating.cost) == (threshold, dollars(cost))
    units = {part.unit: part.rate_unit for part in rating.lines[0].components}
    assert units.get("cache_read_tokens", "input_tokens") == "input_tokens"
    assert units["input_tokens"] == ""


def test_attributes_and_hourly_prices_are_shown_as_the_price_list_has_them(stub: Stub) -> None:
    picture = line("openai", "dall-e-3", images=2)
    picture.attributes["quality"] = "HD"

    rating = asked(stub, picture, line("groq", "whisper", audio_seconds=1_000))

    assert rating.cost == dollars(160_030_833)
    image, audio = (shown.components[0] for shown in rating.lines)
    assert (dict(image.attributes), image.rate, image.rate_steps) == ({"quality": "hd"}, "0.08", 1)
    assert (image.rate_per_million, image.exact_amount) == ("80000", "0.16")
    # 0.111 / 3.6 does not end: the text for display is rounded, the listed rate is exact.
    assert (audio.rate, audio.rate_steps) == ("0.111", 3_600_000)
    assert (audio.rate_per_million, audio.exact_amount) == ("0.030833333333333333", "0.000030833333333333")


def test_an_event_is_rounded_once_and_the_shares_add_up(stub: Stub) -> None:
    # A third of a nano-dollar for each: 0 + 0 + 0 rounded one by one.
    audio = line("groq", "whisper", audio_seconds=1)

    rating = asked(stub, *[audio] * 3)

    exact = sum(Fraction(111_000_000, 3_600_000) for _ in range(3))
    assert rating.cost.amount_nanos == round(exact) == sum(part.cost.amount_nanos for part in rating.lines)
    assert rating.charge.amount_nanos == round(exact * 1000)
    assert rating.charge.amount_nanos == sum(part.charge.amount_nanos for part in rating.lines)


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        (line("openai", "gpt-99", input_tokens=1), ("PRICE_UNKNOWN", 1, "", True, True)),
        (line("nobody", "gpt-4o", input_tokens=1), ("PRICE_UNKNOWN", 1, "", True, True)),
        (line("openai", "gpt-4o", "flex", input_tokens=1), ("PRICE_UNKNOWN", 1, "", True, True)),
        (line("openai", "gpt-4o", web_searches=1), ("UNIT_UNPRICED", 1, "web_searches", True, True)),
        (line("openai", "gpt-4o", input_tokens=None), ("QUANTITY_UNKNOWN", 1, "input_tokens", True, True)),
        (line("openai", "gpt-4o"), ("USAGE_MISSING", 1, "", True, True)),
        (line("openai", "gpt-4o", output_tokens=2**53), ("AMOUNT_OUT_OF_RANGE", None, "", True, True)),
    ],
)
def test_what_is_unrated_has_no_amounts_and_a_reason(
    stub: Stub, second: event_pb2.UsageLine, expected: tuple[str, int | None, str, bool, bool]
) -> None:
    rating = asked(stub, line("openai", "gpt-4o", input_tokens=1000), second)

    assert causes(rating) == [expected]
    assert rating.unrated_reason == rating.unrated[0].reason
    for part in (rating, *rating.lines):
        assert not part.HasField("cost")
        assert not part.HasField("charge")
    # What could be rated is still explained.
    assert rating.lines[0].components[0].exact_amount == "0.0025"


def test_every_unit_in_the_way_is_named(stub: Stub) -> None:
    rating = asked(
        stub,
        line("openai", "gpt-4o", input_tokens=1, images=1, pages=1, output_tokens=None),
        event_pb2.UsageLine(provider="openai", model="gpt-4o"),
    )

    assert [cause[:3] for cause in causes(rating)] == [
        ("UNIT_UNPRICED", 0, "images"),
        ("UNIT_UNPRICED", 0, "pages"),
        ("QUANTITY_UNKNOWN", 0, "output_tokens"),
        # Absent usage is consumption that nobody counted.
        ("QUANTITY_UNKNOWN", 1, "input_tokens"),
        ("QUANTITY_UNKNOWN", 1, "output_tokens"),
    ]


def test_another_currency_is_shown_as_what_it_is_and_not_charged(stub: Stub) -> None:
    alone = asked(stub, line("mistral", "euro", input_tokens=1_000_000))
    mixed = asked(stub, line("openai", "o3", input_tokens=1), line("mistral", "euro", input_tokens=1))

    assert alone.cost == money_pb2.Money(currency_code="EUR", amount_nanos=10**9)
    assert (alone.lines[0].cost, alone.lines[0].components[0].currency_code) == (alone.cost, "EUR")
    assert not alone.HasField("charge")
    assert causes(alone) == [("CURRENCY_MISMATCH", 0, "", False, True)]
    assert not mixed.HasField("cost")
    assert causes(mixed) == [
        ("CURRENCY_MISMATCH", 1, "", False, True),
        ("CURRENCY_MISMATCH", None, "", True, False),
    ]


@pytest.mark.parametrize(
    ("at", "version"),
    [
        (None, "o3-new"),
        (Timestamp(seconds=499, nanos=999_999_999), "o3-old"),
        (Timestamp(seconds=500), "o3-new"),
        (Timestamp(), "o3-old"),
        (Timestamp(seconds=-1), "o3-old"),
    ],
)
def test_the_price_in_force_at_the_time_is_used(stub: Stub, at: Timestamp | None, version: str) -> None:
    rating = asked(stub, line("openai", "o3", input_tokens=1), at=at)

    assert rating.lines[0].price_version == version


def test_a_time_outside_the_calendar_is_refused(stub: Stub) -> None:
    with failing() as failures:
        asked(stub, line("openai", "o3", input_tokens=1), at=Timestamp(seconds=2**60))

    assert (failures[0].code, failures[0].metadata) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        {"field": "at_time"},
    )


@pytest.mark.parametrize("lines", [[], [line("openai", "o3", input_tokens=1)] * 65])
def test_no_lines_and_too_many_are_refused(stub: Stub, lines: Sequence[event_pb2.UsageLine]) -> None:
    with failing() as failures:
        asked(stub, *lines)

    assert (failures[0].code, list(failures[0].violations)) == (grpc.StatusCode.INVALID_ARGUMENT, ["lines"])


def test_a_negative_amount_is_refused_by_its_place(stub: Stub) -> None:
    with failing() as failures:
        asked(stub, line("openai", "o3", input_tokens=1), line("openai", "o3", input_tokens=-1))

    assert failures[0].code is grpc.StatusCode.INVALID_ARGUMENT
    assert list(failures[0].violations) == ["lines[1].usage.quantities[0].amount"]


@pytest.mark.parametrize(
    ("bad", "reason", "place"),
    [
        (line("openai", "o3", tokens=1), "UNKNOWN_UNIT", "lines[1].usage.quantities[0]"),
        (
            event_pb2.UsageLine(
                usage=usage_pb2.Usage(
                    quantities=[
                        usage_pb2.Quantity(unit="images", amount=1, certainty=usage_pb2.CERTAINTY_MEASURED)
                    ]
                    * 2
                )
            ),
            "DUPLICATE_UNIT",
            "lines[1].usage.quantities",
        ),
    ],
)
def test_a_unit_that_is_unknown_or_named_twice_is_refused_by_its_place(
    stub: Stub, bad: event_pb2.UsageLine, *, reason: str, place: str
) -> None:
    with failing() as failures:
        asked(stub, line("openai", "o3", input_tokens=1), bad)

    assert (failures[0].code, failures[0].reason) == (grpc.StatusCode.INVALID_ARGUMENT, reason)
    assert failures[0].metadata["field"] == place


def test_nobody_asks_without_a_credential(stub: Stub) -> None:
    with failing() as failures:
        stub.RateUsage(pb.RateUsageRequest(lines=[line("openai", "o3", input_tokens=1)]))

    assert failures[0].code is grpc.StatusCode.UNAUTHENTICATED


def test_every_reason_has_its_value_in_the_contract() -> None:
    names = unrated_reason_pb2.UnratedReason.DESCRIPTOR.values_by_name
    values = {name.removeprefix("UNRATED_REASON_") for name in names}

    assert values == {"UNSPECIFIED", *UnratedReason}


def test_fees_and_rates_of_a_burn_table_are_shown_in_credits() -> None:
    rule = BurnRule(rates=(Rate("input_tokens", "3000"),), flat_nanos=10**9, minimum_nanos=5 * 10**9)
    usage = UsageLine("openai", "o3", Usage.measured(input_tokens=500))

    rating = rating_to_proto(rate([usage], CATALOGUE.book(), at=NOW, burn_table=burn_table("t", (rule,))))

    assert rating.charge == credit(5 * 10**9)
    [shown] = rating.lines
    # 1.5 for the tokens, 1 for the event, and 2.5 to the minimum.
    assert (shown.credits_per_cost, shown.fee) == ("", "3.5")
    assert [(part.currency_code, part.exact_amount) for part in shown.components] == [
        ("USD", "0.001"),
        ("CREDITS", "1.5"),
    ]


AMOUNTS = st.dictionaries(
    st.sampled_from(["input_tokens", "output_tokens", "cache_read_tokens", "images", "audio_seconds"]),
    st.integers(0, 10**9),
    max_size=4,
)
LINES = st.builds(
    lambda at, tier, amounts: line(at[0], at[1], tier, **amounts),
    st.sampled_from(
        [
            ("openai", "gpt-4o"),
            ("openai", "o3"),
            ("google", "gemini-2.5-pro"),
            ("groq", "whisper"),
            ("openai", "dall-e-3"),
            ("openai", "?"),
        ]
    ),
    st.sampled_from(["", "batch"]),
    AMOUNTS,
)


@given(st.lists(LINES, min_size=1, max_size=3), st.integers(0, 1_000))
def test_the_answer_is_what_the_rule_charges_and_can_be_added_up_again(
    stub: Stub, lines: list[event_pb2.UsageLine], second: int
) -> None:
    usage = [
        UsageLine(
            one.provider,
            one.model,
            Usage.measured(**{part.unit: part.amount for part in one.usage.quantities}),
            tier=one.tier,
        )
        for one in lines
    ]
    expected = rate(usage, CATALOGUE.book(), at=second * SECOND, burn_table=default_burn_table())

    rating = asked(stub, *lines, at=Timestamp(seconds=second))

    assert rating == rating_to_proto(expected)
    if expected.charge is not None:
        products = (
            Fraction(part.amount) * Fraction(part.rate) / part.rate_steps * Fraction(shown.credits_per_cost)
            for shown in rating.lines
            for part in shown.components
        )
        assert rating.charge.amount_nanos == round(sum(products, Fraction(0)) * 10**9)


def test_a_handler_answers_without_server_and_wrapper(operations: RatingOperations) -> None:
    request = pb.RateUsageRequest(lines=[line("openai", "gpt-4o", input_tokens=1000)])

    with acting_as(key_caller()):
        answer = preview_only(operations).RateUsage(request, cast("grpc.ServicerContext", None))

    assert answer.rating.charge == credit(2_500_000_000)
