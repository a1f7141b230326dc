"""Rates compiled to integers for the hot path: what each unit costs above one prompt size.

Nothing here rounds. A unit without a rate has no price, which is never zero.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from om_server.core.usage import find_unit
from om_server.rating.unit_rate import PriceInvalid, Rate

#: How many steps, and the numerator and the rate that they have.
Tiered: TypeAlias = "tuple[int, int, Rate]"

# A class that has no rate of its own and no rate by the price list is charged as the class beside it.
# Each is what providers document, or dearer, never a discount: cached input without a cache price is
# input; a write replaces the input price. A 1 h write is dearer than a 5 min write, so it has no entry.
_FALLBACKS: Mapping[str, str] = {
    "cache_read_tokens": "input_tokens",
    "cache_write_tokens": "input_tokens",
    "cache_write_5m_tokens": "cache_write_tokens",
    "audio_cache_read_tokens": "audio_input_tokens",
    "image_cache_read_tokens": "image_input_tokens",
    "video_cache_read_tokens": "video_input_tokens",
    "tool_input_tokens": "input_tokens",
}


@dataclass(frozen=True, slots=True)
class KeyedRates:
    """Rates that depend on attributes of the line: images by size and quality."""

    names: tuple[str, ...]
    defaults: tuple[tuple[str, str], ...]
    by_values: Mapping[tuple[str, ...], Rate]

    def find(self, attributes: Mapping[str, str]) -> Rate | None:
        """Return the rate for a line; an attribute that is absent takes the provider's default."""
        given = dict(self.defaults)
        given.update((name.lower(), value.lower()) for name, value in attributes.items() if value)
        return self.by_values.get(tuple(given.get(name, "") for name in self.names))


@dataclass(frozen=True, slots=True)
class Tier:
    """A rate for the steps of a unit above a number of them in one event; the numerator is its table's."""

    threshold: int
    numerator: int
    rate: Rate


