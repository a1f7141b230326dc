"""The exact arithmetic of one line: usage x rates as integers over one denominator, or what is in the way.

Nothing here rounds but `shares`, which rounds the sum of an event once, half to even. A line's share is
what the running total gained in rounding by that line, so that the shares add up to the event to the nano.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

from om_server.core.event import UsageLine
from om_server.core.money import AMOUNT_MAX, Money, round_half_even
from om_server.core.usage import INFORMATIONAL_UNITS
from om_server.rating.rate_table import RateTable, pick_table
from om_server.rating.unit_rate import Rate


class UnratedReason(StrEnum):
    """Why there is no cost or no charge; the names are the contract's, which explains each."""

    PRICE_UNKNOWN = "PRICE_UNKNOWN"
    UNIT_UNPRICED = "UNIT_UNPRICED"
    QUANTITY_UNKNOWN = "QUANTITY_UNKNOWN"
    USAGE_MISSING = "USAGE_MISSING"
    CURRENCY_MISMATCH = "CURRENCY_MISMATCH"
    AMOUNT_OUT_OF_RANGE = "AMOUNT_OUT_OF_RANGE"


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why one line has no sum, and at which unit where it is about one."""

    reason: UnratedReason
    unit: str = ""


# This and the sum are tuples, because settling makes several for each event, in half the time.
class Component(NamedTuple):
    """One product of a sum. The rate's unit differs where the unit has no rate of its own.

    `free` was consumed beside the amount and is not charged.
    """

    unit: str
    amount: int
    rate: Rate
    currency: str
    free: int = 0

    @property
    def exact(self) -> Fraction:
        """The product in nano-units, before any rounding."""
        return Fraction(self.amount * self.rate.numerator, self.rate.denominator)


class ExactSum(NamedTuple):
    """An exact amount in nano-units. With an obstacle it is no amount, whatever its components are."""

    numerator: int = 0
    denominator: int = 1
    components: tuple[Component, ...] = ()
    obstacles: tuple[Obstacle, ...] = ()

    def over(self, denominator: int) -> int:
        """Return the numerator over a multiple of the denominator."""
        return self.numerator * (denominator // self.denominator)


class Meter:
    """What the lines of one event have had of each unit under one rule: the first steps may be free."""

    def __init__(self, free: Sequence[tuple[str, int]]) -> None:
        self._free = dict(free)
        self._counted: dict[str, int] = {}

    def count(self, unit: str, amount: int) -> tuple[int, int]:
        """Add steps; return how many came before them, and how many of them, the first, are free."""
        before = self._counted.get(unit, 0)
        self._counted[unit] = before + amount
        return before, max(0, min(self._free.get(unit, 0) - before, amount))


def table_of(tables: tuple[RateTable, ...], line: UsageLine) -> RateTable:
    """Return the rates for the size of the line's prompt."""
    if len(tables) == 1:
        return tables[0]
    # An unknown prompt size leaves the line unrated anyhow, by its unknown quantity.
    return pick_table(tables, line.usage.prompt_size or 0)


def add_up(
    line: UsageLine,
    table: RateTable | None,
    *,
    currency: str,
    complete: bool = True,
    meter: Meter | None = None,
) -> ExactSum:
    """Sum usage x rate. Where the sum need not be complete, units without a rate are left out.

    The meter says what of each unit is free or was counted before; it is moved on by this line.
    """
    numerator = 0
    chargeable = False
    components: list[Component] = []
    obstacles: list[Obstacle] = []
    for quantity in line.usage.quantities:
        unit, amount = quantity.unit, quantity.amount
        if unit in INFORMATIONAL_UNITS:
            continue
        chargeable = True
        if amount is None:
            obstacles.append(Obstacle(UnratedReason.QUANTITY_UNKNOWN, unit))
            continue
        if amount == 0:
            continue
        found = table.find(unit, line.attributes) if table is not None else None
        if table is None or found is None:
            if complete:
                obstacles.append(_no_rate(table, unit))
        elif meter is None:
            numerator += amount * found[0]
            components.append(Component(unit, amount, found[1], currency))
        else:
            before, free = meter.count(unit, amount)
            parts = table.tiered(unit, found, start=before + free, amount=amount - free)
            # What is free and nothing else is shown too, at the first rate.
            for part, top, rate in tuple(parts) or ((0, *found),):
                numerator += part * top
                components.append(Component(unit, part, rate, currency, free))
                free = 0
    if not chargeable:
        obstacles.append(Obstacle(UnratedReason.USAGE_MISSING))
    return ExactSum(
        numerator, table.denominator if table is not None else 1, tuple(components), tuple(obstacles)
    )


def _no_rate(table: RateTable | None, unit: str) -> Obstacle:
    if table is None:
        return Obstacle(UnratedReason.PRICE_UNKNOWN)
    return Obstacle(UnratedReason.UNIT_UNPRICED, unit)


def shares(sums: Sequence[ExactSum], currency: str) -> tuple[Money, ...] | None:
    """Return each line's share of the total, which is rounded once; None if it is beyond any ledger.

    All sums are of this currency: the caller has seen to it.
    """
    if len(sums) == 1:
        # Nearly every event has one line.
        total = round_half_even(sums[0].numerator, sums[0].denominator)
        return None if total > AMOUNT_MAX else (Money(currency, total),)
    denominator = math.lcm(*(part.denominator for part in sums))
    running = 0
    totals = [0]
    for part in sums:
        running += part.over(denominator)
        totals.append(round_half_even(running, denominator))
    if totals[-1] > AMOUNT_MAX:
        return None
    return tuple(Money(currency, after - before) for before, after in pairwise(totals))
