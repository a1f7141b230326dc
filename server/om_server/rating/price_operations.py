"""What an organization may do with prices of its own. Every operation is one transaction."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from om_server.core.audit import AuditEntry
from om_server.core.errors import PageTokenInvalid
from om_server.core.money import USD, CurrencyMismatch
from om_server.core.page import PageRequest, decode_token, encode_token
from om_server.rating.facts import price_facts
from om_server.rating.model import canonical_provider, canonical_tier
from om_server.rating.onset import price_onset
from om_server.rating.price import Price
from om_server.rating.price_overlay import begin_of, end_of, placed
from om_server.rating.rule_text import write_rates
from om_server.rating.stored import Request, StoredPrice, content_hash
from om_server.rating.unit_rate import PriceInvalid
from om_server.rpc.caller import actor
from om_server.storage.audit import AuditTrail

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from om_server.core.clock import Clock
    from om_server.core.ids import IdSource
    from om_server.core.page import Cursor
    from om_server.rating.store import TariffStore
    from om_server.rating.tariff_source import StoredTariffs
    from om_server.storage.database import Database


@dataclass(frozen=True, slots=True)
class PricePage:
    """Prices by provider, model and time. An empty token is the end."""

    prices: tuple[Price, ...]
    next_page_token: str


class PriceOverlap(PriceInvalid):
    """The organization has a price for the same unit and time."""

    def __init__(self, unit: str, price_id: str) -> None:
        super().__init__("price.effective_time", f"{unit} has the price {price_id} in a part of this time")


@dataclass(frozen=True, slots=True)
class PriceFilter:
    """Which prices are listed. Empty fields match anything; `at` asks for those in force then."""

    provider: str = ""
    model: str = ""
    at: int | None = None

    def matches(self, price: Price) -> bool:
        return (
            canonical_provider(self.provider) in ("", price.provider)
            and self.model.strip().lower() in ("", price.model.lower())
            and (self.at is None or price.covers(self.at))
        )


class PriceOperations:
    """Prices of any organization, one at a time."""

    def __init__(
        self, database: Database, store: TariffStore, *, tariffs: StoredTariffs, ids: IdSource, clock: Clock
    ) -> None:
        self._database = database
        self._store = store
        self._tariffs = tariffs
        self._ids = ids
        self._clock = clock
        self._trail = AuditTrail(database, ids=ids, clock=clock, actor=actor)

    def create_price(self, organization_id: str, price: Price, *, idempotency_key: str) -> StoredPrice:
        """Store a price; the answer has the name of its model in the catalogue and the time when it begins.

        Errors: PRICE_INVALID where it overlaps with another one of the organization's or would end before
        it may begin; CURRENCY_MISMATCH where it is not in dollars, in which costs are summed.
        """
        if price.currency != USD:
            raise CurrencyMismatch(price.currency, USD)
        times = (str(price.effective_from), str(price.effective_to))
        request = Request(
            idempotency_key,
            content_hash(price.provider, price.model, price.tier, *times, write_rates(price.rates)),
        )

        def write() -> StoredPrice:
            self._store.lock(organization_id)
            found = self._store.price_of(organization_id, request)
            return found or self._add_price(organization_id, price, request)

        return self._database.write(write)

    def list_prices(self, organization_id: str, wanted: PriceFilter, *, page: PageRequest) -> PricePage:
        """List the prices that rate the organization's usage: the catalogue's with its own over them."""
        arguments = {"list": "prices", "provider": wanted.provider, "model": wanted.model, "at": wanted.at}
        after = _checked(decode_token(page.token, arguments))
        prices: Iterable[Price] = self._tariffs.tariff(organization_id).book.prices()
        found = sorted((price for price in prices if wanted.matches(price)), key=_position)
        rest = [price for price in found if after is None or _position(price) > after]
        shown = tuple(rest[: page.size])
        more = len(rest) > page.size
        return PricePage(shown, encode_token(_position(shown[-1]), arguments) if more else "")

    def _add_price(self, organization_id: str, price: Price, request: Request) -> StoredPrice:
        now, provider = self._clock(), canonical_provider(price.provider)
        place = placed(self._tariffs.book, provider, price.model)
        name = place.model.name
        filed = replace(
            price,
            version=self._ids.new("prc"),
            provider=provider,
            model=name,
            tier=canonical_tier(provider, price.tier),
        )
        everything = [stored.price for stored in self._store.prices(organization_id)]
        own = [one for one in everything if (one.provider, one.model) == (provider, name)]
        onset = price_onset(filed, now=now, tiers=place.tiers, own=own)
        if onset is not None and onset >= end_of(filed):
            raise PriceInvalid("price.expire_time", "it would end before it may begin to apply")
        filed = replace(filed, effective_from=onset)
        _require_free_time(filed, own)
        stored = StoredPrice(filed, now)
        self._store.add_price(organization_id, stored, request)
        entry = AuditEntry("CreatePrice", "price", filed.version, after=price_facts(filed))
        self._trail.record(organization_id, entry)
        self._store.advance(organization_id, self._ids.new("trf"))
        self._tariffs.forget()
        return stored


def _require_free_time(price: Price, own: Sequence[Price]) -> None:
    """Refuse a price that another one would hide, or that would hide one, in a part of its time.

    An open price that began earlier is superseded, which is how prices change.
    """
    begin, end = begin_of(price), end_of(price)
    for other in own:
        if other.tier != price.tier or not (begin < end_of(other) and begin_of(other) < end):
            continue
        if other.effective_to is None and begin_of(other) < begin:
            continue
        shared = {rate.unit for rate in price.rates} & {rate.unit for rate in other.rates}
        if shared:
            raise PriceOverlap(min(shared), other.version)


def _position(price: Price) -> tuple[str, str, int, str, str]:
    return price.provider, price.model, begin_of(price), price.tier, price.version


def _checked(cursor: Cursor | None) -> tuple[str, str, int, str, str] | None:
    """PAGE_TOKEN_INVALID for a cursor that is no place among prices."""
    match cursor:
        case None:
            return None
        case str(provider), str(model), int(begin), str(tier), str(version):
            return provider, model, begin, tier, version
        case _:
            raise PageTokenInvalid
