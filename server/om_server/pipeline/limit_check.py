"""Which limits a call meets, and the gate that its lease goes through."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from om_server.pipeline.estimate import Estimate, counts_cost, demands_of
from om_server.wallet.limits.gate import Unlimited
from om_server.wallet.limits.limit import LimitReached, refusing, warnings

if TYPE_CHECKING:
    from om_server.core.clock import Clock
    from om_server.rating.operations import RatingOperations
    from om_server.wallet.limits.gate import LimitGate
    from om_server.wallet.limits.limit import Standing, Subject
    from om_server.wallet.limits.operations import LimitOperations


@dataclass(frozen=True, slots=True)
class Passage:
    """What limits say to a call so far: the gate has yet to be passed."""

    gate: LimitGate = field(default_factory=Unlimited)
    #: Whether the call reserves, so that its lease is for it alone, with or without money.
    reserves: bool = False
    #: The soft limits that the call passes, those that will be passed longest first.
    warnings: tuple[Standing, ...] = ()


class LimitCheck:
    """Asks limits on behalf of admission."""

    def __init__(self, limits: LimitOperations, rating: RatingOperations, *, clock: Clock) -> None:
        self._limits = limits
        self._rating = rating
        self._clock = clock

    def passage(self, organization_id: str, subject: Subject, estimate: Estimate, *, asking: bool) -> Passage:
        """Return the way to a lease; who is only `asking` gets the refusal at once, and reserves nothing.

        LIMIT_REACHED, PRICE_UNKNOWN or BOUND_UNKNOWN.
        """
        now = self._clock()
        limits = self._limits.matching(organization_id, subject)
        if not limits:
            return Passage()
        if counts_cost(limits) and estimate.cost is None and estimate.quantities is not None:
            cost = self._rating.cost_bound(
                organization_id, estimate.quantities, provider=estimate.provider, model=estimate.model
            )
            estimate = replace(estimate, cost=cost)
        demands = demands_of(limits, subject, estimate, now=now)
        if asking:
            standings = self._limits.standings(organization_id, demands)
            refused = refusing(standings)
            if refused is not None:
                raise LimitReached(refused)
            return Passage(warnings=warnings(standings))
        binding = [demand for demand in demands if demand.limit.reserves(now)]
        others = [demand for demand in demands if not demand.limit.reserves(now)]
        return Passage(
            gate=self._limits.gate(organization_id, binding),
            reserves=bool(binding),
            warnings=warnings(self._limits.standings(organization_id, others)),
        )

    def scopes(self, organization_id: str, customer_id: str) -> tuple[tuple[str, str], ...]:
        """Return by which kinds and ids an edge tells what must be admitted one by one."""
        return self._limits.hard_scopes(organization_id, customer_id)
