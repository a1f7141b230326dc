"""Decides whether a batch fits into its month, and counts it. Not there where no plan has a quota."""

from __future__ import annotations

from typing import TYPE_CHECKING

from om_server.ingestion.quota import MonthlyQuotaExceeded, Quotas, QuotaStanding, month_of
from om_server.ingestion.quota_store import QuotaStore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from om_server.core.clock import Clock
    from om_server.core.event import Event
    from om_server.storage.database import Database


class QuotaDesk:
    """Quotas of any organization, by the plan that it has at the time."""

    def __init__(
        self, database: Database, quotas: Quotas, *, plan_of: Callable[[str], str], clock: Clock
    ) -> None:
        """`plan_of` tells the name of an organization's plan."""
        self._database = database
        self._quotas = quotas
        self._plan_of = plan_of
        self._store = QuotaStore(database)
        self._clock = clock

    def take(self, organization_id: str, events: Sequence[Event]) -> None:
        """Count new events before they are queued; MONTHLY_QUOTA_EXCEEDED if they do not all fit.

        An event that was counted is free when it is sent again, so nobody pays twice for a lost answer.
        """
        limit = self._limit(organization_id)
        if limit is None or not events:
            return
        month = month_of(self._clock())

        def write() -> None:
            used = self._store.lock_month(organization_id, month=month)
            after = used + self._store.claim(events, month=month)
            if after == used:
                return
            if after > limit:
                raise MonthlyQuotaExceeded(used, limit, month=month)
            self._store.save(organization_id, month=month, used=after)

        self._database.write(write)

    def standing(self, organization_id: str) -> QuotaStanding | None:
        """Return what is left of the month; None where no quota applies."""
        limit = self._limit(organization_id)
        if limit is None:
            return None
        month = month_of(self._clock())
        used = self._database.read(lambda: self._store.used(organization_id, month=month))
        return QuotaStanding(limit, used)

    def _limit(self, organization_id: str) -> int | None:
        return self._quotas.get(self._plan_of(organization_id))