@dataclass(frozen=True, slots=True)
class RateTable:
    """The rates that apply above one prompt size, over one denominator so that they add as integers."""

    threshold: int
    denominator: int
    numerators: Mapping[str, int]
    rates: Mapping[str, Rate]
    keyed: Mapping[str, KeyedRates]
    # The tiers of a unit whose rate depends on how much of it an event has, ascending, behind the first.
    tiers: Mapping[str, tuple[Tier, ...]] = field(default_factory=dict)

    def find(self, unit: str, attributes: Mapping[str, str]) -> tuple[int, Rate] | None:
        """Return numerator (over the table's denominator) and rate of a unit; None if it has no price."""
        rate = self.rates.get(unit)
        if rate is not None:
            return self.numerators[unit], rate
        keyed = self.keyed.get(unit)
        rate = keyed.find(attributes) if keyed is not None else None
        if rate is None:
            return None
        return rate.numerator * (self.denominator // rate.denominator), rate

    def tiered(self, unit: str, first: tuple[int, Rate], *, start: int, amount: int) -> Iterator[Tiered]:
        """Share steps of a unit that follow `start` others over its tiers; `first` is what `find` gave."""
        end, floor, (numerator, rate) = start + amount, 0, first
        for tier in self.tiers.get(unit, ()):
            part = min(end, tier.threshold) - max(start, floor)
            if part > 0:
                yield part, numerator, rate
            floor, numerator, rate = tier.threshold, tier.numerator, tier.rate
        if end > floor:
            yield end - max(start, floor), numerator, rate

    def all_rates(self) -> Iterable[tuple[str, Rate]]:
        """Yield every unit with every rate that it may have here, fallbacks included."""
        yield from self.rates.items()
        for unit, keyed in self.keyed.items():
            for rate in keyed.by_values.values():
                yield unit, rate
        for unit, tiers in self.tiers.items():
            for tier in tiers:
                yield unit, tier.rate


def compile_tables(
    rates: Iterable[Rate], *, same_as: Mapping[str, str], defaults: tuple[tuple[str, str], ...] = ()
) -> tuple[RateTable, ...]:
    """Return one table for each context threshold, ascending; the first is the base.

    `same_as` is what the price list says: this unit is charged at that unit's rate.
    """
    listed = tuple(rates)
    _require_sound(listed, same_as)
    thresholds = sorted({0, *(rate.context_threshold for rate in listed)})
    return tuple(_compile(listed, threshold, same_as=same_as, defaults=defaults) for threshold in thresholds)


def pick_table(tables: tuple[RateTable, ...], prompt_size: int) -> RateTable:
    """Return the table of a prompt size. The whole request is priced by it; at a threshold, the lower one."""
    chosen = tables[0]
    for table in tables[1:]:
        if prompt_size > table.threshold:
            chosen = table
    return chosen


def _require_sound(rates: tuple[Rate, ...], same_as: Mapping[str, str]) -> None:
    seen: set[tuple[str, tuple[tuple[str, str], ...], int, int]] = set()
    names: dict[str, set[tuple[str, ...]]] = {}
    for rate in rates:
        key = (rate.unit, rate.attributes, rate.context_threshold, rate.quantity_threshold)
        if key in seen:
            raise PriceInvalid("rates", f"{rate.unit} has two rates for one threshold")
        seen.add(key)
        names.setdefault(rate.unit, set()).add(tuple(name for name, _ in sorted(rate.attributes)))
    for unit, attributes, threshold, quantity in seen:
        if (threshold or quantity) and (unit, attributes, 0, 0) not in seen:
            raise PriceInvalid("rates", f"{unit} has a rate above {threshold or quantity} and none below")
    tiered = {rate.unit for rate in rates if rate.quantity_threshold}
    if any(rate.unit in tiered and (rate.attributes or rate.context_threshold) for rate in rates):
        raise PriceInvalid("rates", "a rate by quantity depends on nothing else")
    for unit, variants in names.items():
        # Otherwise a line could match two rates.
        if len(variants) > 1:
            raise PriceInvalid("attributes", f"rates of {unit} depend on different attributes")
    for unit, target in same_as.items():
        find_unit(unit)
        if target in same_as or unit in names:
            raise PriceInvalid("same_as", f"{unit} has a rate of its own, or {target} is an alias too")


def _compile(
    rates: tuple[Rate, ...],
    threshold: int,
    *,
    same_as: Mapping[str, str],
    defaults: tuple[tuple[str, str], ...],
) -> RateTable:
    own: dict[str, Rate] = {}
    keyed: dict[str, dict[tuple[tuple[str, str], ...], Rate]] = {}
    tiers: dict[str, list[Rate]] = {}
    for rate in sorted(rates, key=lambda rate: (rate.context_threshold, rate.quantity_threshold)):
        if rate.context_threshold > threshold:
            continue
        if rate.quantity_threshold:
            tiers.setdefault(rate.unit, []).append(rate)
        elif rate.attributes:
            keyed.setdefault(rate.unit, {})[tuple(sorted(rate.attributes))] = rate
        else:
            own[rate.unit] = rate
    resolved = _with_fallbacks(own, same_as)
    denominator = math.lcm(
        *(rate.denominator for rate in own.values()),
        *(rate.denominator for variants in keyed.values() for rate in variants.values()),
        *(rate.denominator for higher in tiers.values() for rate in higher),
    )
    return RateTable(
        threshold=threshold,
        denominator=denominator,
        numerators={
            unit: rate.numerator * (denominator // rate.denominator) for unit, rate in resolved.items()
        },
        rates=resolved,
        keyed={unit: _keyed(variants, defaults) for unit, variants in keyed.items()},
        # A unit that is charged at another's rate has its tiers too.
        tiers={
            unit: _tiers(tiers[rate.unit], denominator)
            for unit, rate in resolved.items()
            if rate.unit in tiers
        },
    )


def _tiers(rates: Iterable[Rate], denominator: int) -> tuple[Tier, ...]:
    return tuple(
        Tier(rate.quantity_threshold, rate.numerator * (denominator // rate.denominator), rate)
        for rate in rates
    )


def _with_fallbacks(own: dict[str, Rate], same_as: Mapping[str, str]) -> dict[str, Rate]:
    # Only one step of fallback: a 5 min write without a write price must not become plain input.
    stated = dict(own)
    stated.update({unit: own[target] for unit, target in same_as.items() if target in own})
    resolved = dict(stated)
    resolved.update(
        {
            unit: stated[target]
            for unit, target in _FALLBACKS.items()
            if unit not in stated and target in stated
        }
    )
    for unit, target in same_as.items():
        if unit not in resolved and target in resolved:
            resolved[unit] = resolved[target]
    return resolved


def _keyed(
    variants: Mapping[tuple[tuple[str, str], ...], Rate], defaults: tuple[tuple[str, str], ...]
) -> KeyedRates:
    names = tuple(name.lower() for name, _ in next(iter(variants)))
    return KeyedRates(
        names=names,
        defaults=tuple((name, value) for name, value in defaults if name in names),
        by_values={
            tuple(value.lower() for _, value in attributes): rate for attributes, rate in variants.items()
        },
    )
