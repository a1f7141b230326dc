"""The server's side of every message: the real operations, and the answers sent back through the network."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from om_server.core.errors import DomainError
from om_server.ingestion.operations import IntakeState, Reported
from om_server.pipeline.settle import Settler
from om_server.storage.inbox import SqlInbox
from om_server.wallet.leases.lease import LeaseState
from tests.simulation.edge import PAYER_LIFE, Card
from tests.simulation.entitlement import passed
from tests.simulation.job import count_meeting
from tests.simulation.oracle import require
from tests.simulation.tariff import LISTED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from om_server.core.clock import Clock
    from om_server.core.event import Event
    from om_server.pipeline.admission import Decision
    from om_server.storage.database import Database
    from om_server.storage.queue import Batch
    from om_server.wallet.leases.closing import Past
    from om_server.wallet.leases.lease import LeaseReport
    from tests.server.pipeline.harness import World
    from tests.simulation.edge import Asked, Edge
    from tests.simulation.journal import Subject
    from tests.simulation.network import Network
    from tests.simulation.oracle import Oracle

#: What an edge is told that another process of it has replaced, or that has not said hello.
_FENCED = {"EDGE_EPOCH_STALE", "EDGE_NOT_RESYNCED"}


class RememberingInbox(SqlInbox):
    """Remembers what was queued, so that it can be delivered again after it was settled."""

    def __init__(self, database: Database, clock: Clock) -> None:
        super().__init__(database, clock)
        self.past: list[Batch] = []

    def append(self, batches: Sequence[Batch]) -> None:
        self.past.extend(batches)
        super().append(batches)


class FragileSettler(Settler):
    """Fails on some events until they are repaired."""

    poisoned: frozenset[str] = frozenset()

    def settle(self, events: Sequence[Event]) -> int:
        if any(event.event_id in self.poisoned for event in events):
            raise ValueError("poisoned")
        return super().settle(events)


class Front:
    """What the server does when a message arrives."""

    def __init__(
        self, world: World, network: Network, oracle: Oracle, *, incarnation: Callable[[], str]
    ) -> None:
        self._world = world
        self._network = network
        self._oracle = oracle
        self._meetings = oracle.meetings
        self._incarnation = incarnation

    def admit(self, edge: Edge, asked: Asked, proceed: Callable[[str], None]) -> None:
        """Answer; `proceed` is what the edge does where the answer is yes."""
        request, revoked = asked.request, self._oracle.facts.revoked
        try:
            decision = self._world.admission.admit(request)
        except DomainError as error:
            if error.reason == "KEY_REVOKED" and request.key_id in revoked:
                self._meetings["key revoked in flight"] += 1
                self._answer(edge, lambda: edge.asked.pop(request.admit_key, None), name="revoked")
                return
            require(error.reason in _FENCED, f"admission failed: {error.reason} {error.message}")
            self._meetings["late admit after the next epoch's resync"] += 1
            return
        require(request.key_id not in revoked, "a revoked key got an answer")
        self._note(asked, decision)
        if decision.lease is not None and request.admit_key not in edge.asked and edge.alive:
            self._meetings["twin of an answered admit"] += 1
        loss = "admit answer with a lease lost" if decision.lease else ""
        self._answer(
            edge,
            lambda: self._admitted(edge, asked, decision, proceed=proceed),
            name=f"answer to {request.admit_key}",
            loss=loss,
        )

    def _note(self, asked: Asked, decision: Decision) -> None:
        """Remember a new lease, and hold it against what is blocked."""
        facts, lease = self._oracle.facts, decision.lease
        if decision.refusal is not None:
            self._meetings[f"refused: {decision.refusal.error.reason}"] += 1
        if lease is None or lease.lease_id in facts.given:
            return
        facts.given.add(lease.lease_id)
        edge = asked.request.edge
        require(facts.epochs.get(edge.edge_id) == edge.edge_epoch, f"{edge} took {lease.lease_id}")
        require(lease.wallet_id not in facts.blocked, f"{lease.lease_id} is of a blocked wallet")
        self._meetings["lease of a wallet and what overflows"] += (
            len({piece.wallet_id for piece in lease.slices}) > 1
        )
        facts.passed[lease.lease_id] = passed(asked.subject, asked.request, self._world.clock.now)

    def _admitted(
        self, edge: Edge, asked: Asked, decision: Decision, *, proceed: Callable[[str], None]
    ) -> None:
        waited = edge.asked.pop(asked.request.admit_key, None)
        now, lease = self._world.clock.now, decision.lease
        if decision.refusal is not None:
            return
        card = edge.cards.get(asked.subject.tenant.organization_id)
        limited = lease is not None and (card is None or card.limits(asked.subject) or not lease.wallet_id)
        edge.payers[asked.subject.person] = (decision.wallet_id, now + PAYER_LIFE)
        if lease is not None:
            life = max(0, lease.expire_time - now)
            new = edge.granted(lease, life=life, now=now, limited=limited)
            if limited and not new:
                return
        if waited is not None:
            proceed(lease.lease_id if lease is not None and limited else "")

    def _answer(self, edge: Edge, arrive: Callable[[], object], *, name: str, loss: str = "") -> None:
        """Send an answer, which carries the life of the store that gave it."""
        incarnation = self._incarnation()

        def take() -> None:
            if not edge.alive:
                self._meetings["answer to a dead process"] += 1
            elif edge.hears(incarnation):
                arrive()
            else:
                self._meetings["answer of another life of the store"] += 1

        self._network.send(name, take, loss=loss)

    def resync(self, edge: Edge, past: Past) -> None:
        try:
            resynced = self._world.wallet.resync(edge.identity, past)
        except DomainError as error:
            require(error.reason in _FENCED, f"resync failed: {error.reason} {error.message}")
            self._meetings["late resync of an older epoch"] += 1
            return
        self._oracle.facts.epochs[edge.identity.edge_id] = edge.identity.edge_epoch
        require(not resynced.unknown_lease_ids or self._oracle.restored, "the store forgot a lease")
        doubted = {lease for lease in resynced.open_leases if lease.state is LeaseState.QUARANTINED}
        self._meetings["lease quarantined"] += len(doubted)
        honest = edge.identity.edge_id not in self._oracle.doubted
        require(not (honest and doubted), f"an honest edge's leases are in quarantine: {doubted}")
        incarnation = self._incarnation()

        def arrive() -> None:
            if edge.alive and edge.hears(incarnation):
                edge.resynced = True
                edge.journal.doubted = edge.journal.doubted and past.clean

        self._network.send(f"resynced {edge.name}", arrive, loss="resync answer lost")

    def close(self, edge: Edge, report: LeaseReport) -> None:
        queued = self._oracle.rows("SELECT 1 FROM inbox WHERE envelope LIKE ?", f"%{report.lease_id}%")
        try:
            closed = self._world.wallet.close_lease(edge.identity, report)
        except DomainError as error:
            lost = error.reason == "NOT_FOUND" and self._oracle.restored
            require(lost or error.reason in _FENCED, f"close failed: {error.reason} {error.message}")
            self._meetings["late close of an older epoch"] += not lost
            if lost:
                self._answer(edge, lambda: edge.closing.discard(report.lease_id), name="not known")
            return
        if queued:
            self._meetings["close against a queued settle"] += 1
        honest = edge.identity.edge_id not in self._oracle.doubted
        require(
            not (honest and closed.lease.state is LeaseState.QUARANTINED),
            "the word of an honest edge put its lease in quarantine",
        )
        self._answer(
            edge,
            lambda: edge.closing.discard(report.lease_id),
            name=f"closed for {edge.name}",
            loss="close answer lost",
        )

    def card(self, edge: Edge, subject: Subject) -> Card | None:
        """The rates that an edge may use now; asked for where it has none that live. None for a dead key."""
        organization_id, now = subject.tenant.organization_id, self._world.clock.now
        card = edge.cards.get(organization_id)
        if card is not None and now < card.until:
            return card
        admission, models = self._world.admission, list(LISTED)
        try:
            found = admission.rate_card(subject.key_id, "", provider="openai", models=models)
            scopes = frozenset(admission.hard_scopes(subject.key_id, ""))
        except DomainError as error:
            require(subject.key_id in self._oracle.facts.revoked, f"no card: {error.message}")
            return None
        rates = {one.model: (one.rates["input_tokens"], one.rates["output_tokens"]) for one in found.models}
        edge.cards[organization_id] = Card(rates, scopes, now + found.time_to_live_us)
        return edge.cards[organization_id]

    def ingest(self, edge: Edge, events: Sequence[Event]) -> None:
        """Take an edge's batch of one organization."""
        now = self._world.clock.now
        for event in events:
            self._oracle.reported(event)
            self._count_late(event)
            count_meeting(self._oracle, event)
        received = [Reported(dataclasses.replace(event, receive_time=now), True) for event in events]  # noqa: FBT003 - a field
        _, results = self._world.ingestion.ingest(events[0].organization_id, received, from_edge=True)
        refused = [result for result in results if result.state is IntakeState.REJECTED]
        require(not refused, f"an edge's event was refused: {refused}")
        names = {event.event_id for event in events}
        self._answer(
            edge,
            lambda: edge.accepted.update(names),
            name=f"taken from {edge.name}",
            loss="intake answer lost",
        )

    def _count_late(self, event: Event) -> None:
        for part in event.funding:
            states = self._oracle.rows(
                "SELECT state, expire_time, settled_count FROM leases WHERE lease_id = ?", part.lease_id
            )
            for state, expire_time, _ in states:
                self._meetings["outcome again after its lease closed"] += state == "closed"
                self._meetings["outcome after its lease was resolved"] += state == "resolved"
                expired = isinstance(expire_time, int) and expire_time < self._world.clock.now
                self._meetings["outcome after its lease expired"] += expired and state == "open"

    def report(self, event: Event) -> None:
        """Take an application's own event."""
        now = self._world.clock.now
        received = Reported(dataclasses.replace(event, receive_time=now), True)  # noqa: FBT003 - a field
        _, [result] = self._world.ingestion.ingest(event.organization_id, [received], from_edge=False)
        if result.state is IntakeState.REJECTED:
            self._meetings["conflicting report refused"] += 1
        else:
            self._oracle.reported(event)
