"""Settled events as rating explains them: what was rated, when, with which versions and result."""

from __future__ import annotations

from typing import TYPE_CHECKING

from om_server.analytics.settled import SettledState
from om_server.core.money import CREDITS, USD, Money
from om_server.rating.explanation import SettledCharge

if TYPE_CHECKING:
    from om_server.analytics.operations import AnalyticsOperations
    from om_server.analytics.settled import SettledEvent


class ChargeHistory:
    """Reads settled events for rating, which knows no analytics."""

    def __init__(self, analytics: AnalyticsOperations) -> None:
        self._analytics = analytics

    def __call__(self, organization_id: str, *, source: str, event_id: str) -> SettledCharge | None:
        """Return a settled event; None if there is none."""
        found = self._analytics.find_event(organization_id, source=source, event_id=event_id)
        return None if found is None else charge_of(found)


def charge_of(settled: SettledEvent) -> SettledCharge:
    """Read what was settled. What was not to be rated has no lines here, and cost nothing."""
    event = settled.event
    lines = settled.lines if settled.state is not SettledState.ZERO else ()
    return SettledCharge(
        source=event.source,
        event_id=event.event_id,
        event_time=event.event_time,
        customer_id=event.attribution.customer_id,
        feature_id=event.attribution.feature_id,
        lines=tuple(part.line for part in lines),
        cost=None if settled.cost is None else Money(USD, settled.cost),
        charge=None if settled.charge is None else Money(CREDITS, settled.charge),
        burn_table_version=settled.burn_table_version,
        price_versions=tuple(part.price_version for part in lines),
    )
