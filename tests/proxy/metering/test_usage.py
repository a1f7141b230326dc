from __future__ import annotations

import pytest

from om_proxy.metering.usage import Certainty, Quantity, Unit, Usage, usage_of


@pytest.mark.parametrize(
    ("amount", "certainty"),
    [
        (None, Certainty.MEASURED),
        (None, Certainty.ESTIMATED),
        (3, Certainty.UNKNOWN),
        (-1, Certainty.MEASURED),
    ],
)
def test_a_quantity_that_contradicts_itself_is_refused(amount: int | None, certainty: Certainty) -> None:
    with pytest.raises(ValueError, match="input_tokens"):
        Quantity(Unit.INPUT_TOKENS, amount, certainty)


def test_a_unit_occurs_once_in_a_usage() -> None:
    with pytest.raises(ValueError, match="twice"):
        Usage((Quantity(Unit.INPUT_TOKENS, 1), Quantity(Unit.INPUT_TOKENS, 2)))


def test_zeros_are_left_out_but_for_input_and_output() -> None:
    usage = usage_of({Unit.INPUT_TOKENS: 0, Unit.CACHE_READ_TOKENS: 0, Unit.OUTPUT_TOKENS: 0})

    assert [quantity.unit for quantity in usage.quantities] == [Unit.INPUT_TOKENS, Unit.OUTPUT_TOKENS]


def test_unknown_is_not_zero() -> None:
    usage = usage_of({Unit.INPUT_TOKENS: None, Unit.OUTPUT_TOKENS: 0})

    assert usage.amount(Unit.INPUT_TOKENS) is None
    assert usage.amount(Unit.OUTPUT_TOKENS) == 0
    assert usage.certainties == {Certainty.UNKNOWN, Certainty.MEASURED}


def test_some_units_may_be_less_certain_than_the_rest() -> None:
    usage = usage_of({Unit.INPUT_TOKENS: 5, Unit.OUTPUT_TOKENS: 6}, estimated=[Unit.OUTPUT_TOKENS])

    assert [quantity.certainty for quantity in usage.quantities] == [Certainty.MEASURED, Certainty.ESTIMATED]
