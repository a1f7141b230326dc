import pytest

from om_server.rating.price import Price
from om_server.rating.unit_rate import PriceInvalid, Rate

IN = Rate("input_tokens", "2.5")


def price(*rates: Rate, **fields: object) -> Price:
    return Price("v1", "openai", "m", rates, **fields)  # type: ignore[arg-type]


def test_a_price_has_rates_of_which_only_a_burn_table_s_depend_on_the_quantity() -> None:
    with pytest.raises(PriceInvalid, match="rates"):
        price()
    with pytest.raises(PriceInvalid, match="quantity_threshold"):
        price(IN, Rate("input_tokens", "1", quantity_threshold=5))


def test_a_price_is_compiled_with_what_its_list_says_of_classes_and_defaults() -> None:
    images = Rate("images", "0.04", 1, (("size", "small"),))

    (table,) = price(
        IN,
        images,
        same_as=(("image_input_tokens", "input_tokens"),),
        attribute_defaults=(("size", "small"),),
    ).tables

    found = [table.find(unit, {}) for unit in ("image_input_tokens", "images")]
    assert [rate for _, rate in filter(None, found)] == [IN, images]


@pytest.mark.parametrize(("begin", "end"), [(5, 5), (6, 5)])
def test_a_price_ends_after_it_starts(begin: int, end: int) -> None:
    with pytest.raises(PriceInvalid):
        price(IN, effective_from=begin, effective_to=end)


@pytest.mark.parametrize(
    ("begin", "end", "covered"),
    [(None, None, [9, 10, 19, 20]), (10, 20, [10, 19]), (None, 10, [9]), (20, None, [20])],
)
def test_a_price_is_in_force_from_its_start_until_before_its_end(
    begin: int | None, end: int | None, covered: list[int]
) -> None:
    dated = price(IN, effective_from=begin, effective_to=end)

    assert [at for at in (9, 10, 19, 20) if dated.covers(at)] == covered
    assert all(dated.overlaps(at, at + 1) is (at in covered) for at in (9, 10, 19, 20))


@pytest.mark.parametrize("currency", ["usd", "US", "CREDITS", ""])
def test_a_currency_is_three_capitals_and_credits_are_none(currency: str) -> None:
    with pytest.raises(PriceInvalid, match="currency"):
        price(IN, currency=currency)
