"""What edges do of their own accord: call, finish, ship, close, ask again."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from om_server.core.event import Attribution, Event, Outcome, UsageLine
from om_server.core.usage import Usage
from om_server.pipeline.admission import AdmissionRequest
from tests.simulation.edge import Asked, CallShape, Card, Edge
from tests.simulation.journal import Finished, Intended, Subject
from tests.simulation.tariff import LISTED, UNPRICED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.server.pipeline.harness import Tenant
    from tests.simulation.scenario import Scenario

USERS = ("", "", "", "ann", "bob")

_LIVE = {"charged": 60, "zero": 10, "estimated": 10, "over": 4, "unpriced": 4, "deferred": 10, "unknown": 8}
_RECOVERED = {"zero": 30, "estimated": 40, "unknown": 30}
_OUTCOMES = {
    "zero": Outcome.ZERO,
    "estimated": Outcome.ESTIMATED,
    "deferred": Outcome.DEFERRED,
    "unknown": Outcome.UNKNOWN,
}


class Calls:
    """Chooses edges, subjects and endings."""

    def __init__(self, scenario: Scenario, tenants: Sequence[Tenant]) -> None:
        self._scenario = scenario
        self._chance = scenario.chance
        self._tenants = tenants
        self._numbers = itertools.count(1)
        # In some seeds most of what is done goes on behind its call.
        self._live = _LIVE | {"deferred": _LIVE["deferred"] * self._chance.choice((0, 1, 1, 12))}
        for edge in scenario.edges:
            self.resync(edge)

    @property
    def _now(self) -> int:
        return self._scenario.world.clock.now

    def _tenant(self) -> Tenant:
        """Mostly the first, so that its wallet is a busy one."""
        [tenant] = self._chance.choices(self._tenants, (8, 2, 1))
        return tenant

    def _edge(self, has: Callable[[Edge], object] = bool) -> Edge:
        """Any edge, but one that has something to do if there is one."""
        edges = self._scenario.edges
        return self._chance.choice([edge for edge in edges if has(edge)] or edges)

    def call(self) -> str:
        """Forward some calls if a lease covers them, or if nobody pays; else ask for a lease."""
        edge = self._edge()
        tenant = self._tenant()
        key_id = self._chance.choice(self._scenario.keys[tenant.organization_id])
        subject = Subject(tenant, self._chance.choice(USERS), key_id)
        if not edge.resynced:
            return f"{edge.name} has not resynced"
        return ", ".join(self._call(edge, subject) for _ in range(self._chance.randint(1, 3)))

    def _call(self, edge: Edge, subject: Subject) -> str:
        if any(asked.subject == subject for asked in edge.asked.values()):
            return f"{edge.name} has asked already"
        card = self._scenario.front.card(edge, subject)
        if card is None:
            return "the key is dead"
        shape = self._shape()
        return self._forward(edge, subject, shape) or self._ask(edge, subject, shape, card=card)

    def _forward(self, edge: Edge, subject: Subject, shape: CallShape, lease_id: str = "") -> str:
        """Make the call, where one is named on that lease; empty if no lease covers it."""
        card = self._scenario.front.card(edge, subject)
        payer = edge.payer(subject, self._now)
        if card is None or payer is None or (card.limits(subject) and not lease_id):
            return ""
        bound = card.bound(shape.model, shape.tokens_in, shape.tokens_out)
        parts: tuple[tuple[str, int], ...] = ()
        if lease_id:
            # One that carries no money is named all the same: a limit waits for its call.
            granted = edge.journal.leases[lease_id]
            payer = granted.wallet_id
            if self._now >= edge.spendable.get(lease_id, 0) or (payer and granted.amount < bound):
                return ""
            parts = ((lease_id, bound if payer else 0),)
        elif payer:
            parts = edge.cover(payer, bound, self._now)
            if not parts:
                return ""
        self._scenario.meetings["event on two leases"] += len(parts) == 2
        edge.intend(
            subject, payer, parts, call=shape, now=self._now + edge.skew, rates=card.rates[shape.model]
        )
        return f"{edge.name} {shape.event_id} bound {bound} on {len(parts)} leases"

    def _ask(self, edge: Edge, subject: Subject, shape: CallShape, *, card: Card) -> str:
        request = self._request(edge, subject, shape, card=card)
        asked = edge.asked[request.admit_key] = Asked(subject, shape, request)
        self._send_admit(edge, asked)
        return f"{edge.name} asks {request.admit_key} for {request.bound_nanos}"

    def _shape(self) -> CallShape:
        chance = self._chance
        return CallShape(
            f"evt_{next(self._numbers)}",
            chance.choice(list(LISTED)),
            chance.randint(1, 600),
            chance.randint(1, 300),
        )

    def _request(self, edge: Edge, subject: Subject, shape: CallShape, *, card: Card) -> AdmissionRequest:
        bound = card.bound(shape.model, shape.tokens_in, shape.tokens_out)
        wanted = 1 if card.limits(subject) else self._chance.choice((1, 6, 12))
        return AdmissionRequest(
            edge=edge.identity,
            admit_key=f"adm_{next(self._numbers)}",
            key_id=subject.key_id,
            attribution=Attribution(user_id=subject.user_id),
            provider="openai",
            model=shape.model,
            bound={"input_tokens": shape.tokens_in, "output_tokens": shape.tokens_out},
            bound_nanos=bound,
            min_nanos=bound,
            want_nanos=bound * wanted,
            max_intents=1 if wanted == 1 else 0,
            priced=True,
        )

    def _send_admit(self, edge: Edge, asked: Asked) -> None:
        front = self._scenario.front

        def proceed(lease_id: str) -> None:
            self._forward(edge, asked.subject, asked.shape, lease_id)

        self._scenario.network.send(
            f"{edge.name} {asked.request.admit_key}", lambda: front.admit(edge, asked, proceed)
        )

    def finish(self) -> str:
        """End any call that has none; one that an older process forwarded ends by recovery."""
        edge = self._edge(lambda edge: edge.journal.unfinished)
        unfinished = edge.journal.unfinished
        if not unfinished:
            return "nothing"
        return self.end(edge, self._chance.choice(unfinished))

    def end(self, edge: Edge, intent: Intended) -> str:
        """Write the outcome of a call."""
        endings = self._live if intent.epoch == edge.identity.edge_epoch else _RECOVERED
        [kind] = self._chance.choices(list(endings), list(endings.values()))
        outcome = _OUTCOMES.get(kind, Outcome.CHARGED)
        bounds = tuple(bound for _, bound in intent.parts)
        used = (self._chance.randint(0, intent.tokens_in), self._chance.randint(0, intent.tokens_out))
        if kind == "over":
            used = (intent.tokens_in, intent.tokens_out + self._chance.randint(1, 300))
            self._scenario.meetings["more consumed than its bound"] += 1
        if kind in {"over", "unpriced"}:
            self._scenario.oracle.excessive.add(intent.event_id)
        model = UNPRICED if kind == "unpriced" else intent.model
        line = UsageLine("openai", model, Usage.measured(input_tokens=used[0], output_tokens=used[1]))
        lines: tuple[UsageLine, ...] = () if kind == "zero" else (line,)
        if kind == "deferred":
            lines = self._scenario.jobs.begin(intent, used)
        whole = kind in {"unpriced", "deferred", "unknown", "over"}
        cost = 0 if kind == "zero" else intent.cost(*used)
        retained = bounds if whole else _spread(cost, bounds)
        edge.journal.write(Finished(intent.event_id, outcome, lines, retained))
        self._scenario.meetings[f"outcome: {kind}"] += 1
        return f"{edge.name} {intent.event_id} {kind} {used}"

    def ship(self) -> str:
        """Send some outcomes, each organization's in a batch; now and then what was taken before."""
        edge = self._edge(lambda edge: edge.unshipped)
        events = edge.unshipped
        if self._chance.random() < 0.15:
            events = [edge.event(event_id) for event_id in edge.journal.endings]
        chosen = self._chance.sample(events, min(len(events), self._chance.randint(1, 6)))
        return self.send(edge, chosen)

    def send(self, edge: Edge, events: Sequence[Event]) -> str:
        """Send outcomes of an edge."""
        front = self._scenario.front
        for tenant in self._tenants:
            batch = [event for event in events if event.organization_id == tenant.organization_id]
            if batch:
                names = ", ".join(event.event_id for event in batch)
                self._scenario.network.send(
                    f"{edge.name} ships {names}",
                    lambda batch=batch: front.ingest(edge, batch),  # type: ignore[misc] # Bound now.
                )
        return f"{edge.name} {len(events)} events"

    def close(self) -> str:
        edge = self._edge(lambda edge: edge.closable)
        if not edge.closable:
            return "nothing"
        lease_id = self._chance.choice(edge.closable)
        self.send_close(edge, lease_id)
        return f"{edge.name} a lease of {len(edge.journal.of_lease[lease_id])} events"

    def send_close(self, edge: Edge, lease_id: str) -> None:
        front, report = self._scenario.front, edge.close(lease_id)
        self._scenario.network.send(f"{edge.name} closes a lease", lambda: front.close(edge, report))

    def resync(self, edge: Edge) -> None:
        """Tell the server of the past; asked again until it is answered."""
        front, past = self._scenario.front, edge.past
        self._scenario.network.send(f"{edge.name} resyncs", lambda: front.resync(edge, past))

    def ask_again(self) -> str:
        """Send what has no answer yet under the same keys, and a close again with less to keep."""
        return self.ask(self._edge(lambda edge: edge.asked or edge.closing or not edge.resynced))

    def ask(self, edge: Edge) -> str:
        """Send what an edge has no answer for."""
        if not edge.resynced:
            self.resync(edge)
            return f"{edge.name} resync"
        for asked in edge.asked.values():
            self._send_admit(edge, asked)
        for lease_id in sorted(edge.closing):
            self.send_close(edge, lease_id)
        return f"{edge.name} {len(edge.asked)} admits, {len(edge.closing)} closes"


def _spread(cost: int, bounds: tuple[int, ...]) -> tuple[int, ...]:
    """Keep the cost on the first leases that have room for it."""
    kept = []
    for bound in bounds:
        part = min(cost, bound)
        kept.append(part)
        cost -= part
    return tuple(kept)
