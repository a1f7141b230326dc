"""The rate card: the most that a unit can be charged, for an edge that multiplies and never rates."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from om_server.rating.burn_table import BurnRule, BurnTable
from om_server.rating.model import canonical_provider
from om_server.rating.price_book import Dearest, PriceBook
from om_server.rating.unit_rate import PER_MILLION


@dataclass(frozen=True, slots=True)
class ModelRates:
    """The dearest nano-credits for a model as it was asked for: by unit for a million steps, rounded up.

    A unit that is not here has no price under at least one rule that may apply. Limits are None where
    they are not known; without a known maximum, the whole context window bounds the output.
    """

    provider: str
    model: str
    rates: Mapping[str, int]
    request_nanos: int
    minimum_nanos: int
    context_window: int | None
    output_tokens_max: int | None

    @property
    def priced(self) -> bool:
        """Whether a call to the model has any price."""
        return bool(self.rates)


@dataclass(frozen=True, slots=True)
class CardSpan:
    """While a card lives, in microseconds since 1970, and the burn tables that apply in that time."""

    since: int
    until: int
    burn_tables: tuple[BurnTable, ...]


@dataclass(frozen=True, slots=True)
class RateCard:
    """What an edge gets: the models that it asked for, and how long it may use them."""

    models: tuple[ModelRates, ...]
    version: str
    time_to_live_us: int


def rate_card(
    book: PriceBook, span: CardSpan, *, version: str, provider: str = "", models: Sequence[str] = ()
) -> RateCard:
    """Return the card of these models, named as callers name them; of all models if none is named.

    The version names the prices and burn tables that the card was made from.
    """
    return RateCard(
        models=tuple(
            model_rates(book, span, provider=at, model=name)
            for at, name in _asked(book, provider, models=models)
        ),
        version=version,
        time_to_live_us=span.until - span.since,
    )


def model_rates(book: PriceBook, span: CardSpan, *, provider: str, model: str) -> ModelRates:
    """Return the dearest charge of a model.

    Features are ignored: any rule that some feature of the organization could meet counts.
    """
    canonical = canonical_provider(provider)
    dearest = book.dearest(canonical, model, since=span.since, until=span.until)
    known = book.find_model(canonical, model)
    # As rate() reads them: the name that was asked for, and its catalogue name, priced or not.
    names = (model, known.name if known is not None else "")
    rules = [
        rule for table in span.burn_tables for rule in _candidates(table, provider=canonical, models=names)
    ]
    priced = [_charges(rule, dearest) for rule in rules]
    units = set.intersection(*(set(charges) for charges in priced)) if priced else set()
    return ModelRates(
        provider=canonical,
        model=model,
        rates={
            unit: math.ceil(max(charges[unit] for charges in priced) * PER_MILLION) for unit in sorted(units)
        },
        request_nanos=max((max(rule.flat_nanos, rule.cached_answer_nanos or 0) for rule in rules), default=0),
        minimum_nanos=max((rule.minimum_nanos for rule in rules), default=0),
        context_window=known.context_window if known is not None else None,
        output_tokens_max=known.output_tokens_bound if known is not None else None,
    )


def _asked(book: PriceBook, provider: str, *, models: Sequence[str]) -> Iterable[tuple[str, str]]:
    if models:
        return ((provider, model) for model in models)
    canonical = canonical_provider(provider)
    return ((known.provider, known.name) for known in book.models() if canonical in ("", known.provider))


def _candidates(table: BurnTable, *, provider: str, models: tuple[str, ...]) -> list[BurnRule]:
    matching = [
        rule
        for rule in table.rules
        if rule.matches(feature_id=rule.feature_id, provider=provider, models=models)
    ]
    # Behind the first for every feature none applies; the default, which is last, is for every feature.
    last = next(index for index, rule in enumerate(matching) if not rule.feature_id)
    return matching[: last + 1]


def _charges(rule: BurnRule, dearest: Dearest | None) -> dict[str, Fraction]:
    """Return nano-credits for one step of each unit that the rule can charge."""
    by_unit: dict[str, Fraction] = {}
    for table in rule.tables:
        for unit, rate in table.all_rates():
            by_unit[unit] = max(rate.exact, by_unit.get(unit, Fraction(0)))
    costs: Mapping[str, Fraction] = dearest.rates if dearest is not None else {}
    if rule.markup is None:
        # A flat fee alone charges no unit, whatever its cost.
        return by_unit if rule.tables else dict.fromkeys(costs, Fraction(0))
    if dearest is None or dearest.currency != rule.cost_currency:
        return {}
    markup = Fraction(*rule.markup)
    return {unit: cost * markup + by_unit.get(unit, 0) for unit, cost in costs.items()}
