"""What is earned on usage: revenue is the charge at 1,000 credits a dollar, margin is revenue less cost.

A nano-credit is a thousandth of a nano-dollar, so sums are kept in units of 10^-12 dollars.
"""

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

from om_server.rest.documented.figure import percentage

_CREDITS_PER_DOLLAR = 1000
_DIGITS = 12


@dataclass(frozen=True, slots=True)
class Margin:
    """Sums of charge (nano-credits) and cost (nano-dollars) of the same usage."""

    charge: int
    cost: int

    @property
    def revenue(self) -> Decimal:
        """Dollars, exact."""
        return _dollars(self.charge)

    @property
    def cost_amount(self) -> Decimal:
        """What it cost in dollars, exact."""
        return _dollars(self.cost * _CREDITS_PER_DOLLAR)

    @property
    def amount(self) -> Decimal:
        """Dollars, exact; negative where usage was sold below its cost."""
        return _dollars(self._amount)

    @property
    def percent(self) -> Decimal:
        """The share of the revenue, with two decimals; 0 without revenue. The one denominator everywhere."""
        return percentage(self._amount, self.charge)

    @property
    def _amount(self) -> int:
        return self.charge - self.cost * _CREDITS_PER_DOLLAR


def fixed(dollars: Decimal, places: int) -> str:
    """Dollars with exactly so many decimals, ties away from zero."""
    return format(dollars.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP), "f")


def _dollars(amount: int) -> Decimal:
    value = Decimal(amount).scaleb(-_DIGITS)
    return value.to_integral_value() if value == value.to_integral_value() else value.normalize()
