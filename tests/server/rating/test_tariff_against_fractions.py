"""Whole tariffs against the oracle of fractions: every feature of rating, in any mixture."""

import math
import random
from collections import Counter
from fractions import Fraction

import pytest

from om_server.core.event import UsageLine
from om_server.core.money import CREDITS, USD, Money
from om_server.core.usage import Certainty, Quantity, Usage
from om_server.rating.burn_table import ANSWER, CACHED, BurnRule, burn_table
from om_server.rating.price import Price
from om_server.rating.price_book import PriceBook
from om_server.rating.rate import rate
from om_server.rating.rate_card import CardSpan, ModelRates, model_rates
from om_server.rating.tariff import Activation, Tariff, Timeline
from om_server.rating.unit_rate import Rate
from tests.server.rating import random_worlds
from tests.server.rating.oracle import Line, Listed, Rule, World

EVENTS_PER_WORLD = 100


def _rate(listed: Listed) -> Rate:
    return Rate(listed.unit, listed.price, listed.per, listed.when, listed.above)


def _burn_rule(rule: Rule) -> BurnRule:
    return BurnRule(
        feature_id=rule.feature,
        provider=rule.provider,
        model_pattern=rule.pattern,
        credits_per_cost=rule.markup or "",
        rates=tuple(_rate(listed) for listed in rule.rates),
        flat_nanos=rule.flat,
        minimum_nanos=rule.minimum,
        free_units=rule.free,
        cached_answer_nanos=rule.cached,
    )


def _tariff(world: World) -> Tariff:
    prices = [
        Price(
            f"{provider}/{model}/{tier}/{period}",
            provider,
            model,
            tuple(_rate(listed) for listed in rates),
            tier,
            effective_from=world.change if period else None,
            effective_to=None if period else world.change,
            attribute_defaults=world.defaults,
        )
        for (provider, model, tier), both in world.prices.items()
        for period, rates in enumerate(both)
    ]
    timelines, tables = {}, {}
    for owner, activations in world.tables.items():
        names = [f"{owner}/{number}" for number in range(len(activations))]
        for name, (_, rules) in zip(names, activations, strict=True):
            tables[name] = burn_table(name, tuple(_burn_rule(rule) for rule in rules))
        begins = [begin for begin, _ in activations]
        timelines[owner] = Timeline(tuple(map(Activation, names, begins)))
    return Tariff("v", PriceBook(prices), timelines=timelines, burn_tables=tables)


def _usage_line(line: Line) -> UsageLine:
    quantities = [
        Quantity(unit, amount, Certainty.MEASURED if amount is not None else Certainty.UNKNOWN)
        for unit, amount in line.usage
    ]
    attributes = {name.title(): value.upper() for name, value in line.when}
    if line.cached:
        attributes[ANSWER] = CACHED
    return UsageLine(
        line.provider.upper(), line.model, Usage(tuple(quantities)), tier=line.tier, attributes=attributes
    )


def _nanos(amount: Fraction | None, currency: str) -> Money | None:
    """Round once; Python rounds fractions half to even, too."""
    return None if amount is None else Money(currency, round(amount))


def _bound(lines: tuple[Line, ...], cards: list[ModelRates]) -> int | None:
    """What an edge sets aside for calls with these amounts; None where the card has no rate for one."""
    total = 0
    for line, card in zip(lines, cards, strict=True):
        if any(amount is None or (amount and unit not in card.rates) for unit, amount in line.usage):
            return None
        exact = sum((Fraction((amount or 0) * card.rates.get(unit, 0), 10**6) for unit, amount in line.usage),
                    Fraction(0))  # fmt: skip
        total += math.ceil(max(exact + card.request_nanos, Fraction(card.minimum_nanos)))
    return total


def _compare_event(world: World, tariff: Tariff, dice: random.Random) -> Counter[str]:
    lines, at = random_worlds.event(dice), dice.choice(random_worlds.TIMES)
    feature, customer = dice.choice(random_worlds.FEATURES), dice.choice(random_worlds.CUSTOMERS)
    table = tariff.burn_table(customer, at)

    rating = rate(
        [_usage_line(line) for line in lines], tariff.book, at=at, burn_table=table, feature_id=feature
    )

    assert rating.cost == _nanos(world.cost(lines, at), USD), (lines, at)
    charge = world.charge(lines, at, feature=feature, customer=customer)
    assert rating.charge == _nanos(charge, CREDITS), (lines, at, feature, customer)
    for amount, parts in (
        (rating.cost, [line.cost for line in rating.lines]),
        (rating.charge, [line.charge for line in rating.lines]),
    ):
        assert amount is None or sum(part.nanos for part in parts if part is not None) == amount.nanos
    met = Counter(events=1, charged=charge is not None, uncharged=charge is None)
    if charge is not None and dice.random() < 0.05:
        span = CardSpan(at, at + 1, tariff.burn_tables(customer, at, at + 1))
        cards = [model_rates(tariff.book, span, provider=line.provider, model=line.model) for line in lines]
        bound = _bound(lines, cards)
        assert bound is None or bound >= round(charge), (lines, at, feature, customer)
        met["bounded"] += bound is not None
    return met


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("events", [3_000, pytest.param(30_000, marks=pytest.mark.soak)])
def test_random_events_cost_and_are_charged_what_the_oracle_says(seed: int, events: int) -> None:
    met: Counter[str] = Counter()
    number = 0
    while met["events"] < events:
        number += 1
        dice = random.Random(f"{seed}/{number}")
        world = random_worlds.world(dice)
        tariff = _tariff(world)
        for _ in range(EVENTS_PER_WORLD):
            try:
                met += _compare_event(world, tariff, dice)
            except AssertionError as error:
                error.add_note(f"seed {seed}, world {number}, after {met['events']} events")
                raise
    # The comparison means something only if much is charged, much is not, and cards were asked.
    assert met["charged"] > events // 2
    assert met["uncharged"] > events // 50
    assert met["bounded"] > events // 200
