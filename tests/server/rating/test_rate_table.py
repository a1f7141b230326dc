from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from om_server.rating.rate_table import RateTable, compile_tables, pick_table
from om_server.rating.unit_rate import PriceInvalid, Rate

IN, OUT = Rate("input_tokens", "2.5"), Rate("output_tokens", "10")


def rate_of(table: RateTable, unit: str, **attributes: str) -> Rate | None:
    found = table.find(unit, attributes)
    return found[1] if found is not None else None


@given(st.lists(st.decimals(0, 1000, places=6), min_size=2, max_size=5))
def test_all_rates_of_a_table_are_integers_over_one_denominator(prices: list[object]) -> None:
    units = ("input_tokens", "output_tokens", "audio_seconds", "images", "pages")
    rates = [
        Rate(unit, f"{text}", per)
        for unit, text, per in zip(units, prices, (10**6, 7, 3_600_000, 1, 9), strict=False)
    ]

    table = compile_tables(rates, same_as={})[0]

    for rate in rates:
        assert Fraction(table.numerators[rate.unit], table.denominator) == rate.exact


@pytest.mark.parametrize(
    ("listed", "unit", "charged_as"),
    [
        ([IN], "cache_read_tokens", "input_tokens"),
        ([IN], "cache_write_tokens", "input_tokens"),
        ([IN], "tool_input_tokens", "input_tokens"),
        ([IN, Rate("cache_write_tokens", "3")], "cache_write_5m_tokens", "cache_write_tokens"),
        ([IN, Rate("audio_input_tokens", "40")], "audio_cache_read_tokens", "audio_input_tokens"),
        # Plain input would be a discount on a write, and a 5 min write a discount on an hour's.
        ([IN], "cache_write_5m_tokens", None),
        ([IN, Rate("cache_write_tokens", "3")], "cache_write_1h_tokens", None),
        ([IN, Rate("cache_write_1h_tokens", "6")], "cache_write_12h_tokens", None),
        ([IN, OUT], "audio_input_tokens", None),
        ([IN, OUT], "image_input_tokens", None),
        ([IN, OUT], "audio_output_tokens", None),
        ([OUT], "input_tokens", None),
    ],
)
def test_a_missing_class_is_charged_as_its_neighbour_only_where_that_is_no_discount(
    listed: list[Rate], unit: str, charged_as: str | None
) -> None:
    rate = rate_of(compile_tables(listed, same_as={})[0], unit)

    assert (rate.unit if rate else None) == charged_as


def test_the_price_list_may_say_that_a_class_is_charged_as_another() -> None:
    same_as = {"image_input_tokens": "input_tokens", "image_cache_read_tokens": "cache_read_tokens"}

    cached = compile_tables([IN, Rate("cache_read_tokens", "1")], same_as=same_as)[0]
    uncached = compile_tables([IN], same_as=same_as)[0]

    assert rate_of(cached, "image_input_tokens") == IN
    assert rate_of(cached, "image_cache_read_tokens") == Rate("cache_read_tokens", "1")
    assert rate_of(uncached, "image_cache_read_tokens") == IN


def test_an_alias_of_a_class_that_is_itself_charged_as_another_has_that_rate() -> None:
    table = compile_tables([IN], same_as={"cache_write_12h_tokens": "cache_write_tokens"})[0]

    assert rate_of(table, "cache_write_12h_tokens") == IN


@pytest.mark.parametrize(
    "same_as",
    [{"input_tokens": "output_tokens"}, {"images": "pages", "pages": "input_tokens"}],
)
def test_a_class_with_its_own_rate_or_a_chain_is_not_an_alias(same_as: dict[str, str]) -> None:
    with pytest.raises(PriceInvalid):
        compile_tables([IN, OUT], same_as=same_as)


@pytest.mark.parametrize(
    ("prompt_size", "threshold"),
    [(0, 0), (200_000, 0), (200_001, 200_000), (400_000, 200_000), (400_001, 400_000)],
)
def test_the_prompt_size_chooses_the_table_and_at_a_threshold_the_lower(
    prompt_size: int, threshold: int
) -> None:
    higher = [Rate("input_tokens", "5", context_threshold=200_000)]
    higher += [Rate("input_tokens", "9", context_threshold=400_000)]
    tables = compile_tables([IN, *higher, OUT], same_as={})

    table = pick_table(tables, prompt_size)

    assert table.threshold == threshold
    # A unit without a tier of its own keeps its rate.
    assert rate_of(table, "output_tokens") == OUT


def test_a_tier_overrides_only_its_unit_and_fallbacks_follow_it() -> None:
    dear = Rate("input_tokens", "5", context_threshold=200_000)

    table = compile_tables([IN, dear, OUT], same_as={})[1]

    assert rate_of(table, "cache_read_tokens") == dear


SIZES = (
    Rate("images", "0.04", 1, (("quality", "standard"), ("size", "1024x1024"))),
    Rate("images", "0.08", 1, (("size", "1024x1024"), ("quality", "hd"))),
)


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"size": "1024x1024", "quality": "hd"}, "0.08"),
        ({"Size": "1024X1024", "quality": "HD", "style": "vivid"}, "0.08"),
        ({"quality": "hd"}, "0.08"),
        ({}, "0.04"),
        ({"size": ""}, "0.04"),
        ({"size": "1x1"}, None),
        ({"quality": "auto"}, None),
    ],
)
def test_attributes_choose_the_rate_and_an_unlisted_value_has_none(
    attributes: dict[str, str], expected: str | None
) -> None:
    table = compile_tables(SIZES, same_as={}, defaults=(("quality", "standard"), ("size", "1024x1024")))[0]

    rate = rate_of(table, "images", **attributes)

    assert (rate.price if rate else None) == expected


def test_without_a_default_a_missing_attribute_has_no_price() -> None:
    assert rate_of(compile_tables(SIZES, same_as={})[0], "images", quality="hd") is None


@pytest.mark.parametrize(
    "rates",
    [
        (IN, Rate("input_tokens", "3")),
        (Rate("input_tokens", "3", context_threshold=5),),
        (Rate("images", "1", 1), SIZES[0]),
        (SIZES[0], Rate("images", "1", 1, (("size", "1024x1024"),))),
    ],
)
def test_ambiguous_rates_are_refused(rates: tuple[Rate, ...]) -> None:
    with pytest.raises(PriceInvalid):
        compile_tables(rates, same_as={})
