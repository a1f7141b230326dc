"""What an event costs and is charged, worked out in fractions from the documents alone.

Nothing of the server is imported: it could be wrong in the same way. Slow and plain on purpose.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

NANO = 10**9
DEFAULT_CREDITS_PER_DOLLAR = "1000"

# docs/events.md: what belongs to the prompt, whose size chooses the context tier.
PROMPT = {
    "input_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "audio_input_tokens",
    "image_input_tokens",
}
# What is charged as another class where it has no rate of its own.
INSTEAD = {"cache_read_tokens": "input_tokens"}
# What providers call their service tiers.
TIERS = {"": "standard", "default": "standard", "batch": "batch", "flex": "flex", "priority": "priority"}


@dataclass(frozen=True)
class Listed:
    """A rate: `price` for `per` steps above a size of the prompt, for lines with these attributes."""

    unit: str
    price: str
    per: int
    above: int = 0
    when: tuple[tuple[str, str], ...] = ()

    @property
    def step(self) -> Fraction:
        """Nano-units for one step."""
        return Fraction(self.price) * NANO / self.per


Rates = tuple[Listed, ...]


@dataclass(frozen=True)
class Rule:
    """A rule of a burn table. No markup is None; no price of a cached answer is None."""

    feature: str
    provider: str
    pattern: str
    markup: str | None
    rates: Rates
    flat: int
    minimum: int
    free: tuple[tuple[str, int], ...]
    cached: int | None

    def decides(self, feature: str, provider: str, model: str) -> bool:
        return (
            self.feature in ("", feature)
            and self.provider in ("", provider)
            and fnmatch.fnmatchcase(model, self.pattern or "*")
        )


DEFAULT = Rule("", "", "", DEFAULT_CREDITS_PER_DOLLAR, (), 0, 0, (), None)


@dataclass(frozen=True)
class Line:
    """What was consumed at one model; an amount of None is not known."""

    provider: str
    model: str
    tier: str
    usage: tuple[tuple[str, int | None], ...]
    when: tuple[tuple[str, str], ...] = ()
    cached: bool = False

    @property
    def prompt(self) -> int:
        return sum(amount or 0 for unit, amount in self.usage if unit in PROMPT)

    @property
    def counts(self) -> bool:
        """Whether a fee is due for it: something was consumed, or a stored answer was given."""
        return any(amount for _, amount in self.usage)


@dataclass(frozen=True)
class World:
    """A tariff: prices of two periods, and the tables of the organization and of customers."""

    # By provider, model and service tier: before the change, and from then on.
    prices: Mapping[tuple[str, str, str], tuple[Rates, Rates]]
    defaults: tuple[tuple[str, str], ...]
    change: int
    # By customer ("": the organization): from when which rules apply, in order of time.
    tables: Mapping[str, tuple[tuple[int, tuple[Rule, ...]], ...]]

    def rules(self, customer: str, at: int) -> tuple[Rule, ...]:
        for owner in (customer, "") if customer else ("",):
            begun = [rules for begin, rules in self.tables.get(owner, ()) if begin <= at]
            if begun:
                return (*begun[-1], DEFAULT)
        return (DEFAULT,)

    def price(self, line: Line, at: int) -> Rates:
        both = self.prices.get((line.provider, line.model, TIERS[line.tier]), ((), ()))
        return both[0] if at < self.change else both[1]

    def cost(self, lines: tuple[Line, ...], at: int) -> Fraction | None:
        """Dollars, in nanos; None where a price is missing or an amount unknown."""
        parts = [self._line_cost(line, at) for line in lines]
        known = [part for part in parts if part is not None]
        return sum(known, Fraction(0)) if len(known) == len(parts) else None

    def charge(self, lines: tuple[Line, ...], at: int, *, feature: str, customer: str) -> Fraction | None:
        """Credits, in nanos; None where a rate is missing or an amount unknown."""
        table = self.rules(customer, at)
        total = Fraction(0)
        deciding = [
            next(
                number
                for number, rule in enumerate(table)
                if rule.decides(feature, line.provider, line.model)
            )
            for line in lines
        ]
        for number in set(deciding):
            met = tuple(line for line, by in zip(lines, deciding, strict=True) if by == number)
            part = self._rule_charge(table[number], met, at)
            if part is None:
                return None
            total += part
        return total

    def _line_cost(self, line: Line, at: int) -> Fraction | None:
        total = Fraction(0)
        for unit, amount in line.usage:
            step = _step(self.price(line, at), unit, line, self.defaults)
            if amount is None or (amount and step is None):
                return None
            total += amount * step if step is not None else 0
        return total

    def _rule_charge(self, rule: Rule, lines: tuple[Line, ...], at: int) -> Fraction | None:
        free = dict(rule.free)
        total = Fraction(0)
        for line in lines:
            by_unit = _by_unit(rule, line, free)
            cost = self._line_cost(line, at) if rule.markup is not None else Fraction(0)
            if by_unit is None or cost is None:
                return None
            total += cost * Fraction(rule.markup or 0) + by_unit
        stored = [line for line in lines if line.cached and rule.cached is not None]
        due = [line for line in lines if line.counts or line in stored]
        if not due:
            return total
        if rule.cached is not None and len(stored) == len(due):
            return total + rule.cached
        return max(total + rule.flat, Fraction(rule.minimum))


def _by_unit(rule: Rule, line: Line, free: dict[str, int]) -> Fraction | None:
    total = Fraction(0)
    for unit, amount in line.usage:
        if amount is None:
            return None
        step = _step(rule.rates, unit, line, ())
        if step is not None:
            given = min(free.get(unit, 0), amount)
            free[unit] = free.get(unit, 0) - given
            total += (amount - given) * step
        elif amount and rule.rates and rule.markup is None:
            return None
    return total


def _step(rates: Rates, unit: str, line: Line, defaults: tuple[tuple[str, str], ...]) -> Fraction | None:
    named = {rate.unit for rate in rates}
    unit = unit if unit in named else INSTEAD.get(unit, unit)
    attributes = {**dict(defaults), **dict(line.when)}
    fitting = [
        rate
        for rate in rates
        if rate.unit == unit
        and (rate.above == 0 or line.prompt > rate.above)
        and all(attributes.get(name) == value for name, value in rate.when)
    ]
    return max(fitting, key=lambda rate: rate.above).step if fitting else None
