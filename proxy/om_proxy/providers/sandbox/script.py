"""What the simulated model says and what that counts: a pure function of the request and its switches.

A token is four characters, rounded up. Streams and plain answers are built from the same script, so their
texts and counts agree.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from om_proxy.providers.sandbox.exchange import Problem, Refused
from om_proxy.providers.sandbox.switch import MODEL_MARK, Switches

CHARACTERS_PER_TOKEN = 4
ANSWER = "The simulator answers every question with this same sentence."
THOUGHT = "The simulator thinks about it for as long as it was told to."
REFUSAL = "I'm sorry, but I can't help with that."
TOOL_ARGUMENTS = '{"city":"Bern"}'
_UNICODE_ANSWER = "Schön: 模拟器 用 同一句话 回答 🙂 每个问题 🎈 öfter."

# Each part of each choice is a frame, so this bounds what a request can make the simulator write.
_PARTS_MAX = 200_000
_TOKENS_OF_SEVERAL_MAX = 20_000

# Models starting so do not exist; every other name does, because unknown prices must be testable.
_MISSING_PREFIX = "missing-"

# Requested model -> the one the provider names in its answer.
_SERVED_MODELS = {
    "gpt-4o": "gpt-4o-2024-08-06",
    "gpt-5": "gpt-5-2025-08-07",
    "gpt-5.6": "gpt-5.6-sol",
    "claude-sonnet-4-5": "claude-sonnet-4-5-20250929",
    "claude-sonnet-4-0": "claude-sonnet-4-20250514",
    "claude-3-opus-latest": "claude-3-opus-20240229",
    "gemini-2.5-pro-preview-03-25": "models/gemini-2.5-pro",
}


@dataclass(frozen=True, slots=True)
class Ask:
    """What a request asks for, whichever provider it is written for."""

    model: str
    characters: int  # Of all text in the request.
    output_tokens_max: int | None  # Of one choice, reasoning included; None: no cap.
    choices: int = 1
    tool: str | None = None  # The first tool that the request declares.
    text: str = field(default="", repr=False)  # What there is to echo.


class Form(Enum):
    """What kind of answer it is."""

    TEXT = "text"
    TOOL_CALL = "tool_call"  # The text is the JSON of the arguments.
    REFUSAL = "refusal"


@dataclass(frozen=True, slots=True)
class Script:
    """The answer and its counts; the counts are sums over all choices, the text is each choice's."""

    model: str
    text: str
    cut: bool  # The cap ended the answer.
    choices: int
    fresh_tokens: int  # Input that was neither read from a cache nor written to one.
    text_tokens: int
    reasoning_tokens: int
    form: Form = Form.TEXT
    tool: str = ""

    @property
    def output_tokens(self) -> int:
        """Everything produced, visible or not."""
        return self.text_tokens + self.reasoning_tokens

    def parts(self, tokens: int) -> tuple[str, ...]:
        """Split the text into parts of so many tokens, or of more where it is very long."""
        size = max(tokens * CHARACTERS_PER_TOKEN, -(-len(self.text) // _PARTS_MAX))
        return tuple(self.text[start : start + size] for start in range(0, len(self.text), size))


def write_script(ask: Ask, switches: Switches) -> Script:
    """Decide the answer; a cap is spent on reasoning first, then on text."""
    form, whole_text = _whole_text(ask, switches)
    if ask.choices > 1 and ask.choices * count_tokens(len(whole_text)) > _TOKENS_OF_SEVERAL_MAX:
        raise Refused(
            Problem(400, f"All choices together have at most {_TOKENS_OF_SEVERAL_MAX} tokens here.")
        )
    reasoning, text = switches.reasoning, whole_text
    if ask.output_tokens_max is not None:
        reasoning = min(reasoning, ask.output_tokens_max)
        text = text[: (ask.output_tokens_max - reasoning) * CHARACTERS_PER_TOKEN]
    return Script(
        model=served_model(ask.model, switches),
        text=text,
        cut=reasoning < switches.reasoning or len(text) < len(whole_text),
        choices=ask.choices,
        fresh_tokens=count_input(ask.characters, switches),
        text_tokens=count_tokens(len(text)) * ask.choices,
        reasoning_tokens=reasoning * ask.choices,
        form=form,
        tool=ask.tool or "get_weather",
    )


def served_model(model: str, switches: Switches) -> str:
    """Name the model that answers where this one is asked for."""
    return switches.served_model or _SERVED_MODELS.get(model, model)


def count_tokens(characters: int) -> int:
    """Count the tokens of so many characters."""
    return -(-characters // CHARACTERS_PER_TOKEN)


def count_input(characters: int, switches: Switches) -> int:
    """Count a request's own input: at least one token, unless a switch names the number."""
    return max(1, count_tokens(characters)) if switches.input_tokens is None else switches.input_tokens


def require_model(model: str, message: str) -> str:
    """Give the model's own name, or refuse one that does not exist with the provider's message."""
    if model.startswith(_MISSING_PREFIX):
        raise Refused(Problem(404, message, code="model_not_found"))
    return model.partition(MODEL_MARK)[0]


def _whole_text(ask: Ask, switches: Switches) -> tuple[Form, str]:
    if switches.refusal:
        return Form.REFUSAL, REFUSAL
    if switches.tool_call:
        return Form.TOOL_CALL, TOOL_ARGUMENTS
    if switches.echo:
        return Form.TEXT, ask.text
    sentence = _UNICODE_ANSWER if switches.unicode else ANSWER
    if switches.output_tokens is None:
        return Form.TEXT, sentence
    length = switches.output_tokens * CHARACTERS_PER_TOKEN
    return Form.TEXT, (f"{sentence} " * (length // (len(sentence) + 1) + 1))[:length]
