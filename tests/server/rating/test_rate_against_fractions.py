"""The integer arithmetic of rate() against the same sums in exact fractions."""

import itertools
import random
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from om_server.core.event import UsageLine
from om_server.core.money import CREDITS, USD, Money
from om_server.core.usage import PROMPT_UNITS, Quantity, Usage
from om_server.rating.burn_table import BurnRule, burn_table
from om_server.rating.price import Price
from om_server.rating.price_book import PriceBook
from om_server.rating.rate import Rating, rate
from om_server.rating.unit_rate import Rate

AT = 1_000

# Text, cache, audio and image tokens, lengths, pieces, calls, tools and an organization's own unit.
UNITS = (
    "input_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "audio_input_tokens",
    "audio_output_tokens",
    "image_output_tokens",
    "output_tokens",
    "audio_seconds",
    "video_seconds",
    "characters",
    "images",
    "requests",
    "web_searches",
    "custom:page",
)
# Cached input has no rate here, so that it costs what input costs, in its context tier.
FLAT_UNITS = tuple(unit for unit in UNITS if unit != "cache_read_tokens")
# Rates of a burn table beside its markup.
EXTRA_UNITS = ("output_tokens", "requests")
# Of these every event has some steps that are free, and rates that begin above a quantity.
TIERED_UNITS = ("characters", "images")
# Dear enough to matter, not so dear that an event is beyond any ledger.
PERS = (4_000, 1_000_000, 3_600_000, 7_000_000)
SIZES = ("small", "large")
RateTable = Mapping[str, tuple[str, int]]
# By unit, where each rate begins, from 0 on.
Ladders = Mapping[str, Mapping[int, tuple[str, int]]]


@dataclass(frozen=True, slots=True)
class Case:
    """An event on three models: with a context tier, flat, and images by size."""

    # Model, size of the images, amounts.
    events: list[tuple[str, str, dict[str, int]]]
    base: RateTable
    above: RateTable
    flat: RateTable
    sizes: RateTable
    threshold: int
    markup: str
    extra: RateTable
    flat_nanos: int
    minimum_nanos: int
    ladders: Ladders
    free: Mapping[str, int]


def _rates(table: RateTable, threshold: int = 0) -> list[Rate]:
    return [Rate(unit, text, per, (), threshold) for unit, (text, per) in table.items()]


def _tiers(ladders: Ladders) -> list[Rate]:
    return [
        Rate(unit, text, per, quantity_threshold=begin)
        for unit, ladder in ladders.items()
        for begin, (text, per) in ladder.items()
    ]


def _book(case: Case) -> PriceBook:
    by_size = [Rate("images", text, per, (("size", size),)) for size, (text, per) in case.sizes.items()]
    return PriceBook(
        [
            Price("t", "openai", "tiered", (*_rates(case.base), *_rates(case.above, case.threshold))),
            Price("f", "openai", "flat", tuple(_rates(case.flat))),
            Price("s", "openai", "sized", tuple(by_size)),
        ]
    )


def _price_of(case: Case, model: str, unit: str, *, size: str, prompt: int) -> tuple[str, int]:
    if model == "sized":
        return case.sizes[size]
    rates = dict(case.flat if model == "flat" else case.base)
    if model == "tiered" and prompt > case.threshold:
        rates |= case.above
    return rates[unit] if unit in rates else rates["input_tokens"]


def _sum(rates: RateTable, usage: Mapping[str, int]) -> Fraction:
    """Multiply and add in nano-units, the slow way."""
    return sum(
        (
            Fraction(rates[unit][0]) * 10**9 * amount / rates[unit][1]
            for unit, amount in usage.items()
            if unit in rates
        ),
        Fraction(0),
    )


def _cost(case: Case, model: str, size: str, *, usage: Mapping[str, int]) -> Fraction:
    prompt = sum(amount for unit, amount in usage.items() if unit in PROMPT_UNITS)
    rates = {unit: _price_of(case, model, unit, size=size, prompt=prompt) for unit in usage}
    return _sum(rates, usage)


def _ladder(ladder: Mapping[int, tuple[str, int]], *, free: int, total: int) -> Fraction:
    """Charge the steps of an event between one rate's beginning and the next one's, but for the free."""
    begins = [*sorted(ladder), total]
    amount = Fraction(0)
    for begin, end in itertools.pairwise(begins):
        price, per = ladder[begin]
        steps = len(range(max(begin, free), min(end, total)))
        amount += Fraction(price) * 10**9 * steps / per
    return amount


def _charge(case: Case, cost: Fraction) -> Fraction:
    extra = sum((_sum(case.extra, usage) for _, _, usage in case.events), Fraction(0))
    for unit, ladder in case.ladders.items():
        total = sum(usage.get(unit, 0) for _, _, usage in case.events)
        extra += _ladder(ladder, free=case.free.get(unit, 0), total=total)
    charge = cost * Fraction(case.markup) + extra
    if not any(amount for _, _, usage in case.events for amount in usage.values()):
        return charge
    return max(charge + case.flat_nanos, Fraction(case.minimum_nanos))


def _shown_charge(rating: Rating) -> Fraction:
    """Add up the arithmetic that a rating shows."""
    total = Fraction(0)
    for line in rating.lines:
        for part in line.components:
            factor = Fraction(line.credits_per_cost) if part.currency == USD else Fraction(1)
            total += part.exact * factor
        total += line.fee
    return total


def _line(model: str, size: str, usage: Mapping[str, int]) -> UsageLine:
    # Reasoning is part of the output: shown, never charged.
    quantities = [Quantity(unit, amount) for unit, amount in usage.items()]
    if usage.get("output_tokens"):
        quantities.append(Quantity("reasoning_tokens", usage["output_tokens"]))
    return UsageLine("openai", model, Usage(tuple(quantities)), attributes={"Size": size.upper()})


