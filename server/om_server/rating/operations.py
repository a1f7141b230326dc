"""Rates events and makes rate cards, under the catalogue's prices and the default burn table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from om_server.core.clock import MICROS_PER_SECOND
from om_server.rating.burn_table import default_burn_table
from om_server.rating.rate import Rating, rate
from om_server.rating.rate_card import CardSpan, RateCard, rate_card

if TYPE_CHECKING:
    from collections.abc import Sequence

    from om_server.core.clock import Clock
    from om_server.core.event import Event, UsageLine
    from om_server.rating.catalogue import Catalogue

#: How long an edge may use a card.
CARD_LIFE = 60 * MICROS_PER_SECOND


class RatingOperations:
    """Holds the price book of the catalogue; organizations have no prices or tables of their own yet."""

    def __init__(self, catalogue: Catalogue, *, clock: Clock) -> None:
        self._book = catalogue.book()
        self._version = catalogue.version
        self._burn_table = default_burn_table()
        self._clock = clock

    def rate_event(self, event: Event) -> Rating:
        """Rate an event at its own time."""
        return self.rate_lines(event.lines, at=event.event_time, feature_id=event.attribution.feature_id)

    def rate_lines(self, lines: Sequence[UsageLine], *, at: int | None, feature_id: str = "") -> Rating:
        """Rate lines at a time, or now. Equals what settlement charges for them at that time."""
        moment = self._clock() if at is None else at
        return rate(lines, self._book, at=moment, burn_table=self._burn_table, feature_id=feature_id)

    def rate_card(
        self, organization_id: str, customer_id: str, *, provider: str, models: Sequence[str]
    ) -> RateCard:
        """The dearest rates from now on for a card's life. Every organization has the same ones so far."""
        del organization_id, customer_id
        now = self._clock()
        span = CardSpan(now, now + CARD_LIFE, (self._burn_table,))
        version = f"{self._version}/{self._burn_table.version}"
        return rate_card(self._book, span, version=version, provider=provider, models=models)
