"""Asks admission whether something may be done, without an edge and without taking anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from om_server.core.money import USD
from om_server.pipeline.admission import Admission, AdmissionRequest, Decision
from om_server.pipeline.estimate import Asker, Estimate
from om_server.wallet.leases.lease import EdgeIdentity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from om_server.core.event import Attribution, UsageLine
    from om_server.core.money import Money
    from om_server.rating.operations import RatingOperations
    from om_server.rating.rate import Rating
    from om_server.storage.database import Database
    from om_server.wallet.operations import WalletOperations

_NO_EDGE = ("", 0, "")


@dataclass(frozen=True, slots=True)
class Figures:
    """What lines would cost and be charged; None is not known."""

    charge: Money | None = None
    cost: Money | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """The decision, what it was made from, and what the paying wallet has available."""

    decision: Decision
    estimate: Figures
    available: int | None


class EntitlementCheck:
    """The path of admission with nothing wanted."""

    def __init__(
        self, database: Database, admission: Admission, *, rating: RatingOperations, wallet: WalletOperations
    ) -> None:
        self._database = database
        self._admission = admission
        self._rating = rating
        self._wallet = wallet

    def check(
        self, asker: Asker, key_id: str, *, attribution: Attribution, lines: Sequence[UsageLine]
    ) -> Answer:
        """Decide about lines; without lines, whether anything is left."""
        figures, estimate = Figures(), Estimate(asks_only=True)
        if lines:
            rating = self._rating.rate_lines(
                lines, at=None, organization_id=asker.organization_id, attribution=attribution
            )
            figures, estimate = Figures(rating.charge, rating.cost), _estimate(lines, rating)
        charge = estimate.charge or 0
        request = AdmissionRequest(
            edge=EdgeIdentity(*_NO_EDGE),
            admit_key="",
            key_id=key_id,
            attribution=attribution,
            provider=estimate.provider,
            model=estimate.model,
            bound=estimate.quantities or {},
            bound_nanos=charge,
            # Of a wallet too, who asks without lines is told whether anything is left.
            min_nanos=1 if estimate.asks_only else charge,
            want_nanos=0,
            max_intents=1,
            priced=estimate.asks_only or estimate.charge is not None,
        )

        def read() -> Answer:
            decision = self._admission.check(asker, request, estimate)
            available = decision.available
            if decision.wallet_id and available is None:
                wallet = self._wallet.get_wallet(asker.organization_id, wallet_id=decision.wallet_id)
                available = wallet.available
            return Answer(decision, figures, available)

        return self._database.read(read)


def _estimate(lines: Sequence[UsageLine], rating: Rating) -> Estimate:
    """Sum the lines. An unknown amount of any unit leaves every unit unknown."""
    quantities: dict[str, int] | None = {}
    for line in lines:
        for quantity in line.usage.quantities:
            if quantity.amount is None:
                quantities = None
            if quantities is not None and quantity.amount is not None:
                quantities[quantity.unit] = quantities.get(quantity.unit, 0) + quantity.amount
    charge, cost = rating.charge, rating.cost
    return Estimate(
        provider=lines[0].provider,
        model=lines[0].model,
        # Without either the event would be unrated.
        charge=None if charge is None or cost is None else charge.nanos,
        # Costs are summed in dollars.
        cost=None if cost is None or (cost.nanos and cost.currency != USD) else cost.nanos,
        quantities=quantities,
    )
