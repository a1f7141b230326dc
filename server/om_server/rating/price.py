"""Prices: exact dated rates of one model in one service tier, compiled to integers for the hot path.

A rate is decimal text for a number of steps, because rates need fractions of a nano-unit: 0.0375
dollars per million tokens is 37.5 nanos each. Nothing here rounds. A unit without a rate has no price,
which is never zero; a rate of zero is a price.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TypeAlias

from om_server.core.errors import Code, DomainError
from om_server.core.money import NANO, USD
from om_server.core.usage import INFORMATIONAL_UNITS, find_unit

#: How many steps, and the numerator and the rate that they have.
Tiered: TypeAlias = "tuple[int, int, Rate]"

STANDARD = "standard"
PER_MILLION = 1_000_000

_DECIMAL = re.compile(r"([0-9]{1,12})(?:\.([0-9]{1,18}))?")
# Credits are what is charged, never what a provider costs.
_CURRENCY = re.compile(r"[A-Z]{3}")

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


class PriceInvalid(DomainError):
    """A price, burn table or catalogue breaks a rule of its format."""

    code = Code.INVALID_ARGUMENT
    reason = "PRICE_INVALID"

    def __init__(self, field_name: str, description: str) -> None:
        super().__init__(f"{field_name}: {description}", field=field_name)
        self.field = field_name
        self.description = description


def exact_decimal(text: str, field_name: str) -> tuple[int, int]:
    """Read non-negative plain decimal text as numerator and denominator."""
    match = _DECIMAL.fullmatch(text)
    if match is None:
        raise PriceInvalid(field_name, "not a plain non-negative decimal of at most 12 and 18 digits")
    decimals = match[2] or ""
    return int(match[1] + decimals), 10 ** len(decimals)


def require_currency(code: str, field_name: str) -> None:
    """Refuse what is no currency of a provider's cost: three capital letters, so never credits."""
    if _CURRENCY.fullmatch(code) is None:
        raise PriceInvalid(field_name, f"{code!r} is not a currency of three capital letters")


@dataclass(frozen=True, slots=True)
class Rate:
    """The price of one unit: `price` for `per` steps, above a prompt size, for lines with the attributes.

    With a quantity threshold it is for the unit's steps above so many in one event, in burn tables only.
    """

    unit: str
    price: str
    per: int = PER_MILLION
    attributes: tuple[tuple[str, str], ...] = ()
    context_threshold: int = 0
    quantity_threshold: int = 0
    # Nano-units of the currency for one step, exactly.
    numerator: int = field(init=False, repr=False, compare=False)
    denominator: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        find_unit(self.unit)
        if self.unit in INFORMATIONAL_UNITS:
            raise PriceInvalid("unit", f"{self.unit} is counted in another unit and has no price")
        if self.per < 1 or self.context_threshold < 0 or self.quantity_threshold < 0:
            raise PriceInvalid("rates", f"{self.unit}: per is below 1, or a threshold below 0")
        if len(dict(self.attributes)) != len(self.attributes):
            raise PriceInvalid("attributes", f"{self.unit}: an attribute is named twice")
        top, bottom = exact_decimal(self.price, "price")
        divisor = math.gcd(top * NANO, bottom * self.per)
        object.__setattr__(self, "numerator", top * NANO // divisor)
        object.__setattr__(self, "denominator", bottom * self.per // divisor)

    @property
    def exact(self) -> Fraction:
        """Nano-units of the currency for one step."""
        return Fraction(self.numerator, self.denominator)


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


@dataclass(frozen=True, slots=True)
class Price:
    """All rates of a model in a service tier, from a time (inclusive) to a time (exclusive).

    Times are microseconds since 1970 in UTC; None is open. The version names the price for ever: a
    changed price is another Price. A tier without a Price of its own has no price, because a provider
    that offers a tier may bill it at any rate: where it bills the standard rate, the price list says so.
    """

    version: str
    provider: str
    model: str
    rates: tuple[Rate, ...]
    tier: str = STANDARD
    currency: str = USD
    effective_from: int | None = None
    effective_to: int | None = None
    same_as: tuple[tuple[str, str], ...] = ()
    # What the provider does where the caller names no size or quality.
    attribute_defaults: tuple[tuple[str, str], ...] = ()
    tables: tuple[RateTable, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.rates:
            raise PriceInvalid("rates", f"{self.version} has none")
        require_currency(self.currency, "currency")
        if None not in (self.effective_from, self.effective_to) and not self.covers(self.effective_from or 0):
            raise PriceInvalid("effective_to", f"{self.version} ends before it starts")
        if any(rate.quantity_threshold for rate in self.rates):
            raise PriceInvalid("quantity_threshold", "only rates of a burn table depend on the quantity")
        tables = compile_tables(self.rates, same_as=dict(self.same_as), defaults=self.attribute_defaults)
        object.__setattr__(self, "tables", tables)

    def covers(self, at: int) -> bool:
        """Tell whether the price is in force at a time."""
        return (self.effective_from is None or self.effective_from <= at) and (
            self.effective_to is None or at < self.effective_to
        )

    def overlaps(self, since: int, until: int) -> bool:
        """Tell whether the price is in force at some time from since (inclusive) to until (exclusive)."""
        return (self.effective_from is None or self.effective_from < until) and (
            self.effective_to is None or since < self.effective_to
        )


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
