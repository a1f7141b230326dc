"""Usage: disjoint quantities by unit, each measured, estimated or unknown. Maps 1:1 to om.type.v1.Usage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum, StrEnum

from om_proxy.value import value_type

# A count above this cannot be one call's: no model reads or writes a billion tokens at once.
COUNT_MAX = 1_000_000_000

# English is near four bytes a token with every provider's tokenizer.
BYTES_PER_TOKEN = 4


class Unit(StrEnum):
    """The registered units that a meter of ours can report."""

    INPUT_TOKENS = "input_tokens"
    CACHE_READ_TOKENS = "cache_read_tokens"
    CACHE_WRITE_TOKENS = "cache_write_tokens"  # Time to live unspecified, or half an hour.
    CACHE_WRITE_5M_TOKENS = "cache_write_5m_tokens"
    CACHE_WRITE_1H_TOKENS = "cache_write_1h_tokens"
    CACHE_WRITE_12H_TOKENS = "cache_write_12h_tokens"
    AUDIO_INPUT_TOKENS = "audio_input_tokens"
    AUDIO_CACHE_READ_TOKENS = "audio_cache_read_tokens"
    IMAGE_INPUT_TOKENS = "image_input_tokens"
    IMAGE_CACHE_READ_TOKENS = "image_cache_read_tokens"
    VIDEO_INPUT_TOKENS = "video_input_tokens"
    VIDEO_CACHE_READ_TOKENS = "video_cache_read_tokens"
    TOOL_INPUT_TOKENS = "tool_input_tokens"  # What a tool at the provider put before the model.
    OUTPUT_TOKENS = "output_tokens"
    REASONING_TOKENS = "reasoning_tokens"  # Information: part of OUTPUT_TOKENS, never charged beside it.
    AUDIO_OUTPUT_TOKENS = "audio_output_tokens"
    IMAGE_OUTPUT_TOKENS = "image_output_tokens"
    VIDEO_OUTPUT_TOKENS = "video_output_tokens"
    IMAGES = "images"
    AUDIO_SECONDS = "audio_seconds"  # In milliseconds.
    VIDEO_SECONDS = "video_seconds"  # In milliseconds.
    CHARACTERS = "characters"
    REQUESTS = "requests"
    WEB_SEARCHES = "web_searches"
    FILE_SEARCHES = "file_searches"
    CODE_EXECUTIONS = "code_executions"
    TOOL_CALLS = "tool_calls"
    # No registered unit: it has a price where the organization gives it one. In millionths.
    CACHED_TOKEN_HOURS = "custom:cached_token_hours"  # noqa: S105 - no secret.


class Certainty(Enum):
    """How far a quantity can be trusted."""

    MEASURED = "measured"
    ESTIMATED = "estimated"
    UNKNOWN = "unknown"

    # The library's own hashes the name, in Python, each time; a member is the only one of its kind.
    __hash__ = object.__hash__


@value_type(frozen=True, slots=True)
class Quantity:
    """How much of one unit. An unknown quantity has no amount, which is not zero."""

    unit: Unit
    amount: int | None
    certainty: Certainty = Certainty.MEASURED

    def __post_init__(self) -> None:
        if (self.amount is None) is not (self.certainty is Certainty.UNKNOWN):
            raise ValueError(f"{self.unit}: exactly an unknown quantity has no amount")
        if self.amount is not None and self.amount < 0:
            raise ValueError(f"{self.unit}: a quantity is never below zero")


@value_type(frozen=True, slots=True)
class Usage:
    """What one model consumed in one call; a unit occurs at most once."""

    quantities: tuple[Quantity, ...]

    def __post_init__(self) -> None:
        units = [quantity.unit for quantity in self.quantities]
        if len(set(units)) != len(units):
            raise ValueError("a unit occurs twice in one usage")

    def amount(self, unit: Unit) -> int | None:
        """Give the amount of a unit: None where it is unknown, 0 where the usage does not name it."""
        for quantity in self.quantities:
            if quantity.unit is unit:
                return quantity.amount
        return 0

    @property
    def certainties(self) -> frozenset[Certainty]:
        """Every certainty that occurs."""
        return frozenset(quantity.certainty for quantity in self.quantities)


def usage_of(
    counts: Mapping[Unit, int | None],
    certainty: Certainty = Certainty.MEASURED,
    *,
    estimated: Iterable[Unit] = (),
) -> Usage:
    """Build a usage from counts; None is unknown, and zeros are left out but for input and output.

    The units in `estimated` are less certain than the rest.
    """
    always = (Unit.INPUT_TOKENS, Unit.OUTPUT_TOKENS)
    guessed = frozenset(estimated)
    quantities = []
    for unit, amount in counts.items():
        if amount is None:
            quantities.append(Quantity(unit, None, Certainty.UNKNOWN))
        elif amount or unit in always:
            quantities.append(Quantity(unit, amount, Certainty.ESTIMATED if unit in guessed else certainty))
    return Usage(tuple(quantities))


def tokens_of(size_bytes: int) -> int:
    """Estimate the tokens of a text, rounded up."""
    return -(-size_bytes // BYTES_PER_TOKEN)
