"""What a selector matched over a window: the sums of analytics, for limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from om_server.analytics.query import EventFilter
from om_server.wallet.limits.limit import COST, CREDITS, EVENTS

if TYPE_CHECKING:
    from om_server.analytics.window_sum import WindowSums
    from om_server.core.hours import HourRange
    from om_server.wallet.limits.limit import Selector


class RollupUsage:
    """Sums rollups, to which a settling transaction adds before it commits: they lag behind nothing."""

    def __init__(self, sums: WindowSums) -> None:
        self._sums = sums

    def __call__(self, organization_id: str, selector: Selector, *, unit: str, span: HourRange) -> int:
        """Return the sum in the unit, the sandbox left out. What nobody knows yet is in no sum."""
        wanted = _filter(selector, span)
        if unit == CREDITS:
            return self._sums.charge(organization_id, wanted)
        if unit == COST:
            return self._sums.cost(organization_id, wanted)
        if unit == EVENTS:
            return self._sums.events(organization_id, wanted)
        return self._sums.quantity(organization_id, wanted, unit=unit)


def _filter(selector: Selector, span: HourRange) -> EventFilter:
    def named(value: str) -> tuple[str, ...]:
        return (value,) if value else ()

    return EventFilter(
        start_time=span.start_time,
        end_time=span.end_time,
        feature_ids=named(selector.feature_id),
        user_ids=named(selector.user_id),
        customer_ids=named(selector.customer_id),
        team_ids=named(selector.team_id),
        key_ids=named(selector.key_id),
        tags=named(selector.tag),
    )
