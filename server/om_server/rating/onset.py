"""From when a change of prices or rules may apply, so that no edge ever returned too much of a lease.

Edges keep a rate card for its life, so a raise begins two lives after it was written. What was in force
is never changed afterwards: a change that is dated back begins now. Only what had no rate at all may get
one in the past.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction

from om_server.core.clock import MICROS_PER_SECOND
from om_server.rating.burn_table import BurnRule, BurnTable
from om_server.rating.price import Price
from om_server.rating.price_overlay import begin_of, end_of, overlaid
from om_server.rating.rate_table import RateTable, pick_table

#: How long an edge may use a card.
CARD_LIFE = 60 * MICROS_PER_SECOND
#: How long before it applies a raise must be written.
RAISE_LEAD = 2 * CARD_LIFE

_History = Sequence[Price]
_Variants = Mapping[tuple[str, ...], Fraction]


def table_onset(
    proposed: BurnTable, *, wish: int | None, now: int, in_force: Callable[[int, int], Iterable[BurnTable]]
) -> int:
    """Return when a burn table may begin to apply.

    `in_force` gives the tables that apply in a span. Whatever cannot be shown to charge nobody more than
    every one of them counts as a raise.
    """
    start = max(now, wish or now)
    earliest = now + RAISE_LEAD
    if start >= earliest or all(never_dearer(proposed, table) for table in in_force(start, earliest)):
        return start
    return earliest


def price_onset(price: Price, *, now: int, tiers: Mapping[str, _History], own: Sequence[Price]) -> int | None:
    """Return when a price may begin to apply; None is since ever.

    `tiers` are the prices of its model beneath the organization's own, by tier; `own` are the
    organization's for the model, in every tier.
    """
    before = {
        tier: overlaid(tiers.get(tier, ()), [one for one in own if one.tier == tier])
        for tier in {*tiers, *(one.tier for one in own)}
    }
    history = before.get(price.tier, ())
    earliest = now + RAISE_LEAD
    start = begin_of(price)
    if start < now and _changes(price, history, until=now):
        start = now
    if start < earliest and _raises(price, before, since=start, until=earliest):
        return earliest
    return price.effective_from if start == begin_of(price) else start


def never_dearer(new: BurnTable, old: BurnTable) -> bool:
    """Tell whether no usage at all can be charged more under the new table; False where that is not sure."""
    ours, theirs = _reachable(new.rules), _reachable(old.rules)
    if [rule.selectors for rule in ours] == [rule.selectors for rule in theirs]:
        return all(_rule_never_dearer(one, other) for one, other in zip(ours, theirs, strict=True))
    # With other selectors any line may come under any rule, and an event may pay the fee of several.
    return all(
        not (one.has_fees or one.rates) and _markup_never_dearer(one, other)
        for one in ours
        for other in theirs
    )


def _reachable(rules: Sequence[BurnRule]) -> list[BurnRule]:
    # The default rule decides everything, and is the last of every table.
    last = next(index for index, rule in enumerate(rules) if not any(rule.selectors))
    return list(rules[: last + 1])


def _markup_never_dearer(new: BurnRule, old: BurnRule) -> bool:
    if new.markup is None or old.markup is None or new.cost_currency != old.cost_currency:
        return False
    # A cached answer may have a price below what its cost would be.
    return Fraction(*new.markup) <= Fraction(*old.markup) and old.cached_answer_nanos is None


def _rule_never_dearer(new: BurnRule, old: BurnRule) -> bool:
    if (new.markup is None) != (old.markup is None) or new.cost_currency != old.cost_currency:
        return False
    if new.markup and old.markup and Fraction(*new.markup) > Fraction(*old.markup):
        return False
    if new.flat_nanos > old.flat_nanos or new.minimum_nanos > old.minimum_nanos:
        return False
    if (new.cached_answer_nanos is None) != (old.cached_answer_nanos is None):
        return False
    if (new.cached_answer_nanos or 0) > (old.cached_answer_nanos or 0):
        return False
    free = dict(new.free_units)
    if any(free.get(unit, 0) < amount for unit, amount in old.free_units):
        return False
    if not new.tables:
        return True
    return bool(old.tables) and all(
        unit in _units(old.tables) and not _dearer(unit, new.tables, old.tables)
        for unit in _units(new.tables)
    )


def _changes(price: Price, history: _History, *, until: int) -> bool:
    """Tell whether a unit that had a rate would have had another one before a time."""
    since, until = begin_of(price), min(until, end_of(price))
    return any(
        _differs(unit, new.tables, old.tables)
        for new in _in_span(overlaid(history, [price]), since, until)
        for old in _in_span(history, max(since, begin_of(new)), min(until, end_of(new)))
        for unit in _units(old.tables)
    )


def _raises(price: Price, before: Mapping[str, _History], *, since: int, until: int) -> bool:
    """Tell whether a unit would cost more than it does then; where its tier has no rate, than in any tier.

    A card has the dearest rates of all tiers, so the first price of a tier must not be above them.
    """
    until = min(until, end_of(price))
    history = before.get(price.tier, ())
    known = [old.tables for tier in before.values() for old in _in_span(tier, since, until)]
    for new in _in_span(overlaid(history, [price]), since, until):
        olds = [old.tables for old in _in_span(history, max(since, begin_of(new)), min(until, end_of(new)))]
        for unit in _units(new.tables):
            rated = [old for old in olds if unit in _units(old)]
            if any(_dearer(unit, new.tables, old) for old in rated):
                return True
            if len(rated) < len(olds) or not olds:
                elsewhere = [_most(old, unit) for old in known if unit in _units(old)]
                if elsewhere and _most(new.tables, unit) > max(elsewhere):
                    return True
    return False


def _in_span(history: _History, since: int, until: int) -> list[Price]:
    return [price for price in history if begin_of(price) < until and since < end_of(price)]


def _units(tables: Sequence[RateTable]) -> set[str]:
    return {unit for table in tables for unit, _ in table.all_rates()}


def _variants(table: RateTable, unit: str, *, step: int = 0) -> _Variants:
    """Return every rate of a unit by the values of its attributes, for what follows `step` others."""
    if unit in table.rates:
        rate = table.rates[unit]
        for tier in table.tiers.get(unit, ()):
            rate = tier.rate if tier.threshold <= step else rate
        return {(): rate.exact}
    # Callers ask for units that both have, and whoever has a unit has it for every size of the prompt.
    keyed = table.keyed[unit]
    # The names belong to the key: two lists that depend on different attributes have no key in common.
    return {(*keyed.names, *values): rate.exact for values, rate in keyed.by_values.items()}


def _most(tables: Sequence[RateTable], unit: str) -> Fraction:
    return max(rate for table in tables for rate in _variants(table, unit).values())


def _pairs(
    unit: str, new: tuple[RateTable, ...], old: tuple[RateTable, ...]
) -> Iterable[tuple[_Variants, _Variants]]:
    """Yield the rates of a unit in both, for every size of the prompt and quantity where one changes."""
    tables = (*new, *old)
    steps = sorted({0, *(tier.threshold for table in tables for tier in table.tiers.get(unit, ()))})
    for threshold in sorted({table.threshold for table in tables}):
        size = threshold + 1 if threshold else 0
        ours, theirs = pick_table(new, size), pick_table(old, size)
        for step in steps:
            yield _variants(ours, unit, step=step), _variants(theirs, unit, step=step)


def _differs(unit: str, new: tuple[RateTable, ...], old: tuple[RateTable, ...]) -> bool:
    return any(
        ours.get(key) != rate for ours, theirs in _pairs(unit, new, old) for key, rate in theirs.items()
    )


def _dearer(unit: str, new: tuple[RateTable, ...], old: tuple[RateTable, ...]) -> bool:
    for ours, theirs in _pairs(unit, new, old):
        least, most = min(theirs.values(), default=Fraction(0)), max(theirs.values(), default=Fraction(0))
        # Attributes that had no rate may have one up to the dearest; other attributes are not comparable.
        bound = most if ours.keys() & theirs.keys() else least
        if any(rate > theirs.get(key, bound) for key, rate in ours.items()):
            return True
    return False
