"""Holds that applications make with their keys: set aside, charged, freed, forgotten; now and then twice."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from om_server.core.errors import DomainError
from om_server.core.money import AmountOutOfRange
from om_server.wallet.holds.hold import HOLD_LIFE, HoldConflict, HoldRequest
from om_server.wallet.ledger import InsufficientFunds, WalletBlocked
from tests.server.pipeline.harness import CREDIT
from tests.simulation.facts import Held
from tests.simulation.oracle import Oracle, require

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.server.pipeline.harness import Tenant
    from tests.simulation.scenario import Scenario

_SECOND = 1_000_000
#: For how long holds live, in seconds; None is what they live where nobody says.
_LIVES = (None, 2, 5, 20)


class Holds:
    """An application of each organization, which works for as long as its hold lives, or longer."""

    def __init__(self, scenario: Scenario, tenants: Sequence[Tenant]) -> None:
        self._scenario = scenario
        self._chance = scenario.chance
        self._tenants = tenants
        self._numbers = itertools.count(1)

    @property
    def _now(self) -> int:
        return self._scenario.world.clock.now

    def hold(self) -> str:
        """Set money of some wallet aside, sometimes asking twice."""
        tenant = self._chance.choice(self._tenants)
        wallets = self._scenario.oracle.rows(
            "SELECT wallet_id FROM wallets WHERE organization_id = ? ORDER BY wallet_id",
            tenant.organization_id,
        )
        if not wallets:
            return "nothing"
        wallet_id, life = str(self._chance.choice(wallets)[0]), self._chance.choice(_LIVES)
        until = None if life is None else self._now + life * _SECOND
        amount = self._chance.randint(1, 2 * CREDIT)
        request = HoldRequest(wallet_id, amount, f"hold-{next(self._numbers)}", until)
        return self._hold(tenant.organization_id, request)

    def _hold(self, organization_id: str, request: HoldRequest) -> str:
        wallet, facts = self._scenario.world.wallet, self._scenario.oracle.facts
        try:
            made = wallet.create_hold(organization_id, request).hold
        except (InsufficientFunds, WalletBlocked) as error:
            self._scenario.meetings[f"hold refused: {error.reason}"] += 1
            return error.reason
        assert made is not None
        require(request.wallet_id not in facts.blocked, f"{made.hold_id} is of a blocked wallet")
        if self._chance.random() < 0.3:
            again = wallet.create_hold(organization_id, request).hold
            require(again == made, "a repeated request was answered with another hold")
        until = self._now + HOLD_LIFE if request.expire_time is None else request.expire_time
        facts.holds[made.hold_id] = Held(organization_id, request.amount, until)
        leases = self._scenario.oracle.rows(
            "SELECT 1 FROM lease_slices WHERE wallet_id = ? AND held > 0", request.wallet_id
        )
        self._scenario.meetings["hold beside a lease of its wallet"] += bool(leases)
        return f"{made.hold_id} {request.amount}"

    def resolve(self) -> str:
        """Charge or free any hold, also one that had its end before."""
        holds = self._scenario.oracle.facts.holds
        if not holds:
            return "nothing"
        # Those of which nobody has decided are asked about more often, and most where it is too late.
        waiting = [hold_id for hold_id, held in holds.items() if not held.end]
        late = [hold_id for hold_id in waiting if holds[hold_id].expire_time <= self._now]
        hold_id = self._chance.choice(self._chance.choice((late, late, waiting, list(holds))) or list(holds))
        return self._capture(hold_id) if self._chance.random() < 0.6 else self._release(hold_id)

    def _capture(self, hold_id: str) -> str:
        held, facts = self._scenario.oracle.facts.holds[hold_id], self._scenario.oracle.facts
        amount = self._chance.choice((None, self._chance.randint(1, held.amount), held.amount + 1))
        wanted, expired = held.amount if amount is None else amount, held.expire_time <= self._now
        refusal: type[DomainError] | None = None
        if wanted > held.amount:
            refusal = AmountOutOfRange
        elif held.end and (held.end, held.captured) != ("captured", wanted):
            refusal = HoldConflict
        wallet = self._scenario.world.wallet
        try:
            after = wallet.capture_hold(held.organization_id, hold_id, amount=amount)
        except (AmountOutOfRange, HoldConflict) as error:
            require(refusal is type(error), f"{hold_id} of {held} could not be captured: {error.message}")
            self._scenario.meetings["hold charged against its end"] += refusal is HoldConflict
            return error.reason
        require(refusal is None, f"{hold_id} of {held} was captured with {wanted}")
        require(after.captured == wanted and not after.held, f"{hold_id} was captured as {after}")
        if not held.end:
            facts.holds[hold_id] = held._replace(end="captured", captured=wanted)
            facts.decided[held.organization_id] += wanted
            self._scenario.meetings["hold charged after it had expired"] += expired
            self._scenario.meetings["hold charged in part"] += not expired and wanted < held.amount
        return f"{hold_id} captured {wanted}"

    def _release(self, hold_id: str) -> str:
        held, facts = self._scenario.oracle.facts.holds[hold_id], self._scenario.oracle.facts
        try:
            self._scenario.world.wallet.release_hold(held.organization_id, hold_id)
        except HoldConflict as error:
            require(held.end == "captured", f"{hold_id} of {held} could not be freed: {error.message}")
            return error.reason
        require(held.end != "captured", f"{hold_id} was freed, and had been charged")
        if not held.end and held.expire_time > self._now:
            facts.holds[hold_id] = held._replace(end="released")
            self._scenario.meetings["hold freed"] += 1
        return f"{hold_id} freed"

    def free_all(self) -> None:
        """Free what nobody decided about."""
        for hold_id, held in list(self._scenario.oracle.facts.holds.items()):
            if not held.end:
                self._release(hold_id)


def check_holds(oracle: Oracle) -> None:
    """Every hold is as it was left, and has something set aside only while it waits."""
    rows = oracle.rows(
        "SELECT h.hold_id, h.state, h.captured, COALESCE(SUM(s.held), 0) FROM holds h "
        "LEFT JOIN hold_slices s ON s.organization_id = h.organization_id AND s.hold_id = h.hold_id "
        "GROUP BY h.hold_id, h.state, h.captured"
    )
    found = {str(hold_id): rest for hold_id, *rest in rows}
    known = oracle.facts.holds
    require(found.keys() == known.keys(), f"holds are not as they were made: {found.keys() ^ known.keys()}")
    for hold_id, (state, captured, aside) in found.items():
        held, now = known[hold_id], oracle.world.clock.now
        if held.end:
            due: tuple[object, ...] = (held.end, held.captured, 0)
        elif state == "pending":
            due = ("pending", None, held.amount)
        else:
            require(held.expire_time <= now, f"{hold_id} of {held} is {state} before its time")
            due = ("expired", 0, 0)
        require((state, captured, int(str(aside))) == due, f"{hold_id} is {state} {captured}, {aside}: {due}")
