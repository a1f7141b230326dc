"""When rules of a burn table are valid: what somebody wrote, as drafts, and every flaw in it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from om_server.core.errors import DomainError
from om_server.core.money import AMOUNT_MAX
from om_server.core.usage import INFORMATIONAL_UNITS, QUANTITY_MAX, UnitUnknown, find_unit
from om_server.rating.burn_table import BurnRule
from om_server.rating.flaw import Flaw, FlawKind, RulesInvalid
from om_server.rating.model import canonical_provider
from om_server.rating.unit_rate import PER_MILLION, Rate, exact_decimal

_NEGATIVE = re.compile(r"-[0-9]+(?:\.[0-9]+)?")


@dataclass(frozen=True, slots=True)
class RateDraft:
    """A rate as it was written: `price` for `per` steps. `place` leads to it from its rule."""

    unit: str
    price: str
    per: int = PER_MILLION
    attributes: tuple[tuple[str, str], ...] = ()
    context_threshold: int = 0
    place: str = ""
    quantity_threshold: int = 0


@dataclass(frozen=True, slots=True)
class RuleDraft:
    """A rule as it was written. Amounts are nano-credits."""

    feature_id: str = ""
    provider: str = ""
    model_pattern: str = ""
    credits_per_cost: str = ""
    rates: tuple[RateDraft, ...] = ()
    flat_nanos: int = 0
    minimum_nanos: int = 0
    free_units: tuple[tuple[str, int], ...] = ()
    cached_answer_nanos: int | None = None


def compile_rules(drafts: Sequence[RuleDraft], *, place: str = "rules") -> tuple[BurnRule, ...]:
    """Return the rules, or raise RulesInvalid with every flaw; `place` leads to the list of rules."""
    flaws = list(find_flaws(drafts, place=place))
    if flaws:
        raise RulesInvalid(flaws)
    return tuple(_compiled(draft) for draft in drafts)


def find_flaws(drafts: Sequence[RuleDraft], *, place: str = "rules") -> Iterator[Flaw]:
    """Yield everything that is wrong, rule by rule."""
    for index, draft in enumerate(drafts):
        where = f"{place}[{index}]"
        own = [*_rate_flaws(draft.rates, where), *_rule_flaws(draft, where)]
        yield from own
        hiding = next((earlier for earlier in range(index) if _hides(drafts[earlier], draft)), None)
        if hiding is not None:
            yield Flaw(
                FlawKind.UNREACHABLE, where, f"rule {hiding} decides every line that this one could decide"
            )


def find_price_flaws(rates: Sequence[RateDraft], *, place: str) -> Iterator[Flaw]:
    """Yield what is wrong with the rates of a price; `place` leads to it."""
    yield from _rate_flaws(rates, place)
    for index, rate in enumerate(rates):
        if rate.quantity_threshold:
            where = f"{place}.{rate.place or f'rates[{index}]'}"
            yield Flaw(FlawKind.TIERS, where, "only rates of a burn table depend on the quantity")


def _rate_flaws(rates: Sequence[RateDraft], place: str) -> Iterator[Flaw]:
    seen: set[tuple[str, tuple[tuple[str, str], ...], int, int]] = set()
    tiered = {rate.unit for rate in rates if rate.quantity_threshold}
    names: dict[str, tuple[str, ...]] = {}
    for index, rate in enumerate(rates):
        where = f"{place}.{rate.place or f'rates[{index}]'}"
        yield from _unit_flaws(rate.unit, where)
        yield from _decimal_flaws(rate.price, where)
        if rate.per < 1 or rate.context_threshold < 0 or rate.quantity_threshold < 0:
            yield Flaw(FlawKind.OUT_OF_RANGE, where, "the steps are below 1, or a threshold below 0")
        key = (rate.unit, _folded(rate.attributes), rate.context_threshold, rate.quantity_threshold)
        if key in seen:
            yield Flaw(FlawKind.OVERLAP, where, f"{rate.unit} has two rates for one size or quantity")
        if rate.unit in tiered and (rate.attributes or rate.context_threshold):
            yield Flaw(FlawKind.TIERS, where, f"rates of {rate.unit} by quantity depend on nothing else")
        seen.add(key)
        attributes = tuple(name for name, _ in key[1])
        if names.setdefault(rate.unit, attributes) != attributes or len(set(attributes)) < len(attributes):
            yield Flaw(FlawKind.ATTRIBUTES, where, f"rates of {rate.unit} depend on different attributes")
    for unit, values, threshold, quantity in sorted(seen):
        if max(threshold, quantity) > 0 and (unit, values, 0, 0) not in seen:
            above = threshold or quantity
            yield Flaw(FlawKind.GAP, f"{place}.rates", f"{unit} has a rate above {above} and none below")


def _folded(attributes: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """Attributes as a line is compared with them: Size=XL is size=xl."""
    return tuple(sorted((name.lower(), value.lower()) for name, value in attributes))


def _rule_flaws(draft: RuleDraft, place: str) -> Iterator[Flaw]:
    if draft.credits_per_cost:
        yield from _decimal_flaws(draft.credits_per_cost, f"{place}.credits_per_cost")
    elif not draft.rates and not draft.flat_nanos:
        # A free model is said with a markup of 0; nothing at all is a mistake.
        yield Flaw(FlawKind.EMPTY, place, "a rule charges by cost, by unit or by event")
    fees: Mapping[str, int] = {
        "flat": draft.flat_nanos,
        "minimum": draft.minimum_nanos,
        "cached_answer": draft.cached_answer_nanos or 0,
    }
    for name, fee in fees.items():
        if fee < 0:
            yield Flaw(FlawKind.NEGATIVE, f"{place}.{name}", "negative")
        elif fee > AMOUNT_MAX:
            yield Flaw(FlawKind.OUT_OF_RANGE, f"{place}.{name}", "above 2^62 nano-credits")
    yield from _free_flaws(draft, place)


def _free_flaws(draft: RuleDraft, place: str) -> Iterator[Flaw]:
    # Exactly the units that are named: what is charged as another unit has no free steps of its own.
    rated = {rate.unit for rate in draft.rates}
    for unit, amount in draft.free_units:
        where = f"{place}.free.{unit}"
        if unit not in rated:
            yield Flaw(FlawKind.FREE_UNRATED, where, f"the rule has no rate for {unit}")
        if not 0 < amount <= QUANTITY_MAX:
            yield Flaw(FlawKind.OUT_OF_RANGE, where, "not a positive number of at most 2^53 steps")
    if len(dict(draft.free_units)) != len(draft.free_units):
        yield Flaw(FlawKind.OVERLAP, f"{place}.free", "a unit is named twice")


def _unit_flaws(unit: str, place: str) -> Iterator[Flaw]:
    try:
        find_unit(unit)
    except UnitUnknown as error:
        yield Flaw(FlawKind.UNIT_UNKNOWN, place, error.message)
    if unit in INFORMATIONAL_UNITS:
        yield Flaw(FlawKind.UNIT_INFORMATIONAL, place, f"{unit} is counted in another unit already")


def _decimal_flaws(text: str, place: str) -> Iterator[Flaw]:
    try:
        exact_decimal(text, place)
    except DomainError:
        if _NEGATIVE.fullmatch(text):
            yield Flaw(FlawKind.NEGATIVE, place, "negative")
        else:
            yield Flaw(FlawKind.NOT_DECIMAL, place, "not a plain decimal of at most 12 and 18 digits")


def _hides(earlier: RuleDraft, later: RuleDraft) -> bool:
    return (
        earlier.feature_id in ("", later.feature_id)
        and canonical_provider(earlier.provider) in ("", canonical_provider(later.provider))
        and earlier.model_pattern.lower() in ("", "*", later.model_pattern.lower())
    )


def _compiled(draft: RuleDraft) -> BurnRule:
    return BurnRule(
        feature_id=draft.feature_id,
        provider=draft.provider,
        model_pattern=draft.model_pattern,
        credits_per_cost=draft.credits_per_cost,
        rates=compile_rates(draft.rates),
        flat_nanos=draft.flat_nanos,
        minimum_nanos=draft.minimum_nanos,
        free_units=draft.free_units,
        cached_answer_nanos=draft.cached_answer_nanos,
    )


def compile_rates(rates: Sequence[RateDraft]) -> tuple[Rate, ...]:
    """Return rates that `find_flaws` or `find_price_flaws` found sound."""
    return tuple(
        Rate(
            rate.unit,
            rate.price,
            rate.per,
            rate.attributes,
            rate.context_threshold,
            rate.quantity_threshold,
        )
        for rate in rates
    )
