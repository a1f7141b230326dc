"""Burn tables: an organization's dated, versioned rules from usage to credits.

The first rule that matches a line decides it. After the last rule of every table stands the default:
1,000 credits for each dollar of cost, which works on the cost before it is rounded.
"""

import re
from dataclasses import dataclass, field

from om_server.core.money import AMOUNT_MAX, USD
from om_server.core.usage import QUANTITY_MAX
from om_server.rating.model import canonical_provider
from om_server.rating.price import require_currency
from om_server.rating.rate_table import RateTable, compile_tables
from om_server.rating.unit_rate import PriceInvalid, Rate, exact_decimal

DEFAULT_VERSION = "default"
DEFAULT_CREDITS_PER_COST = "1000"

#: The attribute by which a line says that its answer came from a store and no provider was called.
ANSWER, CACHED = "answer", "cached"


@dataclass(frozen=True, slots=True)
class BurnRule:
    """How a line becomes credits: cost x markup + usage x rates + a flat fee, and at least the minimum.

    Empty selectors match anything. In the model pattern, * stands for any run of characters. With rates
    and no markup, every unit that was consumed needs a rate; with a markup, rates are extra.

    Of each unit in `free_units`, so many steps of each event are not charged at the rule's rates; they are
    its first, and count where a rate begins above a quantity. Where only cached answers met the rule,
    `cached_answer_nanos` takes the place of fee and minimum.
    """

    feature_id: str = ""
    provider: str = ""
    model_pattern: str = ""
    credits_per_cost: str = ""
    cost_currency: str = USD
    rates: tuple[Rate, ...] = ()
    # Once for each event that the rule decides, in nano-credits.
    flat_nanos: int = 0
    minimum_nanos: int = 0
    free_units: tuple[tuple[str, int], ...] = ()
    # None: a cached answer has the same fee as any other.
    cached_answer_nanos: int | None = None
    # Numerator and denominator; None where the charge does not depend on the cost.
    markup: tuple[int, int] | None = field(init=False, repr=False, compare=False)
    tables: tuple[RateTable, ...] = field(init=False, repr=False, compare=False)
    pattern: re.Pattern[str] | None = field(init=False, repr=False, compare=False)
    has_fees: bool = field(init=False, repr=False, compare=False)
    # Whether what other lines of the event had of a unit matters.
    metered: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not (self.credits_per_cost or self.rates or self.flat_nanos):
            # A free model is said with a markup of 0; nothing at all is a mistake.
            raise PriceInvalid("rules", "a rule charges by cost, by unit or by event")
        fees = (self.flat_nanos, self.minimum_nanos, self.cached_answer_nanos or 0)
        if not all(0 <= fee <= AMOUNT_MAX for fee in fees):
            raise PriceInvalid("rules", "a fee or minimum is negative or above 2^62")
        require_currency(self.cost_currency, "cost_currency")
        markup = exact_decimal(self.credits_per_cost, "credits_per_cost") if self.credits_per_cost else None
        object.__setattr__(self, "markup", markup)
        tables = compile_tables(self.rates, same_as={}) if self.rates else ()
        _require_free(self.free_units, tables)
        object.__setattr__(self, "tables", tables)
        object.__setattr__(self, "pattern", _pattern(self.model_pattern) if self.model_pattern else None)
        metered = bool(self.free_units) or any(table.tiers for table in tables)
        object.__setattr__(self, "metered", metered)
        object.__setattr__(self, "has_fees", any(fees) or self.cached_answer_nanos is not None)

    @property
    def selectors(self) -> tuple[str, str, str]:
        """Which lines the rule decides, spelled in one way: feature, provider, model pattern."""
        return self.feature_id, canonical_provider(self.provider), self.model_pattern.lower()

    def matches(self, *, feature_id: str, provider: str, models: tuple[str, ...]) -> bool:
        """Tell whether the rule decides a line; `models` are all names of the line's model."""
        return (
            (not self.feature_id or self.feature_id == feature_id)
            and (not self.provider or canonical_provider(self.provider) == provider)
            and (self.pattern is None or any(self.pattern.fullmatch(model.lower()) for model in models))
        )


@dataclass(frozen=True, slots=True)
class BurnTable:
    """One version of an organization's rules, in order of precedence. Never changes."""

    version: str
    rules: tuple[BurnRule, ...]

    def rule_for(self, *, feature_id: str, provider: str, models: tuple[str, ...]) -> BurnRule:
        """Return the rule that decides a line of a canonical provider; there always is one."""
        return next(
            rule
            for rule in self.rules
            if rule.matches(feature_id=feature_id, provider=provider, models=models)
        )


def burn_table(version: str, rules: tuple[BurnRule, ...] = ()) -> BurnTable:
    """Return a table of these rules with the default rule behind them."""
    return BurnTable(version, (*rules, BurnRule(credits_per_cost=DEFAULT_CREDITS_PER_COST)))


def default_burn_table() -> BurnTable:
    """Return the table of an organization that has made none."""
    return burn_table(DEFAULT_VERSION)


def _require_free(free_units: tuple[tuple[str, int], ...], tables: tuple[RateTable, ...]) -> None:
    rated = {unit for table in tables for unit, _ in table.all_rates()}
    if len(dict(free_units)) != len(free_units):
        raise PriceInvalid("free_units", "a unit is named twice")
    for unit, amount in free_units:
        if unit not in rated:
            raise PriceInvalid("free_units", f"{unit} has no rate in this rule that it could be free of")
        if not 0 < amount <= QUANTITY_MAX:
            raise PriceInvalid("free_units", f"{unit}: not a positive number of at most 2^53 steps")


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in text.lower().split("*")))
