"""Usage: disjoint quantities by unit, each measured, estimated or unknown.

UNITS is the one registry of billable units. The classes are disjoint: input_tokens leaves out
everything that has a unit of its own, so that the sum of the classes is the provider's total.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from types import MappingProxyType

from om_server.core.errors import Code, DomainError
from om_server.core.value import value_type

# Integers up to here survive a trip through a JSON number.
QUANTITY_MAX = 2**53

CUSTOM_STEP = 1_000_000
SECONDS_STEP = 1_000

_CUSTOM = re.compile(r"custom:[a-z0-9_.-]{1,64}")


class UnitUnknown(DomainError):
    """The unit is neither registered nor a well-formed custom unit."""

    code = Code.INVALID_ARGUMENT
    reason = "UNKNOWN_UNIT"

    def __init__(self, unit: str) -> None:
        super().__init__(f"the unit {unit!r} is not registered", unit=unit)


class QuantityNegative(DomainError):
    """A quantity is below zero."""

    code = Code.INVALID_ARGUMENT
    reason = "NEGATIVE_QUANTITY"

    def __init__(self, unit: str, amount: int) -> None:
        super().__init__(f"{amount} of {unit} is negative", unit=unit, amount=str(amount))


class QuantityOutOfRange(DomainError):
    """A quantity is above 2^53 steps."""

    code = Code.INVALID_ARGUMENT
    reason = "QUANTITY_OUT_OF_RANGE"

    def __init__(self, unit: str, amount: int) -> None:
        super().__init__(f"{amount} of {unit} is out of range", unit=unit, amount=str(amount))


class UnitDuplicated(DomainError):
    """One usage names a unit twice."""

    code = Code.INVALID_ARGUMENT
    reason = "DUPLICATE_UNIT"

    def __init__(self, unit: str) -> None:
        super().__init__(f"the unit {unit} is named twice", unit=unit)


class CertaintyMismatch(DomainError):
    """An unknown quantity has an amount, or a known one has none."""

    code = Code.INVALID_ARGUMENT
    reason = "CERTAINTY_MISMATCH"

    def __init__(self, unit: str) -> None:
        super().__init__(f"amount and certainty of {unit} contradict each other", unit=unit)


@dataclass(frozen=True, slots=True)
class Unit:
    """A billable unit. Amounts are integers of its step: `step` of them make one whole unit."""

    name: str
    meaning: str
    step: int = 1
    # Already counted in another unit: shown, never charged.
    informational: bool = False
    # Part of the prompt, whose whole size chooses the context tier.
    prompt: bool = False


_UNITS = (
    Unit("input_tokens", "prompt tokens that no unit below names", prompt=True),
    Unit("cache_read_tokens", "prompt tokens read from a cache", prompt=True),
    Unit("cache_write_tokens", "prompt tokens written to a cache of unstated or 30 min life", prompt=True),
    Unit("cache_write_5m_tokens", "prompt tokens written to a cache for 5 minutes", prompt=True),
    Unit("cache_write_1h_tokens", "prompt tokens written to a cache for 1 hour", prompt=True),
    Unit("cache_write_12h_tokens", "prompt tokens written to a cache for 12 hours", prompt=True),
    Unit("audio_input_tokens", "audio in the prompt", prompt=True),
    Unit("audio_cache_read_tokens", "audio in the prompt, read from a cache", prompt=True),
    Unit("image_input_tokens", "images in the prompt", prompt=True),
    Unit("image_cache_read_tokens", "images in the prompt, read from a cache", prompt=True),
    Unit("video_input_tokens", "video in the prompt", prompt=True),
    Unit("video_cache_read_tokens", "video in the prompt, read from a cache", prompt=True),
    # Gemini counts these beside promptTokenCount, and its context tier ignores them.
    Unit("tool_input_tokens", "what a server tool put before the model"),
    Unit("output_tokens", "generated text, with reasoning and rejected predictions"),
    Unit("reasoning_tokens", "the reasoning in output_tokens", informational=True),
    Unit("audio_output_tokens", "generated audio"),
    Unit("image_output_tokens", "generated images, by token"),
    Unit("video_output_tokens", "generated video, by token"),
    Unit("images", "generated images, by piece"),
    Unit("audio_seconds", "audio that was transcribed or spoken, by length", step=SECONDS_STEP),
    Unit("video_seconds", "generated video, by length", step=SECONDS_STEP),
    Unit("characters", "Unicode code points that were spoken"),
    Unit("pages", "document pages that were read"),
    Unit("annotated_pages", "document pages that were read and annotated"),
    Unit("requests", "calls, where each call has a price"),
    Unit("web_searches", "billable web searches, or grounded prompts where the provider bills those"),
    Unit("file_searches", "searches in stored files"),
    Unit("code_executions", "code interpreter sessions"),
    Unit("tool_calls", "calls of any other server tool"),
)

UNITS: Mapping[str, Unit] = MappingProxyType({unit.name: unit for unit in _UNITS})
INFORMATIONAL_UNITS = frozenset(unit.name for unit in _UNITS if unit.informational)
PROMPT_UNITS = frozenset(unit.name for unit in _UNITS if unit.prompt)


def find_unit(name: str) -> Unit:
    """Return the registered unit, or the custom unit of that name; UNKNOWN_UNIT for anything else."""
    return UNITS.get(name) or _custom_unit(name)


# Custom names come from callers, so the cache is bounded.
@lru_cache(maxsize=1024)
def _custom_unit(name: str) -> Unit:
    if _CUSTOM.fullmatch(name) is None:
        raise UnitUnknown(name)
    return Unit(name, "defined by the organization", step=CUSTOM_STEP)


class Certainty(Enum):
    """How far a quantity can be trusted."""

    MEASURED = "measured"
    ESTIMATED = "estimated"
    UNKNOWN = "unknown"


# Every quantity of every event is checked, and a member looked up in its class takes as long as a check.
_ESTIMATED, _UNKNOWN = Certainty.ESTIMATED, Certainty.UNKNOWN


@value_type(frozen=True, slots=True)
class Quantity:
    """How much of one unit. The amount is None if and only if it is unknown; zero is a fact."""

    unit: str
    amount: int | None
    certainty: Certainty = Certainty.MEASURED

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            _custom_unit(self.unit)
        amount = self.amount
        if (amount is None) is not (self.certainty is _UNKNOWN):
            raise CertaintyMismatch(self.unit)
        if amount is not None:
            if amount < 0:
                raise QuantityNegative(self.unit, amount)
            if amount > QUANTITY_MAX:
                raise QuantityOutOfRange(self.unit, amount)


@value_type(frozen=True, slots=True)
class Usage:
    """What one model consumed: at most one quantity for each unit."""

    quantities: tuple[Quantity, ...]
    # Whether any quantity is unknown, or an estimate: told once, because settling asks again and again.
    unknown: bool = field(init=False, repr=False, compare=False)
    estimated: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        seen: set[str] = set()
        unknown = estimated = False
        for quantity in self.quantities:
            if quantity.unit in seen:
                raise UnitDuplicated(quantity.unit)
            seen.add(quantity.unit)
            unknown = unknown or quantity.certainty is _UNKNOWN
            estimated = estimated or quantity.certainty is _ESTIMATED
        object.__setattr__(self, "unknown", unknown)
        object.__setattr__(self, "estimated", estimated)

    @classmethod
    def measured(cls, **amounts: int) -> "Usage":
        """Return a usage of measured amounts, named by unit."""
        return cls(tuple(Quantity(unit, amount) for unit, amount in amounts.items()))

    def amount(self, unit: str) -> int | None:
        """Return how much of a unit, in its step; None if it is unknown or was not reported."""
        for quantity in self.quantities:
            if quantity.unit == unit:
                return quantity.amount
        return None

    @property
    def prompt_size(self) -> int | None:
        """Tokens of the whole prompt, cached or not, which choose the context tier; None if unknown."""
        size = 0
        for quantity in self.quantities:
            if quantity.unit in PROMPT_UNITS:
                if quantity.amount is None:
                    return None
                size += quantity.amount
        return size
