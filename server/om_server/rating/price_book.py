"""The price book: every known price, found by the names that callers use. Immutable."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise

from om_server.rating.model import (
    Model,
    canonical_provider,
    canonical_tier,
    spellings,
    without_date,
    without_release,
)
from om_server.rating.price import Price
from om_server.rating.unit_rate import PriceInvalid

# Model names come from callers, so what is remembered of them is bounded.
_LOOKUPS_MAX = 8192


@dataclass(frozen=True, slots=True)
class Dearest:
    """The most that each unit of a model may cost over a span of time, in nano-units for one step."""

    provider: str
    model: str
    currency: str
    rates: Mapping[str, Fraction]
    versions: tuple[str, ...]


class PriceBook:
    """Prices by provider, model, tier and time. A price outside the book does not exist."""

    def __init__(
        self,
        prices: Iterable[Price],
        *,
        models: Iterable[Model] = (),
        fallback_providers: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        self._fallback_providers = dict(fallback_providers or {})
        self._histories: dict[tuple[str, str], dict[str, tuple[Price, ...]]] = {}
        for price in prices:
            tiers = self._histories.setdefault((price.provider, price.model), {})
            tiers[price.tier] = (*tiers.get(price.tier, ()), price)
        for tiers in self._histories.values():
            for tier, history in tiers.items():
                tiers[tier] = _in_order(history)
        self._models: dict[tuple[str, str], Model] = {}
        self._stems: dict[tuple[str, str], Model] = {}
        for model in models:
            self._file(model)
        for provider, name in self._histories:
            self._models.setdefault((provider, name.lower()), Model(provider, name))
        self._resolve = lru_cache(maxsize=_LOOKUPS_MAX)(self._resolve_uncached)

    def effective(
        self, provider: str, model: str, *, at: int, tier: str = "", requested_model: str = ""
    ) -> Price | None:
        """Return the price in force at a time (microseconds since 1970); None if there is none.

        The model that served decides. Where the catalogue does not know it at all, the model that was
        asked for does.
        """
        found = self.served_model(provider, model, requested_model=requested_model)
        return None if found is None else self.price_of(found, at=at, tier=tier)

    def served_model(self, provider: str, model: str, *, requested_model: str = "") -> Model | None:
        """Return the model that served; where the catalogue does not know it, the one that was asked for."""
        return self._resolve(provider, model) or self._resolve(provider, requested_model)

    def price_of(self, model: Model, *, at: int, tier: str = "") -> Price | None:
        """Return the price of a known model in force at a time in a service tier; None if it has none."""
        tiers = self._histories.get((model.provider, model.name), {})
        for price in reversed(tiers.get(canonical_tier(model.provider, tier), ())):
            if price.covers(at):
                return price
        return None

    def tiers_of(self, model: Model) -> Mapping[str, tuple[Price, ...]]:
        """Return the prices of a known model by tier, in order of time."""
        return self._histories.get((model.provider, model.name), {})

    def extended(
        self,
        histories: Mapping[tuple[str, str], Mapping[str, tuple[Price, ...]]],
        models: Iterable[Model] = (),
    ) -> "PriceBook":
        """Return a book with these histories in the place of its own, and with further models.

        A name that is taken stays whose it is. The prices were checked when they were stored.
        """
        book = PriceBook((), fallback_providers=self._fallback_providers)
        book._histories = {**self._histories, **{key: dict(tiers) for key, tiers in histories.items()}}
        book._models, book._stems = dict(self._models), dict(self._stems)
        for model in models:
            for name in (model.name.lower(), *model.aliases, *model.stems):
                book._models.setdefault((model.provider, name), model)
            for name in model.stems:
                book._stems.setdefault((model.provider, name), model)
        return book

    def find_model(self, provider: str, model: str) -> Model | None:
        """Return what is known of a model, by any of its names."""
        return self._resolve(provider, model)

    def dearest(self, provider: str, model: str, *, since: int, until: int) -> Dearest | None:
        """Return the dearest rate of each unit over all versions, context and service tiers in a span.

        A bound computed with these is never below the cost of any call in the span. None if the model
        has no price in it, or prices in several currencies.
        """
        found = self._resolve(provider, model)
        if found is None:
            return None
        tiers = self._histories.get((found.provider, found.name), {})
        prices = [price for history in tiers.values() for price in history if price.overlaps(since, until)]
        if len({price.currency for price in prices}) != 1:
            return None
        rates: dict[str, Fraction] = {}
        for price in prices:
            for table in price.tables:
                for unit, rate in table.all_rates():
                    rates[unit] = max(rate.exact, rates.get(unit, Fraction(0)))
        return Dearest(
            provider=canonical_provider(provider),
            model=found.name,
            currency=prices[0].currency,
            rates=rates,
            versions=tuple(price.version for price in prices),
        )

    def models(self) -> tuple[Model, ...]:
        """Return every model, by provider and name."""
        distinct = {(model.provider, model.name): model for model in self._models.values()}
        return tuple(distinct[key] for key in sorted(distinct))

    def prices(self) -> tuple[Price, ...]:
        """Return every price, by provider, model, tier and time."""
        return tuple(
            price
            for key in sorted(self._histories)
            for _, history in sorted(self._histories[key].items())
            for price in history
        )

    def _file(self, model: Model) -> None:
        for name in {model.name.lower(), *model.aliases, *model.stems}:
            if self._models.setdefault((model.provider, name), model) is not model:
                raise PriceInvalid("aliases", f"{model.provider}: two models answer to {name}")
        for name in model.stems:
            self._stems[model.provider, name] = model

    def _resolve_uncached(self, provider: str, model: str) -> Model | None:
        canonical = canonical_provider(provider)
        if not model:
            return None
        for candidate in (canonical, *self._fallback_providers.get(canonical, ())):
            found = self._match(candidate, model)
            if found is not None:
                return found
        return None

    def _match(self, provider: str, model: str) -> Model | None:
        names = tuple(dict.fromkeys(spellings(provider, model)))
        for name in names:
            if (provider, name) in self._models:
                return self._models[provider, name]
        for name in names:
            undated = without_date(provider, name)
            if undated is not None and (provider, undated) in self._models:
                return self._models[provider, undated]
        for name in names:
            stem = without_release(without_date(provider, name) or name)
            if stem is not None and (provider, stem) in self._stems:
                return self._stems[provider, stem]
        return None


def _in_order(history: tuple[Price, ...]) -> tuple[Price, ...]:
    ordered = tuple(
        sorted(history, key=lambda price: (price.effective_from is not None, price.effective_from or 0))
    )
    for earlier, later in pairwise(ordered):
        ends, starts = earlier.effective_to, later.effective_from
        if ends is None or starts is None or ends > starts:
            raise PriceInvalid("effective_from", f"{earlier.version} and {later.version} overlap")
    return ordered
