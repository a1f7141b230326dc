"""The dearest rates of a model while a rate card lives. The edge multiplies; it never prices.

A card's rates are never below what any version of price and burn table that holds meanwhile will charge, so
neither is what is computed here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from om_proxy.call.bound import Bound, ModelLimits
from om_proxy.metering.reading import Line
from om_proxy.metering.usage import Unit

_STEPS_PER_RATE = 1_000_000
#: Part of another unit, and never charged beside it.
_INFORMATION = Unit.REASONING_TOKENS


@dataclass(frozen=True, slots=True)
class ModelRates:
    """One model on the card."""

    priced: bool
    #: Nano-credits for a million steps of each unit that has a price.
    per_million: Mapping[str, int]
    request_nanos: int
    #: The least that one event is charged.
    minimum_nanos: int
    limits: ModelLimits

    def bound_nanos(self, bound: Bound) -> int | None:
        """The most that a call can cost; None where a unit has no price, which is not free."""
        if not self.priced:
            return None
        nanos = bound.nanos(self.per_million)
        return None if nanos is None else max(nanos + self.request_nanos, self.minimum_nanos)

    def line_nanos(self, line: Line) -> int | None:
        """What a line will be charged at most, rounded up; None where that is not known."""
        if not self.priced:
            return None
        total = 0
        for quantity in line.usage.quantities:
            if quantity.unit is _INFORMATION:
                continue
            rate = self.per_million.get(quantity.unit)
            if rate is None or quantity.amount is None:
                return None
            total += quantity.amount * rate
        return max(-(-total // _STEPS_PER_RATE) + self.request_nanos, self.minimum_nanos)
