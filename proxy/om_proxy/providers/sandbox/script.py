"""What the simulated model says and what that counts: a pure function of the request and its switches.

A token is four characters, rounded up. Streams and plain answers are built from the same script, so their
texts and counts agree.
"""

from __future__ import annotations

from dataclasses import dataclass

from om_proxy.providers.sandbox.exchange import Problem, Refused
from om_proxy.providers.sandbox.switch import Switches

CHARACTERS_PER_TOKEN = 4
ANSWER = "The simulator answers every question with this same sentence."
THOUGHT = "The simulator thinks about it for as long as it was told to."
_UNICODE_ANSWER = "Schön: 模拟器 用 同一句话 回答 🙂 每个问题 🎈 öfter."

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

    @property
    def output_tokens(self) -> int:
        """Everything produced, visible or not."""
        return self.text_tokens + self.reasoning_tokens

    def parts(self, tokens: int) -> tuple[str, ...]:
        """Split the text into parts of so many tokens, the last one possibly shorter."""
        size = tokens * CHARACTERS_PER_TOKEN
        return tuple(self.text[start : start + size] for start in range(0, len(self.text), size))


def write_script(ask: Ask, switches: Switches) -> Script:
    """Decide the answer; a cap is spent on reasoning first, then on text."""
    whole_text = _whole_text(switches)
    reasoning, text = switches.reasoning, whole_text
    if ask.output_tokens_max is not None:
        reasoning = min(reasoning, ask.output_tokens_max)
        text = text[: (ask.output_tokens_max - reasoning) * CHARACTERS_PER_TOKEN]
    return Script(
        model=switches.served_model or _SERVED_MODELS.get(ask.model, ask.model),
        text=text,
        cut=reasoning < switches.reasoning or len(text) < len(whole_text),
        choices=ask.choices,
        fresh_tokens=count_input(ask.characters, switches),
        text_tokens=count_tokens(len(text)) * ask.choices,
        reasoning_tokens=reasoning * ask.choices,
    )


def count_tokens(characters: int) -> int:
    """Count the tokens of so many characters."""
    return -(-characters // CHARACTERS_PER_TOKEN)


def count_input(characters: int, switches: Switches) -> int:
    """Count a request's own input: at least one token, unless a switch names the number."""
    return max(1, count_tokens(characters)) if switches.input_tokens is None else switches.input_tokens


def require_model(model: str, message: str) -> str:
    """Give the model back, or refuse one that does not exist with the provider's message."""
    if model.startswith(_MISSING_PREFIX):
        raise Refused(Problem(404, message, code="model_not_found"))
    return model


def _whole_text(switches: Switches) -> str:
    sentence = _UNICODE_ANSWER if switches.unicode else ANSWER
    if switches.output_tokens is None:
        return sentence
    length = switches.output_tokens * CHARACTERS_PER_TOKEN
    return (f"{sentence} " * (length // (len(sentence) + 1) + 1))[:length]
