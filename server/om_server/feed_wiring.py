"""Composes what tells the watchers of a process, edges and readers of events, of what was committed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from om_server.analytics.event_feed import EventFeed
from om_server.analytics.event_stream import Audience as EventAudience
from om_server.pipeline.change_feed import Audience, ChangeFeed, FeedLimits
from om_server.pipeline.poller import Poller
from om_server.storage.change_log import ChangeLog

if TYPE_CHECKING:
    from om_server.account.standing import Standing
    from om_server.analytics.store import AnalyticsStore
    from om_server.core.clock import Clock
    from om_server.storage.database import Database
    from om_server.storage.queue import Queue


@dataclass(frozen=True, slots=True)
class Feeds:
    """One poller for each kind of watcher. Its thread begins with the first that watches."""

    edges: Poller[Audience]
    events: Poller[EventAudience]

    def wake(self) -> None:
        """Let whoever watches hear soon of what was committed, here or elsewhere."""
        self.edges.wake()
        self.events.wake()

    def stop(self) -> None:
        """End every stream before the server that would wait for it; may block."""
        self.edges.stop()
        self.events.stop()


def compose_feeds(
    database: Database, queue: Queue, *, settled: AnalyticsStore, standing: Standing, clock: Clock
) -> Feeds:
    """Make the feeds over a database. What this process writes wakes them."""
    limits = FeedLimits()
    edges = ChangeFeed(ChangeLog(database), clock=clock, limits=limits, queue_incarnation=queue.incarnation)
    events = EventFeed(database, settled.settlements, settled.events, clock=clock, lost=standing.lost)
    feeds = Feeds(Poller(edges, limits), Poller(events, limits))
    database.on_write(feeds.wake)
    return feeds
