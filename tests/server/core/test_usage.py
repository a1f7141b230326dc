import pytest

from om_server.core.errors import DomainError
from om_server.core.usage import (
    PROMPT_UNITS,
    QUANTITY_MAX,
    UNITS,
    Certainty,
    CertaintyMismatch,
    Quantity,
    QuantityNegative,
    QuantityOutOfRange,
    UnitDuplicated,
    UnitUnknown,
    Usage,
    find_unit,
)


def test_every_unit_is_filed_under_its_name_with_a_meaning_and_a_positive_step() -> None:
    for name, unit in UNITS.items():
        assert name == unit.name
        assert unit.meaning
        assert unit.step >= 1


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("input_tokens", 1),
        ("images", 1),
        ("audio_seconds", 1_000),
        ("video_seconds", 1_000),
        ("custom:gpu.hours-a100_80", 1_000_000),
    ],
)
def test_amounts_count_the_units_step(name: str, step: int) -> None:
    assert find_unit(name).step == step


@pytest.mark.parametrize(
    "name", ["", "tokens", "INPUT_TOKENS", "custom:", "custom:A", "custom:a b", "custom:" + "a" * 65]
)
def test_an_unregistered_unit_is_refused(name: str) -> None:
    with pytest.raises(UnitUnknown) as caught:
        Quantity(name, 1)

    assert caught.value.metadata == {"unit": name}


@pytest.mark.parametrize(
    ("amount", "certainty", "error"),
    [
        (-1, Certainty.MEASURED, QuantityNegative),
        (QUANTITY_MAX + 1, Certainty.ESTIMATED, QuantityOutOfRange),
        (None, Certainty.MEASURED, CertaintyMismatch),
        (0, Certainty.UNKNOWN, CertaintyMismatch),
    ],
)
def test_a_wrong_quantity_does_not_exist(
    amount: int | None, certainty: Certainty, error: type[DomainError]
) -> None:
    with pytest.raises(error):
        Quantity("input_tokens", amount, certainty)


def test_an_explicit_zero_and_the_largest_amount_are_facts() -> None:
    usage = Usage.measured(input_tokens=0, output_tokens=QUANTITY_MAX)

    assert (usage.amount("input_tokens"), usage.amount("output_tokens")) == (0, QUANTITY_MAX)
    assert not usage.unknown
    assert not usage.estimated


def test_what_was_not_reported_is_none_and_not_zero() -> None:
    assert Usage.measured(input_tokens=1).amount("output_tokens") is None


def test_a_unit_may_be_named_once() -> None:
    with pytest.raises(UnitDuplicated):
        Usage((Quantity("images", 1), Quantity("images", 1)))


def test_one_unknown_or_estimated_quantity_marks_the_usage() -> None:
    known = Quantity("input_tokens", 5)

    assert Usage((known, Quantity("output_tokens", None, Certainty.UNKNOWN))).unknown
    assert Usage((known, Quantity("output_tokens", 7, Certainty.ESTIMATED))).estimated


def test_the_prompt_is_the_sum_of_all_its_classes_and_of_nothing_else() -> None:
    # provider-wire section 10, vector 5: the prompt of an Anthropic call with both cache lives is 2150.
    usage = Usage.measured(
        input_tokens=50,
        cache_write_5m_tokens=200,
        cache_write_1h_tokens=100,
        cache_read_tokens=1800,
        output_tokens=120,
        reasoning_tokens=40,
        web_searches=1,
    )

    assert usage.prompt_size == 2150


def test_every_input_class_counts_towards_the_prompt() -> None:
    assert Usage(tuple(Quantity(unit, 1) for unit in PROMPT_UNITS)).prompt_size == len(PROMPT_UNITS)
    assert not PROMPT_UNITS & {"output_tokens", "tool_input_tokens", "images"}


def test_an_unknown_input_class_leaves_the_prompt_unknown() -> None:
    usage = Usage((Quantity("input_tokens", 5), Quantity("cache_read_tokens", None, Certainty.UNKNOWN)))

    assert usage.prompt_size is None
