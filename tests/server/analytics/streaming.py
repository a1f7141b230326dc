"""The servicer of analytics over a database, and its feed, which a test moves by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from om_server.analytics.burn_rate import Available, BurnRates, no_wallets
from om_server.analytics.event_export import EventExport
from om_server.analytics.event_feed import EventFeed
from om_server.analytics.servicer import AnalyticsServicer
from om_server.analytics.store import AnalyticsStore
from om_server.analytics.window_sum import WindowSums
from tests.rpc import made
from tests.server.analytics.examples import NOW

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from om_server.analytics.event_stream import Feed
    from om_server.analytics.operations import AnalyticsOperations
    from om_server.rpc.caller import Caller
    from om_server.storage.database import Database


def event_feed(
    database: Database,
    monotonic: Callable[[], float] = lambda: 0.0,
    *,
    lost: Callable[[Collection[Caller]], Collection[Caller]] = lambda _: (),
) -> EventFeed:
    """A feed that looks when the test says so; its clock stands still unless given."""
    store = AnalyticsStore(database)
    return EventFeed(
        database, store.settlements, store.events, clock=lambda: NOW, lost=lost, monotonic=monotonic
    )


def servicer(
    database: Database,
    operations: AnalyticsOperations,
    *,
    available: Available = no_wallets,
    feed: Feed | None = None,
    export: EventExport | None = None,
) -> AnalyticsServicer:
    """A servicer whose exports read two events at a time."""
    events = AnalyticsStore(database).events
    return made(
        AnalyticsServicer,
        operations,
        burn_rates=BurnRates(WindowSums(database), available=available, clock=lambda: NOW),
        export=export or EventExport(database, events, clock=lambda: NOW, part_size=2),
        feed=feed or event_feed(database),
    )
