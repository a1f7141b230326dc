"""Rates events as if one burn table had always applied to whom it is for, with the code that settles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from om_server.rating.burn_table import burn_table
from om_server.rating.operations import rate_with

if TYPE_CHECKING:
    from om_server.core.event import Event
    from om_server.rating.burn_table import BurnTable
    from om_server.rating.burn_table_operations import BurnTableOperations
    from om_server.rating.operations import RatingOperations
    from om_server.rating.rate import Rating
    from om_server.rating.stored import BurnTableDraft
    from om_server.rating.tariff_source import TariffSource

#: What a table is called that nobody has stored.
_PROPOSED = "proposed"


class EventRates(Protocol):
    """Rates events at their own time."""

    def decides(self, event: Event) -> bool:
        """Tell whether an event is rated by what was asked for."""

    def rate_event(self, event: Event) -> Rating:
        """Rate an event."""


class InForce:
    """The tariff that is stored, at each event's own time."""

    def __init__(self, rating: RatingOperations) -> None:
        self._rating = rating

    def decides(self, event: Event) -> bool:
        """Tell that it decides everything."""
        del event
        return True

    def rate_event(self, event: Event) -> Rating:
        """Rate as settlement does."""
        return self._rating.rate_event(event)


class Proposed:
    """One burn table in the place of all of its customer's, or the organization's, and today's prices."""

    def __init__(self, tariffs: TariffSource, table: BurnTable, *, customer_id: str) -> None:
        self._tariffs = tariffs
        self._table = table
        self._customer_id = customer_id

    def decides(self, event: Event) -> bool:
        """Tell whether the event's customer is the table's; one with a table of its own then is not."""
        customer_id = event.attribution.customer_id
        if self._customer_id or not customer_id:
            return customer_id == self._customer_id
        tariff = self._tariffs.tariff(event.organization_id)
        return tariff.timeline(customer_id).at(event.event_time) is None

    def rate_event(self, event: Event) -> Rating:
        """Rate with the prices of the event's own time."""
        return rate_with(self._tariffs.tariff(event.organization_id), event, self._table)


class Proposals:
    """Ways to rate past events of any organization."""

    def __init__(
        self, rating: RatingOperations, tariffs: TariffSource, *, burn_tables: BurnTableOperations
    ) -> None:
        self._in_force = InForce(rating)
        self._tariffs = tariffs
        self._burn_tables = burn_tables

    def stored(self, organization_id: str, burn_table_id: str) -> EventRates:
        """Rate by a stored table, active or not, or NOT_FOUND; by what is in force if none is named."""
        if not burn_table_id:
            return self._in_force
        stored = self._burn_tables.stored_table(organization_id, burn_table_id)
        table = burn_table(burn_table_id, stored.rules)
        return Proposed(self._tariffs, table, customer_id=stored.customer_id)

    def drafted(self, draft: BurnTableDraft) -> EventRates:
        """Rate by a table that is not stored."""
        return Proposed(self._tariffs, burn_table(_PROPOSED, draft.rules), customer_id=draft.customer_id)
