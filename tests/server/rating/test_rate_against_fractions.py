"""The integer arithmetic of rate() against the same sums in exact fractions."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from om_server.core.event import UsageLine
from om_server.core.money import CREDITS, USD, Money
from om_server.core.usage import PROMPT_UNITS, Usage
from om_server.rating.burn_table import BurnRule, burn_table
from om_server.rating.price import Price, Rate
from om_server.rating.price_book import PriceBook
from om_server.rating.rate import rate

AT = 1_000

UNITS = (
    "input_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "output_tokens",
    "audio_seconds",
    "images",
)
PERS = (1_000_000, 3_600_000, 7_000_000)
RateTable = Mapping[str, tuple[str, int]]


@dataclass(frozen=True, slots=True)
class Case:
    """An event on two models: the first has a context tier, the second is flat."""

    events: list[tuple[str, dict[str, int]]]
    base: RateTable
    above: RateTable
    flat: RateTable
    threshold: int
    markup: str


def _price(model: str, base: RateTable, *, above: RateTable, threshold: int) -> Price:
    rates = [Rate(unit, text, per) for unit, (text, per) in base.items()]
    rates += [Rate(unit, text, per, (), threshold) for unit, (text, per) in above.items()]
    return Price(model, "openai", model, tuple(rates))


def _exact(case: Case, model: str, *, usage: Mapping[str, int]) -> Fraction:
    """Price one line the slow way."""
    prompt = sum(amount for unit, amount in usage.items() if unit in PROMPT_UNITS)
    rates = case.flat
    if model == "tiered":
        rates = case.above if prompt > case.threshold else case.base
    products = (Fraction(rates[unit][0]) * 10**9 * amount / rates[unit][1] for unit, amount in usage.items())
    return sum(products, Fraction(0))


def _compare_with_fractions(case: Case) -> None:
    book = PriceBook(
        [
            _price("tiered", case.base, above=case.above, threshold=case.threshold),
            _price("flat", case.flat, above={}, threshold=0),
        ]
    )
    table = burn_table("t", (BurnRule(credits_per_cost=case.markup),))
    lines = tuple(UsageLine("openai", model, Usage.measured(**usage)) for model, usage in case.events)
    exact = sum((_exact(case, model, usage=usage) for model, usage in case.events), Fraction(0))

    rating = rate(lines, book, at=AT, burn_table=table)

    assert rating.cost == Money(USD, round(exact))
    assert rating.charge == Money(CREDITS, round(exact * Fraction(case.markup)))
    costs = [part.cost.nanos for part in rating.lines if part.cost]
    charges = [part.charge.nanos for part in rating.lines if part.charge]
    assert (sum(costs), sum(charges)) == (rating.cost.nanos, rating.charge.nanos)
    assert min(costs + charges) >= 0
    assert sum((part.exact for shown in rating.lines for part in shown.components), Fraction(0)) == exact


DECIMALS = st.integers(0, 10**7).map(lambda value: f"{value // 10**5}.{value % 10**5:05}")
RATES = st.fixed_dictionaries({unit: st.tuples(DECIMALS, st.sampled_from(PERS)) for unit in UNITS})
CASES = st.builds(
    Case,
    events=st.lists(
        st.tuples(
            st.sampled_from(["tiered", "flat"]),
            st.dictionaries(st.sampled_from(UNITS), st.integers(0, 10**6), min_size=1, max_size=4),
        ),
        min_size=1,
        max_size=4,
    ),
    base=RATES,
    above=RATES,
    flat=RATES,
    threshold=st.integers(1, 10**6),
    markup=st.sampled_from(["0", "1000", "1333.375", "0.0000001"]),
)


@settings(max_examples=150)
@given(CASES)
def test_rating_equals_exact_fractions_rounded_once_and_lines_add_up(case: Case) -> None:
    _compare_with_fractions(case)


def test_thousands_of_random_events_equal_exact_fractions() -> None:
    seed = 20261121
    dice = random.Random(seed)

    def rates() -> RateTable:
        return {
            unit: (f"{dice.randrange(900)}.{dice.randrange(10**5):05}", dice.choice(PERS)) for unit in UNITS
        }

    def usage() -> dict[str, int]:
        units = dice.sample(UNITS, dice.randint(1, 5))
        return {unit: dice.choice([0, 1, dice.randrange(10**6)]) for unit in units}

    for number in range(3000):
        events = [(dice.choice(["tiered", "flat"]), usage()) for _ in range(dice.randint(1, 4))]
        markup = f"{dice.randrange(3000)}.{dice.randrange(1000):03}"
        case = Case(events, rates(), rates(), rates(), dice.randrange(1, 10**6), markup)
        try:
            _compare_with_fractions(case)
        except AssertionError as error:
            error.add_note(f"seed {seed}, event {number}: {case}")
            raise
