"""Rollups: sums of settled events by hour, tag and series, as deltas to what is stored.

Addition of deltas commutes, so the order of settlement never matters; rollups equal the sums over
events at any moment (invariant I16).
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias, TypeVar

import orjson

from om_server.analytics.settled import SettledEvent, SettledLine
from om_server.core.event import Event, Outcome
from om_server.core.hours import HOURS_OF_DAY, hour_of
from om_server.core.usage import Certainty

#: The row of all events of a series, beside one row for each tag.
TAG_ALL = ""

_SERIES_ID_BYTES = 16
_NO_TAGS = (TAG_ALL,)
_ESTIMATED = Certainty.ESTIMATED

#: The values of a series in the order of its fields.
_Dimensions: TypeAlias = tuple[str, str, str, str, str, str, int | None, str, str, str, bool]
#: The values of counters in the order of their fields.
_Numbers: TypeAlias = tuple[int, int, int, int, int, int]


# Tuples, because thousands of them are hashed and sorted in the settling transaction.
class RollupKey(NamedTuple):
    """One row of counters. The hour is counted from 1970."""

    organization_id: str
    hour: int
    tag: str
    series_id: str


class QuantityKey(NamedTuple):
    """One row of quantities."""

    organization_id: str
    hour: int
    tag: str
    series_id: str
    unit: str


@dataclass(frozen=True, slots=True)
class Series:
    """Everything that usage is told apart by, but hour and tags. Empty where an event had none."""

    team_id: str = ""
    key_id: str = ""
    customer_id: str = ""
    user_id: str = ""
    feature_id: str = ""
    prompt_key: str = ""
    prompt_version: int | None = None
    event_type: str = ""
    provider: str = ""
    model: str = ""
    sandbox: bool = False

    @property
    def dimensions(self) -> tuple[str | int | bool | None, ...]:
        """The values in the order of the hash, which must never change."""
        return (
            self.team_id,
            self.key_id,
            self.customer_id,
            self.user_id,
            self.feature_id,
            self.prompt_key,
            self.prompt_version,
            self.event_type,
            self.provider,
            self.model,
            self.sandbox,
        )

    @property
    def series_id(self) -> str:
        """128 bits of SHA-256 in hex: the same for the same dimensions in every process."""
        return hashlib.sha256(orjson.dumps(self.dimensions)).digest()[:_SERIES_ID_BYTES].hex()


@dataclass(frozen=True, slots=True)
class Counters:
    """Counts of events, cost in nano-dollars and charge in nano-credits. Unrated money is in neither."""

    event_count: int = 0
    unrated_count: int = 0
    estimated_count: int = 0
    unknown_count: int = 0
    cost: int = 0
    charge: int = 0

    @property
    def numbers(self) -> tuple[int, int, int, int, int, int]:
        """The values in the order of the fields."""
        return (
            self.event_count,
            self.unrated_count,
            self.estimated_count,
            self.unknown_count,
            self.cost,
            self.charge,
        )

    def __add__(self, other: "Counters") -> "Counters":
        return Counters(
            self.event_count + other.event_count,
            self.unrated_count + other.unrated_count,
            self.estimated_count + other.estimated_count,
            self.unknown_count + other.unknown_count,
            self.cost + other.cost,
            self.charge + other.charge,
        )

    def __neg__(self) -> "Counters":
        return Counters(
            -self.event_count,
            -self.unrated_count,
            -self.estimated_count,
            -self.unknown_count,
            -self.cost,
            -self.charge,
        )


@dataclass(frozen=True, slots=True)
class QuantitySum:
    """A sum of what is known of one unit, and how much of it is estimated."""

    amount: int = 0
    estimated_amount: int = 0

    def __add__(self, other: "QuantitySum") -> "QuantitySum":
        return QuantitySum(self.amount + other.amount, self.estimated_amount + other.estimated_amount)

    def __neg__(self) -> "QuantitySum":
        return QuantitySum(-self.amount, -self.estimated_amount)


_Addable = TypeVar("_Addable", Counters, QuantitySum)
_Key = TypeVar("_Key")


@dataclass(frozen=True, slots=True)
class RollupDelta:
    """What to add to the stored rollups. `series` is keyed by (organization_id, series_id)."""

    series: Mapping[tuple[str, str], Series] = field(default_factory=dict)
    counters: Mapping[RollupKey, Counters] = field(default_factory=dict)
    quantities: Mapping[QuantityKey, QuantitySum] = field(default_factory=dict)

    def __add__(self, other: "RollupDelta") -> "RollupDelta":
        counters, quantities = dict(self.counters), dict(self.quantities)
        for key, counted in other.counters.items():
            _add(counters, key, addend=counted)
        for quantity_key, quantity in other.quantities.items():
            _add(quantities, quantity_key, addend=quantity)
        return RollupDelta({**self.series, **other.series}, counters, quantities)


def roll_up(batch: Iterable[SettledEvent]) -> RollupDelta:
    """Sum settled events.

    An event counts once, in the series of its first line; each line's share of cost and charge and
    its quantities go to the line's own series. Each tag is given the whole event.
    """
    found: dict[_Dimensions, tuple[str, Series]] = {}
    series: dict[tuple[str, str], Series] = {}
    sums: dict[RollupKey, _Sums] = {}
    for settled in batch:
        event = settled.event
        organization_id, tags = event.organization_id, event.attribution.tags
        hour = hour_of(event.event_time)
        for line, counted in _shares(settled):
            dimensions = _dimensions(event, line)
            if dimensions not in found:
                where = Series(*dimensions)
                found[dimensions] = where.series_id, where
            series_id, where = found[dimensions]
            series[organization_id, series_id] = where
            # An empty tag, or one that is named twice, would count the event twice.
            for tag in (TAG_ALL, *dict.fromkeys(filter(None, tags))) if tags else _NO_TAGS:
                key = RollupKey(organization_id, hour, tag, series_id)
                if key not in sums:
                    sums[key] = _Sums()
                sums[key].add(line, counted)
    return RollupDelta(
        series,
        {key: row.counters for key, row in sums.items()},
        {
            QuantityKey(*key, unit): QuantitySum(*amounts)
            for key, row in sums.items()
            for unit, amounts in row.quantities.items()
        },
    )


def by_day(delta: RollupDelta) -> RollupDelta:
    """Return the same sums by the UTC day: what is the hour in the keys is the day, counted from 1970."""
    counters: dict[RollupKey, Counters] = {}
    quantities: dict[QuantityKey, QuantitySum] = {}
    # Made anew, because `_replace` takes twice as long.
    for (organization_id, hour, tag, series_id), counted in delta.counters.items():
        key = RollupKey(organization_id, hour // HOURS_OF_DAY, tag, series_id)
        _add(counters, key, addend=counted)
    for (organization_id, hour, tag, series_id, unit), quantity in delta.quantities.items():
        quantity_key = QuantityKey(organization_id, hour // HOURS_OF_DAY, tag, series_id, unit)
        _add(quantities, quantity_key, addend=quantity)
    return RollupDelta(delta.series, counters, quantities)


def correction(before: Iterable[SettledEvent], after: Iterable[SettledEvent]) -> RollupDelta:
    """Return what to add so that sums over `before` become sums over `after`, the same events."""
    old, new = roll_up(before), roll_up(after)
    counters, quantities = dict(new.counters), dict(new.quantities)
    for key, counted in old.counters.items():
        _add(counters, key, addend=-counted)
    for quantity_key, quantity in old.quantities.items():
        _add(quantities, quantity_key, addend=-quantity)
    return RollupDelta(
        {**old.series, **new.series},
        {key: counted for key, counted in counters.items() if counted != Counters()},
        {key: quantity for key, quantity in quantities.items() if quantity != QuantitySum()},
    )


def series_of(event: Event, line: SettledLine | None) -> Series:
    """Return where a line of an event belongs; without a line, provider and model stay empty."""
    return Series(*_dimensions(event, line))


def _dimensions(event: Event, line: SettledLine | None) -> _Dimensions:
    attribution = event.attribution
    return (
        attribution.team_id,
        event.key_id,
        attribution.customer_id,
        attribution.user_id,
        attribution.feature_id,
        attribution.prompt_key,
        attribution.prompt_version,
        event.event_type.value,
        line.line.provider.lower() if line is not None else "",
        line.line.model if line is not None else "",
        event.sandbox,
    )


class _Sums:
    """What the lines of a batch add to one row of counters and to its quantities.

    Plain numbers that grow: a value made for each addition would take most of the time of a rollup.
    """

    __slots__ = ("_numbers", "quantities")

    def __init__(self) -> None:
        self._numbers = [0, 0, 0, 0, 0, 0]
        #: Amount and estimated amount by unit.
        self.quantities: dict[str, list[int]] = {}

    @property
    def counters(self) -> Counters:
        return Counters(*self._numbers)

    def add(self, line: SettledLine | None, numbers: _Numbers) -> None:
        """Add what a line counts, in the order of the counters, and what is known of its units."""
        for index, number in enumerate(numbers):
            self._numbers[index] += number
        if line is None:
            return
        for quantity in line.line.usage.quantities:
            if quantity.amount is None:
                # Not zero: it is left out.
                continue
            amounts = self.quantities.setdefault(quantity.unit, [0, 0])
            amounts[0] += quantity.amount
            if quantity.certainty is _ESTIMATED:
                amounts[1] += quantity.amount


def _shares(settled: SettledEvent) -> Iterator[tuple[SettledLine | None, _Numbers]]:
    """Yield each line with what it adds; an event without lines yields itself."""
    counts = (
        1,
        int(not settled.rated),
        int(any(line.line.usage.estimated for line in settled.lines)),
        int(_unknown(settled)),
    )
    for line in settled.lines or (None,):
        share = settled if line is None else line
        # Of a rated event neither is None: it would not exist.
        money = (share.cost or 0, share.charge or 0) if settled.rated else (0, 0)
        yield line, (*counts, *money)
        counts = (0, 0, 0, 0)


def _unknown(settled: SettledEvent) -> bool:
    """Whether consumption happened of which nobody knows how much."""
    outcome = settled.event.outcome
    if outcome is Outcome.ZERO:
        return False
    if not settled.lines:
        return outcome is Outcome.UNKNOWN
    return any(line.line.usage.unknown or not line.line.usage.quantities for line in settled.lines)


def _add(sums: dict[_Key, _Addable], key: _Key, *, addend: _Addable) -> None:
    before = sums.get(key)
    sums[key] = addend if before is None else before + addend