def _compare_with_fractions(case: Case) -> None:
    rule = BurnRule(
        credits_per_cost=case.markup,
        rates=(*_rates(case.extra), *_tiers(case.ladders)),
        flat_nanos=case.flat_nanos,
        minimum_nanos=case.minimum_nanos,
        free_units=tuple((unit, amount) for unit, amount in case.free.items() if amount),
    )
    lines = tuple(_line(model, size, usage) for model, size, usage in case.events)
    cost = sum((_cost(case, model, size, usage=usage) for model, size, usage in case.events), Fraction(0))
    charge = _charge(case, cost)

    rating = rate(lines, _book(case), at=AT, burn_table=burn_table("t", (rule,)))

    assert rating.unrated == ()
    # Python rounds fractions half to even, too.
    assert rating.cost == Money(USD, round(cost))
    assert rating.charge == Money(CREDITS, round(charge))
    costs = [part.cost.nanos for part in rating.lines if part.cost]
    charges = [part.charge.nanos for part in rating.lines if part.charge]
    assert (sum(costs), sum(charges)) == (rating.cost.nanos, rating.charge.nanos)
    assert min(costs + charges) >= 0
    products = (part for shown in rating.lines for part in shown.components if part.currency == USD)
    assert sum((part.exact for part in products), Fraction(0)) == cost
    assert _shown_charge(rating) == charge


DECIMALS = st.integers(0, 10**7).map(lambda value: f"{value // 10**5}.{value % 10**5:05}")
RATE = st.tuples(DECIMALS, st.sampled_from(PERS))
AMOUNTS = st.integers(0, 10**6)
EVENTS = st.one_of(
    st.tuples(
        st.sampled_from(["tiered", "flat"]),
        st.just(""),
        st.dictionaries(st.sampled_from(UNITS), AMOUNTS, min_size=1, max_size=5),
    ),
    st.tuples(st.just("sized"), st.sampled_from(SIZES), st.fixed_dictionaries({"images": AMOUNTS})),
)
CASES = st.builds(
    Case,
    events=st.lists(EVENTS, min_size=1, max_size=4),
    base=st.fixed_dictionaries(dict.fromkeys(UNITS, RATE)),
    above=st.dictionaries(st.sampled_from(UNITS), RATE),
    flat=st.fixed_dictionaries(dict.fromkeys(FLAT_UNITS, RATE)),
    sizes=st.fixed_dictionaries(dict.fromkeys(SIZES, RATE)),
    threshold=st.integers(1, 10**6),
    markup=st.sampled_from(["0", "1000", "1333.375", "0.0000001"]),
    extra=st.dictionaries(st.sampled_from(EXTRA_UNITS), RATE),
    flat_nanos=st.integers(0, 10**10),
    minimum_nanos=st.integers(0, 10**14),
    ladders=st.fixed_dictionaries(
        dict.fromkeys(
            TIERED_UNITS,
            st.tuples(RATE, st.dictionaries(st.integers(1, 10**6), RATE, max_size=3)).map(
                lambda made: {0: made[0], **made[1]}
            ),
        )
    ),
    free=st.dictionaries(st.sampled_from(TIERED_UNITS), st.integers(1, 10**6)),
)


@settings(max_examples=150)
@given(CASES)
def test_rating_equals_exact_fractions_rounded_once_and_lines_add_up(case: Case) -> None:
    _compare_with_fractions(case)


def _random_case(dice: random.Random) -> Case:
    def rates(units: tuple[str, ...]) -> RateTable:
        return {
            unit: (f"{dice.randrange(90)}.{dice.randrange(10**5):05}", dice.choice(PERS)) for unit in units
        }

    def ladder() -> dict[int, tuple[str, int]]:
        begins = [0, *(dice.choice([1, dice.randrange(1, 10**6)]) for _ in range(dice.randrange(4)))]
        return {
            begin: (f"{dice.randrange(90)}.{dice.randrange(10**5):05}", dice.choice(PERS)) for begin in begins
        }

    def event() -> tuple[str, str, dict[str, int]]:
        model = dice.choice(["tiered", "flat", "sized"])
        units = ["images"] if model == "sized" else dice.sample(UNITS, dice.randint(1, 6))
        return model, dice.choice(SIZES), {unit: dice.choice([0, 1, dice.randrange(10**6)]) for unit in units}

    return Case(
        events=[event() for _ in range(dice.randint(1, 4))],
        base=rates(UNITS),
        above=rates(tuple(dice.sample(UNITS, dice.randrange(len(UNITS))))),
        flat=rates(FLAT_UNITS),
        sizes=rates(SIZES),
        threshold=dice.randrange(1, 10**6),
        markup=f"{dice.randrange(3000)}.{dice.randrange(1000):03}",
        extra=rates(EXTRA_UNITS[: dice.randrange(3)]),
        flat_nanos=dice.choice([0, dice.randrange(10**10)]),
        minimum_nanos=dice.choice([0, dice.randrange(10**16)]),
        ladders={unit: ladder() for unit in TIERED_UNITS[: dice.randrange(3)]},
        free={},
    )


# One event has 2.5 lines on average; the soak compares more than 100,000 lines.
@pytest.mark.parametrize("lines", [6_000, pytest.param(110_000, marks=pytest.mark.soak)])
def test_many_random_lines_equal_exact_fractions(lines: int) -> None:
    seed = 20261121
    dice = random.Random(seed)
    compared = 0
    while compared < lines:
        case = _random_case(dice)
        try:
            _compare_with_fractions(case)
        except AssertionError as error:
            error.add_note(f"seed {seed}, after {compared} lines: {case}")
            raise
        compared += len(case.events)
