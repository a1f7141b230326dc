"""Money that owners move by hand: refunds, transfers, corrections, deductions; now and then twice."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from om_server.core.money import AmountOutOfRange
from om_server.wallet.answer import Receipt
from om_server.wallet.funding import Adjustment, Deduction, Refund, Transfer
from om_server.wallet.ledger import InsufficientFunds, WalletBlocked
from om_server.wallet.wallet import Owner, OwnerKind
from tests.server.pipeline.harness import CREDIT
from tests.simulation.oracle import require

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.server.pipeline.harness import Tenant
    from tests.simulation.scenario import Scenario


class Money:
    """Each act moves the sums that the oracle knows, once."""

    def __init__(self, scenario: Scenario, tenants: Sequence[Tenant]) -> None:
        self._scenario = scenario
        self._chance = scenario.chance
        self._tenants = tenants
        self._numbers = itertools.count(1)

    def _once(self, act: Callable[[], Receipt]) -> Receipt | None:
        """Do it, sometimes twice under its key; None where the money is not there."""
        try:
            receipt = act()
        except (InsufficientFunds, WalletBlocked):
            return None
        if self._chance.random() < 0.5:
            again = act()
            same = [entry.entry_id for entry in again.entries] == [
                entry.entry_id for entry in receipt.entries
            ]
            require(same, "a repeated request was answered with something else")
        return receipt

    def _key(self) -> str:
        return f"money-{next(self._numbers)}"

    def _amount(self) -> int:
        return self._chance.randint(1, 2 * CREDIT)

    def refund(self) -> str:
        """Give back a part of a charge, or all that is left of it, never more."""
        oracle, tenant = self._scenario.oracle, self._chance.choice(self._tenants)
        charged = [
            row
            for row in oracle.settled(tenant.organization_id)
            if row.charge and row.wallet_id and "wallet_unknown" not in row.flags
        ]
        if not charged:
            return "nothing"
        begun = {name for *_, name in oracle.facts.refunded}
        again = [row for row in charged if row.event_id in begun]
        row = self._chance.choice(sorted(self._chance.choice((charged, again or charged))))
        identity = (tenant.organization_id, row.source, row.event_id)
        left = (row.charge or 0) - oracle.facts.refunded.get(identity, 0)
        amount = self._chance.choice((None, self._chance.randint(1, row.charge or 1)))
        request = Refund(row.source, row.event_id, self._key(), amount)
        wanted = left if amount is None else amount
        try:
            self._once(lambda: self._scenario.world.wallet.refund_charge(tenant.organization_id, request))
        except AmountOutOfRange:
            require(wanted > left or not wanted, f"{wanted} of {left} could not be given back")
            self._scenario.meetings["refund of more than is left"] += 1
            return "more than is left"
        require(0 < wanted <= left, f"{wanted} was given back of {left}")
        oracle.facts.refunded[identity] += wanted
        self._scenario.meetings["charge refunded"] += 1
        return f"{wanted} of {row.event_id}"

    def transfer(self) -> str:
        """Move money between the wallets of an organization."""
        tenant = self._chance.choice(self._tenants)
        found = self._scenario.oracle.rows(
            "SELECT wallet_id FROM wallets WHERE organization_id = ? ORDER BY wallet_id",
            tenant.organization_id,
        )
        if len(found) < 2:
            return "nothing"
        [source], [target] = self._chance.sample(found, 2)
        request = Transfer(str(source), str(target), self._amount(), self._key())
        moved = self._once(
            lambda: self._scenario.world.wallet.transfer_credits(tenant.organization_id, request)
        )
        self._scenario.meetings["transfer between wallets"] += moved is not None
        return f"{request.amount}: {moved is not None}"

    def adjust(self) -> str:
        """Correct a wallet, up or down."""
        tenant, facts = self._chance.choice(self._tenants), self._scenario.oracle.facts
        wallet = self._scenario.world.wallet.get_wallet(tenant.organization_id)
        if not wallet.exists:
            return "nothing"
        amount = self._amount() * self._chance.choice((1, -1))
        request = Adjustment(wallet.wallet_id, amount, self._key(), "a correction")
        done = self._once(lambda: self._scenario.world.wallet.adjust_wallet(tenant.organization_id, request))
        if done is not None:
            facts.funded[tenant.organization_id] += amount
            self._scenario.meetings["wallet corrected by hand"] += 1
        return f"{amount}: {done is not None}"

    def deduct(self) -> str:
        """Take credits for what was not metered."""
        tenant, facts = self._chance.choice(self._tenants), self._scenario.oracle.facts
        owner = Owner.of(tenant.organization_id, OwnerKind.ORGANIZATION)
        request = Deduction(owner, self._amount(), self._key())
        done = self._once(lambda: self._scenario.world.wallet.deduct_credits(tenant.organization_id, request))
        if done is not None:
            facts.decided[tenant.organization_id] += request.amount
        return f"{request.amount}: {done is not None}"
