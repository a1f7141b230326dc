"""What must hold for every tariff, price, burn table and usage."""

import math
from dataclasses import replace
from fractions import Fraction

from hypothesis import event, given, settings
from hypothesis import strategies as st

from om_server.core.event import UsageLine
from om_server.rating.burn_table import BurnRule, burn_table
from om_server.rating.onset import CARD_LIFE, RAISE_LEAD, never_dearer, price_onset, table_onset
from om_server.rating.price import Price
from om_server.rating.price_overlay import begin_of, end_of, overlaid_book, placed
from om_server.rating.rate import rate
from om_server.rating.rate_card import CardSpan, model_rates
from om_server.rating.rule_text import read_rates, read_rules, write_rates, write_rules
from om_server.rating.tariff import Activation, Tariff, Timeline
from om_server.rating.unit_rate import Rate
from tests.server.rating.desk import CATALOGUE
from tests.server.rating.tariffs import FEATURES, LINES, RATES, TABLES

BOOK = CATALOGUE.book()
NOW = 1_000 * 10**6
TIMES = st.integers(-4, 5).map(lambda step: NOW + step * 40 * 10**6)

Rules = tuple[BurnRule, ...]
Lines = list[UsageLine]


def charge(tariff: Tariff, lines: Lines, at: int, *, customer: str = "", feature: str = "") -> int | None:
    table = tariff.burn_table(customer, at)
    found = rate(lines, tariff.book, at=at, burn_table=table, feature_id=feature).charge
    return None if found is None else found.nanos


@st.composite
def prices(draw: st.DrawFn, version: str = "new") -> Price:
    begin = draw(st.none() | TIMES)
    end = draw(st.none() | TIMES.filter(lambda time: begin is None or time > begin))
    tier = draw(st.sampled_from(["standard", "standard", "batch", "flex"]))
    return Price(version, "openai", "m", draw(RATES), tier, effective_from=begin, effective_to=end)


@settings(max_examples=200)
@given(
    st.lists(st.tuples(st.sampled_from(["", "acme"]), TABLES, TIMES), max_size=3),
    prices(),
    LINES,
    st.tuples(
        st.sampled_from(["", "acme"]), st.sampled_from(FEATURES), st.sampled_from([0, 1, CARD_LIFE - 1])
    ),
)
def test_what_an_edge_multiplies_with_the_card_is_never_below_the_charge(
    activated: list[tuple[str, Rules, int]], price: Price, lines: Lines, asked: tuple[str, str, int]
) -> None:
    customer, feature, after = asked
    timelines: dict[str, list[Activation]] = {}
    tables = {}
    for number, (scope, rules, time) in enumerate(sorted(activated, key=lambda found: found[2])):
        tables[f"t{number}"] = burn_table(f"t{number}", rules)
        timelines.setdefault(scope, []).append(Activation(f"t{number}", time))
    tariff = Tariff(
        "v",
        overlaid_book(BOOK, [price]),
        timelines={scope: Timeline(tuple(found)) for scope, found in timelines.items()},
        burn_tables=tables,
    )
    span = CardSpan(NOW, NOW + CARD_LIFE, tariff.burn_tables(customer, NOW, NOW + CARD_LIFE))

    card = model_rates(tariff.book, span, provider="openai", model="m")

    for line in lines:
        amounts = {part.unit: part.amount or 0 for part in line.usage.quantities}
        charged = charge(tariff, [line], NOW + after, customer=customer, feature=feature)
        if charged is None or not card.rates.keys() >= {unit for unit, amount in amounts.items() if amount}:
            continue
        exact = sum(Fraction(amount * card.rates[unit], 10**6) for unit, amount in amounts.items() if amount)
        bound = math.ceil(max(exact + card.request_nanos, Fraction(card.minimum_nanos)))
        assert bound >= charged


