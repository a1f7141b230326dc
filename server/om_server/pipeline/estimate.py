"""The most that a call may use, and what that asks of limits. Unknown is never zero."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from om_server.core.errors import Code, DomainError
from om_server.core.usage import INFORMATIONAL_UNITS
from om_server.wallet.limits.limit import COST, CREDITS, EVENTS, MONEY_UNITS, Demand, Subject

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from om_server.core.event import Attribution
    from om_server.wallet.limits.limit import Limit

_OUTPUT = "output_tokens"


class PriceUnknown(DomainError):
    """A strict wallet or a hard limit is concerned, and nobody knows how much the call may cost."""

    code = Code.FAILED_PRECONDITION
    reason = "PRICE_UNKNOWN"

    def __init__(self, provider: str, model: str) -> None:
        super().__init__(f"{provider} {model} has no price", provider=provider, model=model)


class BoundUnknown(DomainError):
    """A hard limit counts a unit of which nobody knows how much the call may use."""

    code = Code.FAILED_PRECONDITION
    reason = "BOUND_UNKNOWN"

    def __init__(self, unit: str) -> None:
        super().__init__(f"how much {unit} the call may use has no bound", field=unit)


class UserWalletRequired(DomainError):
    """The organization lets only users with a wallet of their own start something."""

    code = Code.FAILED_PRECONDITION
    reason = "USER_WALLET_REQUIRED"

    def __init__(self) -> None:
        super().__init__("the organization needs a user with a wallet")


@dataclass(frozen=True, slots=True)
class Asker:
    """Whose call it is, by the credential that it came with."""

    organization_id: str
    team_id: str


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a call may use at most: nano-credits, nano-dollars, and units in their steps.

    None is not known. `asks_only` uses nothing, and asks whether anything is left.
    """

    provider: str = ""
    model: str = ""
    charge: int | None = None
    cost: int | None = None
    quantities: Mapping[str, int] | None = None
    asks_only: bool = False

    def of(self, unit: str) -> int | None:
        """Return how much of a limit's unit, None if nobody knows; a unit that is not named is not used."""
        if unit == EVENTS:
            return 1
        if unit in MONEY_UNITS:
            return self.charge if unit == CREDITS else self.cost
        if self.quantities is None:
            return None
        if unit in INFORMATIONAL_UNITS and unit not in self.quantities:
            # It is counted in the output, which bounds it.
            return self.quantities.get(_OUTPUT, 0)
        return self.quantities.get(unit, 0)


def subject_of(attribution: Attribution, *, team_id: str, key_id: str) -> Subject:
    """Return what the event will say. No limit names the organization as its customer, so it may stay."""
    return Subject(
        feature_id=attribution.feature_id,
        user_id=attribution.user_id,
        customer_id=attribution.customer_id,
        team_id=team_id,
        key_id=key_id,
        tags=attribution.tags,
    )


def counts_cost(limits: Sequence[Limit]) -> bool:
    """Whether the cost of a call must be known for any of these."""
    return any(limit.unit == COST for limit in limits)


def demands_of(limits: Sequence[Limit], subject: Subject, estimate: Estimate, *, now: int) -> list[Demand]:
    """Return what a call asks of the limits that count it.

    PRICE_UNKNOWN or BOUND_UNKNOWN where a hard limit holds and nobody knows how much it asks.
    """
    found = []
    for limit in limits:
        demand = Demand(limit, None, subject.user_id if limit.selector.each_user else "")
        if not estimate.asks_only:
            amount, terms = estimate.of(limit.unit), limit.terms(now)
            if amount is None and terms is not None and terms.refuses:
                unpriced = limit.unit in MONEY_UNITS
                raise (
                    PriceUnknown(estimate.provider, estimate.model) if unpriced else BoundUnknown(limit.unit)
                )
            demand = replace(demand, amount=amount)
        found.append(demand)
    return found
