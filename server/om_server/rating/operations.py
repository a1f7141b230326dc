"""Rates events and makes rate cards, under the tariff of the organization whose usage it is."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from om_server.core.event import Attribution
from om_server.core.money import USD
from om_server.core.usage import INFORMATIONAL_UNITS
from om_server.rating.model import canonical_provider
from om_server.rating.onset import CARD_LIFE
from om_server.rating.rate import Rating, rate
from om_server.rating.rate_card import CardSpan, RateCard, rate_card
from om_server.rating.tariff_source import CatalogueTariffs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from om_server.core.clock import Clock
    from om_server.core.event import Event, UsageLine
    from om_server.rating.burn_table import BurnTable
    from om_server.rating.catalogue import Catalogue
    from om_server.rating.tariff import Tariff
    from om_server.rating.tariff_source import TariffSource

_NOBODY = Attribution()


class RatingOperations:
    """Rates with the prices and burn tables in force at the time of the usage.

    Without a source of tariffs, every organization has the catalogue's prices and the default table.
    """

    def __init__(self, catalogue: Catalogue, *, clock: Clock, tariffs: TariffSource | None = None) -> None:
        self._book = catalogue.book()
        self._version = catalogue.version
        self._tariffs = tariffs or CatalogueTariffs(self._book)
        self._clock = clock

    def rate_event(self, event: Event) -> Rating:
        """Rate an event at its own time. In a transaction, all events see one state of the tariff."""
        tariff = self._tariffs.tariff(event.organization_id)
        return rate_with(tariff, event, tariff.burn_table(event.attribution.customer_id, event.event_time))

    def rate_lines(
        self,
        lines: Sequence[UsageLine],
        *,
        at: int | None,
        organization_id: str = "",
        attribution: Attribution = _NOBODY,
    ) -> Rating:
        """Rate lines at a time, or now. Equals what settlement charges for them at that time.

        Without an organization, as for one that has stored nothing.
        """
        moment = self._clock() if at is None else at
        tariff = self._tariffs.tariff(organization_id)
        table = tariff.burn_table(attribution.customer_id, moment)
        return rate(lines, tariff.book, at=moment, burn_table=table, feature_id=attribution.feature_id)

    def cost_bound(
        self, organization_id: str, quantities: Mapping[str, int], *, provider: str, model: str
    ) -> int | None:
        """The most that these amounts of units may cost now, in nano-dollars; None if one has no price."""
        now = self._clock()
        book = self._tariffs.tariff(organization_id).book
        dearest = book.dearest(canonical_provider(provider), model, since=now, until=now + CARD_LIFE)
        units = quantities.keys() - INFORMATIONAL_UNITS
        if dearest is None or dearest.currency != USD or not units <= dearest.rates.keys():
            return None
        return math.ceil(sum(quantities[unit] * dearest.rates[unit] for unit in units))

    def rate_card(
        self, organization_id: str, customer_id: str, *, provider: str, models: Sequence[str]
    ) -> RateCard:
        """The dearest rates from now on for a card's life, over all that applies to the customer then."""
        now = self._clock()
        tariff = self._tariffs.tariff(organization_id)
        tables = tariff.burn_tables(customer_id, now, now + CARD_LIFE)
        names = (self._version, tariff.version, *(table.version for table in tables))
        version = "/".join(name for name in names if name)
        span = CardSpan(now, now + CARD_LIFE, tables)
        return rate_card(tariff.book, span, version=version, provider=provider, models=models)


def rate_with(tariff: Tariff, event: Event, burn_table: BurnTable) -> Rating:
    """Rate an event with the prices of its own time and a burn table: what settles, previews and corrects."""
    return rate(
        event.lines,
        tariff.book,
        at=event.event_time,
        burn_table=burn_table,
        feature_id=event.attribution.feature_id,
    )
