"""What the owners of organizations do: fund, open wallets, decide about lost money, repair events."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from om_server.core.errors import InvalidArgument
from om_server.core.page import PageRequest
from om_server.wallet.change import WalletChange
from om_server.wallet.funding import Deposit
from om_server.wallet.holds.suspense import Decision
from om_server.wallet.wallet import Owner, OwnerKind
from tests.server.pipeline.harness import CREDIT
from tests.simulation.oracle import require

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.server.pipeline.harness import Tenant
    from tests.simulation.scenario import Scenario

WHY = Decision("mem_1", "lost")


class OwnerActs:
    """Decisions, each of which names itself in the ledger."""

    def __init__(self, scenario: Scenario, tenants: Sequence[Tenant]) -> None:
        self._scenario = scenario
        self._chance = scenario.chance
        self._tenants = tenants
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
        self._scenario.oracle.facts.funded[tenant.organization_id] += amount
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
            facts = self._scenario.oracle.facts
            if suspense.event_id:
                facts.ruled[organization_id, suspense.event_source, suspense.event_id] += charge
            else:
                facts.decided[organization_id] += charge
            self._scenario.meetings["suspense released"] += 1
        return len(page.suspense)

    def block(self) -> str:
        """Block a wallet in the middle of its calls, or let it go on."""
        facts, found = self._scenario.oracle.facts, self._wallets()
        if not found:
            return "nothing"
        organization_id, wallet_id, owner = self._chance.choice(found)
        blocked = wallet_id not in facts.blocked
        self._scenario.world.wallet.update_wallet(
            organization_id, owner, change=WalletChange(blocked=blocked)
        )
        facts.blocked ^= {wallet_id}
        flying = any(
            intent.wallet_id == wallet_id
            for edge in self._scenario.edges
            for intent in edge.journal.unfinished
        )
        self._scenario.meetings["wallet blocked with calls in flight"] += blocked and flying
        return f"{blocked}"

    def set_credit(self) -> str:
        """Move the credit limit of the soft wallet, never below what is overdrawn."""
        tenant = self._tenants[1]
        owner = Owner.of(tenant.organization_id, OwnerKind.ORGANIZATION)
        credit_limit = self._chance.randint(0, 12) * CREDIT
        wallet = self._scenario.world.wallet
        before = wallet.get_wallet(tenant.organization_id, owner=owner)
        try:
            wallet.update_wallet(
                tenant.organization_id, owner, change=WalletChange(credit_limit=credit_limit)
            )
        except InvalidArgument:
            overdrawn = self._scenario.oracle.number(
                "SELECT -SUM(available) FROM grants WHERE wallet_id = ? AND available < 0", before.wallet_id
            )
            require(credit_limit < overdrawn, f"a credit of {credit_limit} was refused at {overdrawn}")
            self._scenario.meetings["credit lowered below what is overdrawn"] += 1
            return "refused"
        return f"{credit_limit}"

    def chain(self) -> str:
        """Let a user's wallet overflow into the organization's."""
        users = [found for found in self._wallets() if found[2].kind is OwnerKind.USER]
        if not users:
            return "nothing"
        organization_id, _, owner = self._chance.choice(users)
        wallet = self._scenario.world.wallet
        target = wallet.get_wallet(organization_id)
        if not target.exists:
            return "nothing to flow into"
        into = self._chance.choice((target.wallet_id, target.wallet_id, ""))
        wallet.update_wallet(organization_id, owner, change=WalletChange(overflow_wallet_id=into))
        return f"to {into}"

    def revoke(self) -> str:
        """End a key; each organization keeps one."""
        tenant = self._chance.choice(self._tenants)
        keys = self._scenario.keys[tenant.organization_id]
        living = [key for key in keys if key not in self._scenario.oracle.facts.revoked]
        if len(living) == 1:
            return "the last one"
        key_id = self._chance.choice(living)
        self._scenario.world.account.revoke_key(tenant.organization_id, key_id)
        self._scenario.oracle.facts.revoked.add(key_id)
        flying = any(
            intent.subject.key_id == key_id
            for edge in self._scenario.edges
            for intent in edge.journal.unfinished
        )
        self._scenario.meetings["key revoked with calls in flight"] += flying
        return key_id

    def _wallets(self) -> list[tuple[str, str, Owner]]:
        found = []
        for tenant in self._tenants:
            page = self._scenario.world.wallet.list_wallets(
                tenant.organization_id, page=PageRequest.of(size=50)
            )
            found += [(tenant.organization_id, one.wallet_id, one.owner) for one in page.wallets]
        return found
