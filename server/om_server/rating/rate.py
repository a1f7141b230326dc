"""Rating one event: cost = usage x price, charge = usage x burn table, each rounded once.

Everything is summed exactly, as integers over one denominator; the two sums are rounded half to even
when they are complete. A line's share is what the running total gained in rounding by that line, so
that the shares add up to the event to the nano.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from itertools import pairwise

from om_server.core.event import UsageLine
from om_server.core.money import AMOUNT_MAX, CREDITS, USD, Money, round_half_even
from om_server.core.usage import INFORMATIONAL_UNITS
from om_server.rating.burn_table import BurnRule, BurnTable
from om_server.rating.model import canonical_provider, canonical_tier
from om_server.rating.price import Price, Rate, RateTable, pick_table
from om_server.rating.price_book import PriceBook


class UnratedReason(StrEnum):
    """Why an event has no cost or no charge."""

    PRICE_UNKNOWN = "PRICE_UNKNOWN"  # The model has no price in this tier at this time.
    UNIT_UNPRICED = "UNIT_UNPRICED"  # The price, or the rule, has no rate for a unit that was consumed.
    QUANTITY_UNKNOWN = "QUANTITY_UNKNOWN"  # It was consumed, and nobody knows how much.
    USAGE_MISSING = "USAGE_MISSING"  # The line reports no quantity at all, which is not zero.
    CURRENCY_MISMATCH = "CURRENCY_MISMATCH"  # Lines in several currencies, or a rule for another one.
    AMOUNT_OUT_OF_RANGE = "AMOUNT_OUT_OF_RANGE"  # More than 2^62 nanos: no ledger could hold it.


@dataclass(frozen=True, slots=True)
class Unrated:
    """One obstacle: a line by its position, and the unit where it is about one."""

    reason: UnratedReason
    line: int
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Component:
    """One product of a sum."""

    unit: str
    amount: int
    rate: Rate
    currency: str

    @property
    def exact(self) -> Fraction:
        """The product in nano-units, before any rounding."""
        return Fraction(self.amount * self.rate.numerator, self.rate.denominator)


@dataclass(frozen=True, slots=True)
class RatedLine:
    """The arithmetic of one line. Price version and model are empty where no price was needed or known."""

    provider: str
    model: str
    tier: str
    price_version: str
    context_threshold: int
    components: tuple[Component, ...]
    cost: Money | None
    charge: Money | None


@dataclass(frozen=True, slots=True)
class Rating:
    """What an event costs and is charged. None is unrated, never zero, and `unrated` says why.

    The two are independent: a rule by unit can charge what has no price.
    """

    cost: Money | None
    charge: Money | None
    lines: tuple[RatedLine, ...]
    burn_table_version: str
    unrated: tuple[Unrated, ...]

    @property
    def price_versions(self) -> tuple[str, ...]:
        """The versions of the prices that were used, each once, in order of first use."""
        return tuple(dict.fromkeys(line.price_version for line in self.lines if line.price_version))


@dataclass(frozen=True, slots=True)
class _Obstacle:
    reason: UnratedReason
    unit: str = ""


@dataclass(frozen=True, slots=True)
class _Sum:
    """An exact amount in nano-units, or the reason why there is none."""

    numerator: int = 0
    denominator: int = 1
    components: tuple[Component, ...] = ()
    obstacle: _Obstacle | None = None

    def over(self, denominator: int) -> int:
        """Return the numerator over a multiple of the denominator."""
        return self.numerator * (denominator // self.denominator)


@dataclass(frozen=True, slots=True)
class _Rules:
    """What decides about every line of the event."""

    book: PriceBook
    burn_table: BurnTable
    feature_id: str
    at: int


@dataclass(frozen=True, slots=True)
class _Weighed:
    """One line with its price, its rule and its exact sums."""

    line: UsageLine
    provider: str
    price: Price | None
    threshold: int
    cost: _Sum
    rule: BurnRule
    charge: _Sum


def rate(
    lines: Sequence[UsageLine], book: PriceBook, *, at: int, burn_table: BurnTable, feature_id: str = ""
) -> Rating:
    """Rate the lines of one event at a time (microseconds since 1970); never raises.

    No lines means that nothing was consumed and costs nothing.
    """
    rules = _Rules(book, burn_table, feature_id, at)
    weighed = [_weigh(line, rules) for line in lines]
    unrated = _obstacles(weighed)
    currencies = {item.price.currency for item in weighed if item.price is not None} or {USD}
    costs: tuple[Money, ...] | None = None
    charges: tuple[Money, ...] | None = None
    if len(currencies) > 1:
        unrated = (*unrated, Unrated(UnratedReason.CURRENCY_MISMATCH, 0))
    elif all(item.cost.obstacle is None for item in weighed):
        costs = _shares([item.cost for item in weighed], min(currencies))
    if all(item.charge.obstacle is None for item in weighed):
        charges = _shares(_with_fees(weighed), CREDITS)
    if (costs is None or charges is None) and not unrated:
        unrated = (Unrated(UnratedReason.AMOUNT_OUT_OF_RANGE, 0),)
    return Rating(
        cost=_total(costs, min(currencies)),
        charge=_total(charges, CREDITS),
        lines=tuple(_rated_lines(weighed, costs=costs, charges=charges)),
        burn_table_version=burn_table.version,
        unrated=unrated,
    )


def _weigh(line: UsageLine, rules: _Rules) -> _Weighed:
    provider = canonical_provider(line.provider)
    price = rules.book.effective(
        provider, line.model, at=rules.at, tier=line.tier, requested_model=line.requested_model
    )
    table = _table(price.tables, line) if price is not None else None
    currency = price.currency if price is not None else USD
    cost = _add_up(line, table, currency=currency)
    rule = rules.burn_table.rule_for(
        feature_id=rules.feature_id,
        provider=provider,
        # Not the served name: an edge that bounds the call beforehand cannot know it.
        models=(line.requested_model or line.model, price.model if price is not None else ""),
    )
    return _Weighed(
        line=line,
        provider=provider,
        price=price,
        threshold=table.threshold if table is not None else 0,
        cost=cost,
        rule=rule,
        charge=_charge(line, rule, cost=cost, currency=currency),
    )


def _table(tables: tuple[RateTable, ...], line: UsageLine) -> RateTable:
    if len(tables) == 1:
        return tables[0]
    # An unknown prompt size leaves the line unrated anyhow, by its unknown quantity.
    return pick_table(tables, line.usage.prompt_size or 0)


def _add_up(line: UsageLine, table: RateTable | None, *, currency: str, complete: bool = True) -> _Sum:
    """Sum usage x rate. Where the sum need not be complete, units without a rate are left out."""
    numerator = 0
    chargeable = False
    components: list[Component] = []
    for quantity in line.usage.quantities:
        unit, amount = quantity.unit, quantity.amount
        if unit in INFORMATIONAL_UNITS:
            continue
        chargeable = True
        if amount is None:
            return _Sum(obstacle=_Obstacle(UnratedReason.QUANTITY_UNKNOWN, unit))
        if amount == 0:
            continue
        found = table.find(unit, line.attributes) if table is not None else None
        if found is not None:
            numerator += amount * found[0]
            components.append(Component(unit, amount, found[1], currency))
        elif complete and table is None:
            return _Sum(obstacle=_Obstacle(UnratedReason.PRICE_UNKNOWN))
        elif complete:
            return _Sum(obstacle=_Obstacle(UnratedReason.UNIT_UNPRICED, unit))
    if not chargeable:
        return _Sum(obstacle=_Obstacle(UnratedReason.USAGE_MISSING))
    return _Sum(numerator, table.denominator if table is not None else 1, tuple(components))


def _charge(line: UsageLine, rule: BurnRule, *, cost: _Sum, currency: str) -> _Sum:
    if rule.markup is None:
        # A flat fee alone asks no rate of any unit, but unknown or missing usage stays unrated.
        table = _table(rule.tables, line) if rule.tables else None
        return _add_up(line, table, currency=CREDITS, complete=table is not None)
    if cost.obstacle is not None:
        return cost
    if cost.numerator and currency != rule.cost_currency:
        return _Sum(obstacle=_Obstacle(UnratedReason.CURRENCY_MISMATCH))
    top, bottom = rule.markup
    by_cost = _Sum(cost.numerator * top, cost.denominator * bottom)
    if not rule.tables:
        return by_cost
    by_unit = _add_up(line, _table(rule.tables, line), currency=CREDITS, complete=False)
    denominator = by_cost.denominator * by_unit.denominator
    return _Sum(by_cost.over(denominator) + by_unit.over(denominator), denominator, by_unit.components)


def _obstacles(weighed: list[_Weighed]) -> tuple[Unrated, ...]:
    found = [
        Unrated(part.obstacle.reason, position, part.obstacle.unit)
        for position, item in enumerate(weighed)
        for part in (item.cost, item.charge)
        if part.obstacle is not None
    ]
    return tuple(dict.fromkeys(found))


def _with_fees(weighed: list[_Weighed]) -> list[_Sum]:
    """Add each rule's flat fee, and what is missing to its minimum, to the first line that it decides."""
    sums = [item.charge for item in weighed]
    decided: dict[int, list[int]] = {}
    for position, item in enumerate(weighed):
        # A line that consumed nothing is charged nothing.
        consumed = any(quantity.amount for quantity in item.line.usage.quantities)
        if consumed and (item.rule.flat_nanos or item.rule.minimum_nanos):
            decided.setdefault(id(item.rule), []).append(position)
    for positions in decided.values():
        rule = weighed[positions[0]].rule
        denominator = math.lcm(*(sums[position].denominator for position in positions))
        total = sum(sums[position].over(denominator) for position in positions)
        fee = rule.flat_nanos * denominator
        fee += max(0, rule.minimum_nanos * denominator - total - fee)
        first = sums[positions[0]]
        sums[positions[0]] = _Sum(first.over(denominator) + fee, denominator, first.components)
    return sums


