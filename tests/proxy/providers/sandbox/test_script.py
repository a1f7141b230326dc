from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from om_proxy.providers.sandbox.exchange import Refused
from om_proxy.providers.sandbox.script import (
    ANSWER,
    Ask,
    count_input,
    count_tokens,
    require_model,
    write_script,
)
from om_proxy.providers.sandbox.switch import Switches


@pytest.mark.parametrize(("characters", "tokens"), [(0, 0), (1, 1), (4, 1), (5, 2), (8, 2)])
def test_a_token_is_four_characters_rounded_up(characters: int, tokens: int) -> None:
    assert count_tokens(characters) == tokens


def test_an_empty_request_still_counts_one_input_token() -> None:
    assert count_input(0, Switches()) == 1


def test_a_switch_names_the_input_instead_of_counting_it() -> None:
    assert count_input(400, Switches(input_tokens=0)) == 0


def test_the_plain_answer_counts_sixteen_tokens() -> None:
    script = write_script(Ask("m", characters=9, output_tokens_max=None), Switches())

    assert (script.text, script.cut) == (ANSWER, False)
    assert (script.fresh_tokens, script.output_tokens) == (3, 16)


@given(
    cap=st.none() | st.integers(0, 300),
    wanted=st.none() | st.integers(0, 300),
    reasoning=st.integers(0, 300),
    choices=st.integers(1, 4),
)
def test_a_cap_holds_for_reasoning_and_text_together(
    cap: int | None, wanted: int | None, reasoning: int, choices: int
) -> None:
    switches = Switches(output_tokens=wanted, reasoning=reasoning)

    script = write_script(Ask("m", characters=1, output_tokens_max=cap, choices=choices), switches)

    whole = (16 if wanted is None else wanted) + reasoning
    assert script.output_tokens == choices * (whole if cap is None else min(whole, cap))
    assert script.text_tokens == choices * count_tokens(len(script.text))
    assert script.cut == (cap is not None and cap < whole)


@given(tokens=st.integers(0, 200), size=st.integers(1, 9), unicode=st.booleans())
def test_the_parts_are_the_text_in_pieces_of_whole_tokens(tokens: int, size: int, *, unicode: bool) -> None:
    switches = Switches(output_tokens=tokens, unicode=unicode)
    script = write_script(Ask("m", characters=1, output_tokens_max=None), switches)

    parts = script.parts(size)

    assert "".join(parts) == script.text
    assert sum(count_tokens(len(part)) for part in parts) == script.text_tokens == tokens
    assert all(len(part) == size * 4 for part in parts[:-1])


@pytest.mark.parametrize(
    ("requested", "served"),
    [
        ("gpt-4o", "gpt-4o-2024-08-06"),
        ("gpt-5.6", "gpt-5.6-sol"),
        ("claude-sonnet-4-5", "claude-sonnet-4-5-20250929"),
        ("claude-opus-4-8", "claude-opus-4-8"),
        ("gemini-2.5-pro-preview-03-25", "models/gemini-2.5-pro"),
        ("a-model-without-a-price", "a-model-without-a-price"),
    ],
)
def test_an_answer_names_the_model_that_serves_the_alias(requested: str, served: str) -> None:
    ask = Ask(requested, characters=1, output_tokens_max=None)

    assert write_script(ask, Switches()).model == served
    assert write_script(ask, Switches(served_model="another")).model == "another"


def test_only_models_named_missing_do_not_exist() -> None:
    assert require_model("anything-else", "gone") == "anything-else"
    with pytest.raises(Refused) as refusal:
        require_model("missing-model", "gone")
    assert refusal.value.problem.status == 404


def test_a_unicode_answer_has_characters_of_every_length() -> None:
    script = write_script(Ask("m", characters=1, output_tokens_max=None), Switches(unicode=True))

    assert {len(character.encode()) for character in script.text} == {1, 2, 3, 4}