@st.composite
def changed(draw: st.DrawFn, rule: BurnRule) -> BurnRule:
    """Another version of a rule, mostly cheaper in one way or the other, and sometimes dearer."""
    units = {rate.unit for rate in rule.rates}
    dropped = draw(st.sampled_from([None, None, *sorted(units)])) if len(units) > 1 else None
    cached = rule.cached_answer_nanos
    return replace(
        rule,
        credits_per_cost=draw(st.sampled_from([rule.credits_per_cost, "0" if rule.credits_per_cost else ""])),
        rates=tuple(rate for rate in rule.rates if rate.unit != dropped),
        flat_nanos=draw(st.sampled_from([rule.flat_nanos, rule.flat_nanos, 1])),
        minimum_nanos=draw(st.sampled_from([rule.minimum_nanos, rule.minimum_nanos // 2])),
        free_units=tuple(
            (unit, draw(st.sampled_from([amount, amount + 1, max(1, amount - 1)])))
            for unit, amount in rule.free_units
            if unit != dropped and unit in units
        ),
        cached_answer_nanos=draw(st.sampled_from([cached, cached, 1 if cached is not None else None])),
    )


PAIRS = st.one_of(
    st.tuples(TABLES, TABLES),
    TABLES.flatmap(lambda old: st.tuples(st.just(old), st.tuples(*(changed(rule) for rule in old)))),
)


@settings(max_examples=400)
@given(PAIRS, LINES, st.sampled_from(FEATURES))
def test_what_is_no_raise_charges_nobody_more(
    tables: tuple[Rules, Rules], lines: Lines, feature: str
) -> None:
    before, after = burn_table("old", tables[0]), burn_table("new", tables[1])
    event(f"no raise: {never_dearer(after, before)}")
    if not never_dearer(after, before):
        return

    was = rate(lines, BOOK, at=NOW, burn_table=before, feature_id=feature).charge
    would = rate(lines, BOOK, at=NOW, burn_table=after, feature_id=feature).charge

    if was is not None and would is not None:
        assert would.nanos <= was.nanos


@given(TABLES)
def test_the_same_rules_are_no_raise(rules: Rules) -> None:
    assert never_dearer(burn_table("a", rules), burn_table("b", rules))


@given(TABLES, st.none() | TIMES)
def test_a_table_never_begins_in_the_past_or_later_than_asked_and_allowed(
    rules: Rules, wish: int | None
) -> None:
    proposed = burn_table("new", rules)

    onset = table_onset(proposed, wish=wish, now=NOW, in_force=lambda since, until: [burn_table("old")])

    assert onset >= NOW
    assert onset in (max(NOW, wish or NOW), NOW + RAISE_LEAD)


@settings(max_examples=300)
@given(st.none() | prices("stored"), prices(), LINES, TIMES)
def test_a_price_changes_nothing_that_was_and_raises_nothing_within_two_card_lives(
    stored: Price | None, price: Price, lines: Lines, at: int
) -> None:
    own = [stored] if stored is not None else []
    onset = price_onset(price, now=NOW, tiers=placed(BOOK, "openai", "m").tiers, own=own)
    begins = begin_of(replace(price, effective_from=onset, effective_to=None))
    assert begins >= begin_of(price)
    if begins >= end_of(price):
        return
    before = Tariff("v", overlaid_book(BOOK, own))
    after = Tariff("v", overlaid_book(BOOK, [*own, replace(price, effective_from=onset)]))
    if stored is not None and begin_of(stored) >= begins:
        # The store refuses a price that another one begins within, or that begins with another.
        return

    was, becomes = charge(before, lines, at), charge(after, lines, at)

    if was is not None and at < NOW:
        assert becomes == was
    if was is not None and at < NOW + RAISE_LEAD:
        assert becomes is not None
        assert becomes <= was


@given(RATES, TABLES)
def test_rates_and_rules_are_read_as_they_were_written(rates: tuple[Rate, ...], rules: Rules) -> None:
    assert read_rates(write_rates(rates)) == rates
    assert read_rules(write_rules(rules)) == rules
