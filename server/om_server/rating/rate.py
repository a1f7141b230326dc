"""Rating one event: cost = usage x price, charge = usage x burn table, each rounded once.

The two sums are exact (arithmetic.py) and are rounded when they are complete. Amounts in two currencies
are never added up, and a rule for one currency never reads a cost in another.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from om_server.core.event import UsageLine
from om_server.core.money import CREDITS, USD, Money
from om_server.core.value import value_type
from om_server.rating.arithmetic import (
    Component,
    ExactSum,
    Meter,
    Obstacle,
    UnratedReason,
    add_up,
    shares,
    table_of,
)
from om_server.rating.burn_table import ANSWER, CACHED, BurnRule, BurnTable
from om_server.rating.model import canonical_provider, canonical_tier
from om_server.rating.price import Price
from om_server.rating.price_book import PriceBook

# Made once: a fraction takes as long to make as a product.
_NO_FEE = Fraction(0)


@dataclass(frozen=True, slots=True)
class Unrated:
    """One thing in the way: a line by its position (None: the whole event), a unit where it is about one.

    `cost` and `charge` tell which of the two it keeps away.
    """

    reason: UnratedReason
    line: int | None
    unit: str = ""
    cost: bool = True
    charge: bool = True


@value_type(frozen=True, slots=True)
class RatedLine:
    """The arithmetic of one line. Price version and model are empty where no price was needed or known.

    Cost products x `credits_per_cost` (empty: not by cost) + credit products + `fee` in nano-credits is
    the line's exact charge.
    """

    provider: str
    model: str
    tier: str
    price_version: str
    context_threshold: int
    components: tuple[Component, ...]
    credits_per_cost: str
    fee: Fraction
    cost: Money | None
    charge: Money | None


@value_type(frozen=True, slots=True)
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


# This and the next are tuples, because one is made for each event and one for each line.
class _Rules(NamedTuple):
    """What decides about every line of the event."""

    book: PriceBook
    burn_table: BurnTable
    feature_id: str
    at: int
    # What was counted under a rule with free units or tiers, by the rule's identity.
    meters: dict[int, Meter]


class _Weighed(NamedTuple):
    """One line with its price, its rule and its exact sums."""

    line: UsageLine
    provider: str
    price: Price | None
    threshold: int
    cost: ExactSum
    rule: BurnRule
    charge: ExactSum


def rate(
    lines: Sequence[UsageLine], book: PriceBook, *, at: int, burn_table: BurnTable, feature_id: str = ""
) -> Rating:
    """Rate the lines of one event at a time (microseconds since 1970); never raises.

    No lines means that nothing was consumed and costs nothing.
    """
    rules = _Rules(book, burn_table, feature_id, at, {})
    weighed = [_weigh(line, rules) for line in lines]
    unrated = _in_the_way(weighed)
    currencies = {item.price.currency for item in weighed if item.price is not None} or {USD}
    currency = min(currencies)
    if len(currencies) > 1:
        unrated.append(Unrated(UnratedReason.CURRENCY_MISMATCH, None, charge=False))
    has_cost = len(currencies) == 1 and not any(item.cost.obstacles for item in weighed)
    has_charge = not any(item.charge.obstacles for item in weighed)
    costs = shares([item.cost for item in weighed], currency) if has_cost else None
    charged, fees = _with_fees(weighed) if has_charge else ([], {})
    charges = shares(charged, CREDITS) if has_charge else None
    beyond = (has_cost and costs is None, has_charge and charges is None)
    if any(beyond):
        unrated.append(Unrated(UnratedReason.AMOUNT_OUT_OF_RANGE, None, cost=beyond[0], charge=beyond[1]))
    return Rating(
        cost=_total(costs, currency),
        charge=_total(charges, CREDITS),
        lines=tuple(_rated_lines(weighed, costs=costs, charges=charges, fees=fees)),
        burn_table_version=burn_table.version,
        unrated=tuple(unrated),
    )


def _weigh(line: UsageLine, rules: _Rules) -> _Weighed:
    provider = canonical_provider(line.provider)
    model = rules.book.served_model(provider, line.model, requested_model=line.requested_model)
    price = rules.book.price_of(model, at=rules.at, tier=line.tier) if model is not None else None
    table = table_of(price.tables, line) if price is not None else None
    currency = price.currency if price is not None else USD
    cost = add_up(line, table, currency=currency)
    rule = rules.burn_table.rule_for(
        feature_id=rules.feature_id,
        provider=provider,
        # The name that was asked for and its catalogue name, as the rate card reads them: an edge that
        # bounds the call beforehand knows neither the served name nor whether the tier has a price.
        models=(line.requested_model or line.model, model.name if model is not None else ""),
    )
    return _Weighed(
        line=line,
        provider=provider,
        price=price,
        threshold=table.threshold if table is not None else 0,
        cost=cost,
        rule=rule,
        charge=_charge(
            line,
            rule,
            cost=cost,
            currency=currency,
            meter=rules.meters.setdefault(id(rule), Meter(rule.free_units)) if rule.metered else None,
        ),
    )


def _charge(
    line: UsageLine, rule: BurnRule, *, cost: ExactSum, currency: str, meter: Meter | None
) -> ExactSum:
    if rule.markup is None:
        # A flat fee alone asks no rate of any unit, but unknown or missing usage stays unrated.
        table = table_of(rule.tables, line) if rule.tables else None
        return add_up(line, table, currency=CREDITS, complete=table is not None, meter=meter)
    if cost.obstacles:
        return ExactSum(obstacles=cost.obstacles)
    if cost.numerator and currency != rule.cost_currency:
        return ExactSum(obstacles=(Obstacle(UnratedReason.CURRENCY_MISMATCH),))
    top, bottom = rule.markup
    by_cost = ExactSum(cost.numerator * top, cost.denominator * bottom)
    if not rule.tables:
        return by_cost
    by_unit = add_up(line, table_of(rule.tables, line), currency=CREDITS, complete=False, meter=meter)
    denominator = by_cost.denominator * by_unit.denominator
    return ExactSum(by_cost.over(denominator) + by_unit.over(denominator), denominator, by_unit.components)


def _in_the_way(weighed: list[_Weighed]) -> list[Unrated]:
    """List what keeps a line from its sums, in order of lines, each once."""
    found: dict[tuple[int, Obstacle], tuple[bool, bool]] = {}
    for position, item in enumerate(weighed):
        for obstacle in item.cost.obstacles:
            found[position, obstacle] = (True, False)
        for obstacle in item.charge.obstacles:
            found[position, obstacle] = (found.get((position, obstacle), (False, False))[0], True)
    return [
        Unrated(obstacle.reason, position, obstacle.unit, cost=cost, charge=charge)
        for (position, obstacle), (cost, charge) in found.items()
    ]


def _with_fees(weighed: list[_Weighed]) -> tuple[list[ExactSum], dict[int, Fraction]]:
    """Add each rule's flat fee, and what is missing to its minimum, to the first line that it decides.

    Return the sums, and what was added by the line's position.
    """
    sums = [item.charge for item in weighed]
    fees: dict[int, Fraction] = {}
    decided: dict[int, list[int]] = {}
    for position, item in enumerate(weighed):
        # A line that consumed nothing is charged nothing, but for an answer that came from a store.
        if item.rule.has_fees and (_cached(item) or any(part.amount for part in item.line.usage.quantities)):
            decided.setdefault(id(item.rule), []).append(position)
    for positions in decided.values():
        rule = weighed[positions[0]].rule
        denominator = math.lcm(*(sums[position].denominator for position in positions))
        total = sum(sums[position].over(denominator) for position in positions)
        if rule.cached_answer_nanos is not None and all(_cached(weighed[position]) for position in positions):
            fee = rule.cached_answer_nanos * denominator
        else:
            fee = rule.flat_nanos * denominator
            fee += max(0, rule.minimum_nanos * denominator - total - fee)
        first = sums[positions[0]]
        sums[positions[0]] = ExactSum(first.over(denominator) + fee, denominator, first.components)
        fees[positions[0]] = Fraction(fee, denominator)
    return sums, fees


def _cached(item: _Weighed) -> bool:
    return item.rule.cached_answer_nanos is not None and item.line.attributes.get(ANSWER) == CACHED


def _total(parts: tuple[Money, ...] | None, currency: str) -> Money | None:
    if parts is None:
        return None
    if len(parts) == 1:
        return parts[0]
    return Money(currency, sum(part.nanos for part in parts))


def _rated_lines(
    weighed: list[_Weighed],
    *,
    costs: tuple[Money, ...] | None,
    charges: tuple[Money, ...] | None,
    fees: dict[int, Fraction],
) -> Iterator[RatedLine]:
    for position, item in enumerate(weighed):
        yield RatedLine(
            provider=item.provider,
            model=item.price.model if item.price is not None else "",
            tier=canonical_tier(item.provider, item.line.tier),
            price_version=item.price.version if item.price is not None else "",
            context_threshold=item.threshold,
            components=item.cost.components + item.charge.components,
            credits_per_cost=item.rule.credits_per_cost,
            fee=fees.get(position, _NO_FEE),
            cost=costs[position] if costs is not None else None,
            charge=charges[position] if charges is not None else None,
        )
