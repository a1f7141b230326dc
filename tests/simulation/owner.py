"""What the owners of organizations do: fund, open wallets, decide about lost money, repair events."""

from __future__ import annotations

import dataclasses
import itertools
from typing import TYPE_CHECKING

from om_server.core.page import PageRequest
from om_server.ingestion import envelope
from om_server.wallet.funding import Deposit
from om_server.wallet.holds.suspense import Decision
from om_server.wallet.wallet import Owner, OwnerKind
from tests.server.pipeline.harness import CREDIT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from om_server.core.event import Event
    from tests.server.pipeline.harness import Tenant
    from tests.simulation.front import FragileSettler
    from tests.simulation.scenario import Scenario

WHY = Decision("mem_1", "lost")


class OwnerActs:
    """Decisions, each of which names itself in the ledger."""

    def __init__(self, scenario: Scenario, tenants: Sequence[Tenant], settler: FragileSettler) -> None:
        self._scenario = scenario
        self._chance = scenario.chance
        self._tenants = tenants
        self._settler = settler
        self._numbers = itertools.count(1)

    def fund(self) -> str:
        """Give credits, half of them only for a while."""
        tenant = self._chance.choice(self._tenants)
        until = self._chance.choice((None, self._scenario.world.clock.now + 90 * 1_000_000))
        return self._grant(tenant, OwnerKind.ORGANIZATION, expire_time=until)

    def open_user_wallet(self) -> str:
        """Give a user credits of their own, also while others pay for their calls."""
        tenant, user = self._chance.choice(self._tenants), self._chance.choice(("ann", "bob"))
        owner = Owner.of(tenant.organization_id, OwnerKind.USER, owner_id=user)
        known = self._scenario.world.wallet.get_wallet(tenant.organization_id, owner=owner).exists
        flying = any(
            intent.subject.user_id == user and intent.subject.tenant == tenant
            for edge in self._scenario.edges
            for intent in edge.journal.unfinished
        )
        self._scenario.meetings["wallet created in mid-flight"] += flying and not known
        return self._grant(tenant, OwnerKind.USER, user=user)

    def _grant(
        self, tenant: Tenant, kind: OwnerKind, *, user: str = "", expire_time: int | None = None
    ) -> str:
        amount = self._chance.randint(1, 6) * CREDIT
        owner = Owner.of(tenant.organization_id, kind, owner_id=user)
        deposit = Deposit(owner, amount, f"fund-{next(self._numbers)}", expire_time=expire_time)
        for _ in range(self._chance.randint(1, 2)):
            self._scenario.world.wallet.grant_credits(tenant.organization_id, deposit)
        self._scenario.oracle.funded[tenant.organization_id] += amount
        return f"{amount} to {kind} {user}"

    def resolve(self) -> str:
        """Give up waiting for a lease in quarantine."""
        leases = self._scenario.oracle.rows(
            "SELECT organization_id, lease_id FROM leases WHERE state = 'quarantined' ORDER BY lease_id"
        )
        if not leases:
            return "nothing"
        organization_id, lease_id = self._chance.choice(leases)
        self._scenario.world.wallet.resolve_lease(str(organization_id), str(lease_id), decision=WHY)
        self._scenario.meetings["quarantined lease resolved"] += 1
        return f"one of {len(leases)}"

    def release(self) -> str:
        """Charge a part of what is in suspense."""
        tenant = self._chance.choice(self._tenants)
        return f"{self.release_all(tenant.organization_id, quarters=self._chance.randint(0, 4))} released"

    def release_all(self, organization_id: str, *, quarters: int = 0) -> int:
        """Decide about everything that an organization has in suspense."""
        wallet = self._scenario.world.wallet
        page = wallet.list_suspense(organization_id, page=PageRequest.of(size=200))
        for suspense in page.suspense:
            charge = suspense.remaining * quarters // 4
            wallet.release_suspense(organization_id, suspense.escrow_id, charge=charge, decision=WHY)
            self._scenario.oracle.decided[organization_id] += charge
            self._scenario.meetings["suspense released"] += 1
        return len(page.suspense)

    def poison(self) -> str:
        """An event that will not settle until it is repaired."""
        edge = self._chance.choice(self._scenario.edges)
        unshipped = [event.event_id for event in edge.unshipped]
        if not unshipped:
            return "nothing"
        event_id = self._chance.choice(unshipped)
        self._settler.poisoned |= {event_id}
        self._scenario.oracle.poisoned.add(event_id)
        return event_id

    def repair(self) -> str:
        """Settle a dead letter after all."""
        if not self._settler.poisoned:
            return "nothing"
        event_id = self._chance.choice(sorted(self._settler.poisoned))
        self._settler.poisoned -= {event_id}
        for event in self._queued(event_id)[:1]:
            states = {
                state
                for part in event.funding
                for (state,) in self._scenario.oracle.rows(
                    "SELECT state FROM leases WHERE lease_id = ?", part.lease_id
                )
            }
            letters = self._scenario.oracle.rows("SELECT 1 FROM dead_letters WHERE event_id = ?", event_id)
            late = bool(letters) and "closed" in states
            self._scenario.meetings["dead letter replayed after its lease closed"] += late
            world = self._scenario.world
            world.inbox.append([world.batch(envelope.pack([event]), event.organization_id)])
        return event_id

    def repair_all(self) -> None:
        while self._settler.poisoned:
            self.repair()

    def _queued(self, event_id: str) -> list[Event]:
        return [
            dataclasses.replace(event)
            for batch in self._scenario.inbox.past
            for event in envelope.unpack(batch.envelope)
            if event.event_id == event_id
        ]
