"""Rates and charges events that settled without a price, once there is one.

A change of a tariff is noticed by its version, which costs one small read. A transaction that settles
meanwhile may still rate under the version before, so an organization is looked at a second time.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import structlog

from om_server.account.organization import UNKNOWN_OUTCOME_SUSPEND
from om_server.analytics.settled import SettledState
from om_server.core.clock import MICROS_PER_SECOND
from om_server.pipeline.isolation import is_transient, isolate
from om_server.pipeline.rated_event import charge_of, rate_event, settled_event
from om_server.wallet.charging import SUSPENDED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from om_server.analytics.settled import SettledEvent
    from om_server.core.clock import Clock
    from om_server.core.page import Cursor
    from om_server.pipeline.rated_event import RatedEvent
    from om_server.pipeline.settle import Slices
    from om_server.storage.database import Database
    from om_server.wallet.limits.operations import LimitOperations

_log = structlog.get_logger(__name__)

#: Events in one step, and so in one transaction.
_BATCH = 100
_LOOK_INTERVAL = MICROS_PER_SECOND
#: No transaction that settles takes longer than this.
_SETTLING_MAX = 60 * MICROS_PER_SECOND


class UnratedRater:
    """Goes through events without a price: all of them at its start, then those of tariffs that changed."""

    def __init__(
        self,
        database: Database,
        slices: Slices,
        *,
        limits: LimitOperations,
        versions: Callable[[], Mapping[str, str]],
        clock: Clock,
    ) -> None:
        """`versions` reads what names the stored tariff of each organization that has one."""
        self._database = database
        self._slices = slices
        self._limits = limits
        self._versions = versions
        self._clock = clock
        self._known: Mapping[str, str] | None = None
        self._look_time = 0
        #: Organizations to go through, each from a place on.
        self._waiting: deque[tuple[str, Cursor | None]] = deque()
        #: When an organization is to be looked at again.
        self._later: deque[tuple[int, str]] = deque()

    def advance(self) -> bool:
        """Look for changes if it is time, and take one step; tell whether there was one to take."""
        now = self._clock()
        if now >= self._look_time:
            self._look(now)
            self._look_time = now + _LOOK_INTERVAL
        if not self._waiting:
            return False
        organization_id, after = self._waiting[0]
        try:
            _, following = self._step(organization_id, after)
        except Exception as error:
            if is_transient(error):
                raise
            # Its events stay as they are until its tariff changes; others do not wait for them.
            _log.exception("organization_not_rated", organization_id=organization_id)
            following = None
        # Only now, so that what failed for a moment is tried again.
        self._waiting.popleft()
        if following is not None:
            self._waiting.append((organization_id, following))
        return True

    def rate(self, organization_id: str) -> int:
        """Rate and charge what can be rated of one organization; return how many events that was."""
        total, after = 0, None
        while True:
            count, after = self._step(organization_id, after)
            total += count
            if after is None:
                return total

    def _look(self, now: int) -> None:
        current = self._database.read(self._versions)
        if self._known is None:
            # Another program may bring other prices of its own.
            changed = self._slices.analytics.unrated_organizations()
        else:
            changed = sorted(name for name, version in current.items() if self._known.get(name) != version)
        self._known = current
        due = list(changed)
        while self._later and self._later[0][0] <= now:
            due.append(self._later.popleft()[1])
        self._later.extend((now + _SETTLING_MAX, organization_id) for organization_id in changed)
        self._waiting.extend((organization_id, None) for organization_id in dict.fromkeys(due))

    def _step(self, organization_id: str, after: Cursor | None) -> tuple[int, Cursor | None]:
        """Rate some events behind a place; return how many, and where to go on."""
        page, following = self._slices.analytics.page_unrated(organization_id, after=after, limit=_BATCH)
        events = [item.event for _, item in self._rated(organization_id, page)]
        ready = [[(event.source, event.event_id) for event in events]] if events else []
        counts: list[int] = []

        def attempt(part: Sequence[tuple[str, str]]) -> None:
            counts.append(self._database.write(lambda: self._charge(organization_id, part)))

        isolate(ready, attempt, failed=_report)
        return sum(counts), following

    def _rated(
        self, organization_id: str, events: Sequence[SettledEvent]
    ) -> list[tuple[SettledEvent, RatedEvent]]:
        """Rate at the events' own time, and return those that have a price now."""
        if not events:
            return []
        organization = self._slices.account.get_organization(organization_id)
        suspends = organization.unknown_outcome_policy == UNKNOWN_OUTCOME_SUSPEND
        # About what is in suspense an owner decides, whatever its price.
        rated = [
            (before, rate_event(before.event, self._slices.rating, suspends=suspends))
            for before in events
            if SUSPENDED not in before.flags
        ]
        return [(before, item) for before, item in rated if item.state is SettledState.RATED]

    def _charge(self, organization_id: str, identities: Sequence[tuple[str, str]]) -> int:
        """Charge events in the caller's transaction, from what was kept for them; return how many.

        Their rows are locked first, so that of two that rate the same events the second finds none.
        """
        locked = self._slices.analytics.lock_unrated(organization_id, set(identities))
        rated = self._rated(organization_id, locked)
        if not rated:
            return 0
        now = self._clock()
        charges = [charge_of(item, wallet_id=item.event.wallet_id) for _, item in rated]
        results = self._slices.wallet.settle_charges(organization_id, charges)
        self._limits.release_events(organization_id, [charge.identity for charge in charges])
        after = [settled_event(item, result, now) for (_, item), result in zip(rated, results, strict=True)]
        self._slices.analytics.revise([before for before, _ in rated], after)
        return len(rated)


def _report(identity: tuple[str, str], error: Exception) -> None:
    """It stays without a price, and is tried again when a tariff changes."""
    source, event_id = identity
    _log.error("event_not_rated", source=source, event_id=event_id, cause=type(error).__name__)