def _shares(sums: Sequence[_Sum], currency: str) -> tuple[Money, ...] | None:
    """Return each line's share of the rounded total: what the running total gains in rounding by it."""
    denominator = math.lcm(*(part.denominator for part in sums))
    running = 0
    totals = [0]
    for part in sums:
        running += part.over(denominator)
        totals.append(round_half_even(running, denominator))
    if totals[-1] > AMOUNT_MAX:
        return None
    return tuple(Money(currency, after - before) for before, after in pairwise(totals))


def _total(shares: Iterable[Money] | None, currency: str) -> Money | None:
    if shares is None:
        return None
    return Money(currency, sum(share.nanos for share in shares))


def _rated_lines(
    weighed: list[_Weighed], *, costs: tuple[Money, ...] | None, charges: tuple[Money, ...] | None
) -> Iterator[RatedLine]:
    for position, item in enumerate(weighed):
        yield RatedLine(
            provider=item.provider,
            model=item.price.model if item.price is not None else "",
            tier=canonical_tier(item.provider, item.line.tier),
            price_version=item.price.version if item.price is not None else "",
            context_threshold=item.threshold,
            components=item.cost.components + item.charge.components,
            cost=costs[position] if costs is not None else None,
            charge=charges[position] if charges is not None else None,
        )
