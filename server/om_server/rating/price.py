"""Prices: the exact dated rates of one model in one service tier."""

import re
from dataclasses import dataclass, field

from om_server.core.money import USD
from om_server.rating.rate_table import RateTable, compile_tables
from om_server.rating.unit_rate import PriceInvalid, Rate

STANDARD = "standard"

# Credits are what is charged, never what a provider costs.
_CURRENCY = re.compile(r"[A-Z]{3}")


def require_currency(code: str, field_name: str) -> None:
    """Refuse what is no currency of a provider's cost: three capital letters, so never credits."""
    if _CURRENCY.fullmatch(code) is None:
        raise PriceInvalid(field_name, f"{code!r} is not a currency of three capital letters")


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
