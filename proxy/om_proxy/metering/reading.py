"""What a meter says at the end of a call: lines of usage, the provider's own figures, and what to doubt.

Providers are untrusted input: Fields reads their JSON objects and remembers what was wrong with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import orjson

from om_proxy.metering.usage import COUNT_MAX, Certainty, Usage
from om_proxy.value import value_type

RAW_USAGE_MAX = 16_384
NAME_MAX = 255

_RAW_TEXT_MAX = 64
_RAW_DEPTH_MAX = 6
_RAW_ITEMS_MAX = 256


class Flag(StrEnum):
    """Something about a reading that an auditor should know."""

    USAGE_MISSING = "usage_missing"  # The provider said nothing; the figures are estimates.
    USAGE_MALFORMED = "usage_malformed"  # A count was negative, huge, or no integer.
    USAGE_INCONSISTENT = "usage_inconsistent"  # The provider's own totals do not add up.
    USAGE_KEY_UNKNOWN = "usage_key_unknown"  # The usage has a field that we do not know yet.
    CACHE_SPLIT_ASSUMED = (
        "cache_split_assumed"  # Cache writes without their time to live: taken as 5 minutes.
    )
    SEGMENTS_SUMMED = "segments_summed"  # Gemini's last frame dropped tokens that it had reported.
    SEARCHES_ASSUMED = "searches_assumed"  # A search is part of the call and the provider does not count it.
    FALLBACK_CREDIT = "fallback_credit"  # Anthropic repriced the call; tokens alone cannot show it.
    INCOMPLETE = "incomplete"  # The answer ended before its end.
    ERROR_IN_ANSWER = "error_in_answer"  # An error arrived with a status of success.
    ENCODING_UNREADABLE = "encoding_unreadable"
    DECODED_OVER_LIMIT = "decoded_over_limit"
    DOCUMENT_OVER_LIMIT = "document_over_limit"
    DOCUMENT_MALFORMED = "document_malformed"


@value_type(frozen=True, slots=True)
class Line:
    """Consumption at one model."""

    provider: str
    model: str  # The one that served, where the provider names it.
    requested_model: str
    tier: str  # standard, batch, flex, priority, or the provider's own word.
    usage: Usage
    attributes: tuple[tuple[str, str], ...] = ()  # What a price may depend on beside the unit.


@dataclass(frozen=True, slots=True)
class EndedJob:
    """The end of deferred work, as an answer shows it: an event of its own, whoever asked.

    No lines: nothing is charged for it.
    """

    job_id: str
    lines: tuple[Line, ...]
    raw_usage: bytes | None = None
    part: str = ""  # Of a job whose parts are charged one by one: an event that no call waits for.


@value_type(frozen=True, slots=True)
class Metered:
    """The outcome of a call. No lines: nothing was consumed."""

    lines: tuple[Line, ...]
    raw_usage: bytes | None = None  # The provider's usage object, compact JSON, at most RAW_USAGE_MAX bytes.
    response_id: str | None = None
    flags: frozenset[Flag] = frozenset()
    job_id: str | None = None  # The work goes on under this id: the call is deferred, not charged.
    ended: tuple[EndedJob, ...] = ()

    @property
    def measured(self) -> bool:
        """Whether every quantity is the provider's own number."""
        return all(line.usage.certainties <= {Certainty.MEASURED} for line in self.lines)


class Fields:
    """A JSON object read with suspicion: what is of the wrong type reads as absent and raises a flag."""

    def __init__(self, raw: object, flags: set[Flag]) -> None:
        self.raw: Mapping[str, object] = raw if isinstance(raw, dict) else {}
        self._flags = flags
        if raw is not None and not isinstance(raw, dict):
            flags.add(Flag.USAGE_MALFORMED)

    def count(self, name: str) -> int | None:
        """Read a count; None where it is absent, null, or cannot be one."""
        value = self.raw.get(name)
        if value is None:
            return None
        # A JSON true is an int in Python, hence the exact type.
        if type(value) is not int or not 0 <= value <= COUNT_MAX:
            self._flags.add(Flag.USAGE_MALFORMED)
            return None
        return value

    def text(self, name: str) -> str | None:
        """Read a short printable name; None where there is no such thing."""
        return short_text(self.raw.get(name))

    def section(self, name: str) -> Fields:
        """Read an object inside; absent and null are empty."""
        return Fields(self.raw.get(name), self._flags)

    def check_keys(self, known: frozenset[str]) -> None:
        """Flag keys that nobody has looked at: providers add billable ones without notice."""
        if not self.raw.keys() <= known:
            self._flags.add(Flag.USAGE_KEY_UNKNOWN)


def short_text(value: object) -> str | None:
    """Read a short printable name; None for anything else."""
    if isinstance(value, str) and 0 < len(value) <= NAME_MAX and value.isprintable():
        return value
    return None


def parse_object(document: bytes) -> dict[str, object] | None:
    """Parse a JSON object; None for anything else."""
    try:
        parsed = orjson.loads(document)
    except orjson.JSONDecodeError:
        return None
    return parsed if isinstance(parsed, dict) else None


def raw_usage_of(usage: Mapping[str, object]) -> bytes | None:
    """Serialise a provider's usage object for the record, without anything that could be a text."""
    compact = orjson.dumps(_without_texts(usage, _RAW_DEPTH_MAX))
    return compact if len(compact) <= RAW_USAGE_MAX else None


def _without_texts(value: object, depth: int) -> object:
    if isinstance(value, str):
        return value if len(value) <= _RAW_TEXT_MAX else None
    if not isinstance(value, dict | list):
        return value
    if depth == 0 or len(value) > _RAW_ITEMS_MAX:
        return None
    if isinstance(value, list):
        return [_without_texts(item, depth - 1) for item in value]
    return {
        # Nearly all of it is counts.
        name: item if type(item) is int else _without_texts(item, depth - 1)
        for name, item in value.items()
        if len(name) <= _RAW_TEXT_MAX
    }
