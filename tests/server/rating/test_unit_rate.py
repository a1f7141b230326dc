from fractions import Fraction

import pytest

from om_server.core.usage import UnitUnknown
from om_server.rating.unit_rate import PriceInvalid, Rate


@pytest.mark.parametrize(
    ("rate", "nanos_per_step"),
    [
        (Rate("input_tokens", "0.0375"), Fraction(375, 10)),
        (Rate("input_tokens", "0"), Fraction(0)),
        (Rate("images", "0.04", 1), Fraction(40_000_000)),
        # 0.111 dollars an hour is no whole number of anything for a millisecond.
        (Rate("audio_seconds", "0.111", 3_600_000), Fraction(111_000_000, 3_600_000)),
    ],
)
def test_a_rate_is_exact_for_one_step(rate: Rate, nanos_per_step: Fraction) -> None:
    assert rate.exact == nanos_per_step / 1


@pytest.mark.parametrize("text", ["-1", "", "1e3", "1.", ".5", "1,5", " 1", "1" * 13, "0." + "1" * 19])
def test_a_rate_is_plain_and_not_negative(text: str) -> None:
    with pytest.raises(PriceInvalid):
        Rate("input_tokens", text)


def test_a_rate_is_for_a_known_unit_that_is_charged() -> None:
    with pytest.raises(UnitUnknown):
        Rate("tokens", "1")
    with pytest.raises(PriceInvalid, match="counted in another unit"):
        Rate("reasoning_tokens", "1")


@pytest.mark.parametrize(("per", "threshold"), [(0, 0), (-5, 0), (1, -1)])
def test_a_rate_is_for_a_positive_number_of_steps_above_a_threshold(per: int, threshold: int) -> None:
    with pytest.raises(PriceInvalid):
        Rate("input_tokens", "1", per, (), threshold)


def test_an_attribute_is_named_once() -> None:
    with pytest.raises(PriceInvalid):
        Rate("images", "1", 1, (("size", "a"), ("size", "b")))
