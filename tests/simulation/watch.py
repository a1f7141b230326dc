"""Edges that watch: what the change feed tells them, over streams that break."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from om_server.core.clock import system_clock
from om_server.pipeline.change_feed import ChangeFeed, FeedLimits
from om_server.storage.change import ChangeKind
from tests.simulation.oracle import require

if TYPE_CHECKING:
    from om_server.pipeline.delivery import Delivery
    from om_server.storage.change import Change
    from tests.simulation.edge import Edge
    from tests.simulation.scenario import Scenario


class Stream:
    """What waits for one edge; a stream that breaks loses it."""

    def __init__(self, edge_id: str, cursor: str) -> None:
        self.edge_id = edge_id
        self.cursor = cursor
        self.waiting: deque[Delivery] = deque()

    def deliver(self, delivery: Delivery) -> None:
        self.waiting.append(delivery)

    def close(self) -> None:
        """The feed of a seed never ends."""


class Watching:
    """The poller's looks, and what edges make of what they hear."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._chance = scenario.chance
        world = scenario.world
        self._feed = ChangeFeed(
            world.changes,
            clock=system_clock,
            limits=FeedLimits(),
            monotonic=lambda: world.clock.now / 1_000_000,
        )

    def look(self) -> str:
        """The server reads what is new, and an edge reads what it was told."""
        self._feed.look()
        return self.hear()

    def hear(self) -> str:
        """An edge opens its stream, or takes in some of what has come."""
        edge = self._chance.choice(self._scenario.edges)
        if edge.stream is None:
            edge.stream = Stream(edge.identity.edge_id, edge.cursor)
            self._feed.join(edge.stream)
            return f"{edge.name} watches"
        waiting = edge.stream.waiting
        for _ in range(min(len(waiting), self._chance.randint(1, 4))):
            self._take(edge, waiting.popleft())
        return edge.name

    def hear_all(self) -> None:
        """Every edge hears everything, on a new stream."""
        for edge in self._scenario.edges:
            self.end(edge)
            edge.stream = Stream(edge.identity.edge_id, edge.cursor)
            self._feed.join(edge.stream)
        self._feed.look()
        for edge in self._scenario.edges:
            while edge.stream is not None and edge.stream.waiting:
                self._take(edge, edge.stream.waiting.popleft())

    def cut(self) -> str:
        """A stream breaks; what was on its way is lost."""
        edge = self._chance.choice(self._scenario.edges)
        if edge.stream is not None:
            lost = [one for one in edge.stream.waiting if one.settled]
            self._scenario.meetings["stream cut with settled ranges on it"] += bool(lost)
        self.end(edge)
        return edge.name

    def end(self, edge: Edge) -> None:
        """The process is gone, or its stream."""
        if edge.stream is not None:
            self._feed.leave(edge.stream)
            edge.stream = None

    def _take(self, edge: Edge, delivery: Delivery) -> None:
        if not edge.hears(delivery.after.incarnation):
            self._scenario.meetings["new life of the store heard on a stream"] += 1
            self._scenario.calls.resync(edge)
        if delivery.lost:
            edge.payers.clear()
            edge.cards.clear()
        for change in delivery.changes:
            self._change(edge, change)
        journal = edge.journal
        settled = {
            event_id
            for event_id, intent in journal.intents.items()
            for part in delivery.settled.get(intent.epoch, ())
            if part.first <= intent.sequence <= part.last
        }
        if delivery.after.incarnation == self._scenario.incarnation:
            self._require_terminal(edge, settled)
        journal.forgotten |= settled & journal.endings.keys()
        edge.cursor = str(delivery.after)

    def _change(self, edge: Edge, change: Change) -> None:
        if change.kind is ChangeKind.LEASE_RECALLED and change.subject_id in edge.spendable:
            self._scenario.meetings["lease recalled"] += 1
            self._scenario.calls.send_close(edge, change.subject_id)
        elif change.kind is ChangeKind.WALLET_CHANGED:
            edge.payers.clear()
        elif change.kind in {ChangeKind.LIMITS_CHANGED, ChangeKind.RATE_CARD_CHANGED}:
            edge.cards.pop(change.organization_id, None)

    def _require_terminal(self, edge: Edge, named: set[str]) -> None:
        known = {
            str(name)
            for (name,) in self._scenario.oracle.rows(
                "SELECT event_id FROM usage_events WHERE edge_id = ? UNION SELECT event_id FROM dead_letters "
                # The end of a job may have no row of its own.
                "UNION SELECT event_id FROM event_identities WHERE event_id LIKE 'job:%%'",
                edge.identity.edge_id,
            )
        }
        missing = named - known - {name for *_, name in self._scenario.oracle.facts.discarded}
        require(not missing, f"{edge.name} was told that these are settled: {sorted(missing)}")
        unended = named - edge.journal.endings.keys()
        require(
            not unended or edge.identity.edge_id in self._scenario.oracle.doubted,
            f"{edge.name} was told that calls without an end are settled: {sorted(unended)}",
        )
