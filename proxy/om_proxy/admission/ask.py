"""What admission is asked about one call, and what its refusal is called."""

from __future__ import annotations

import structlog

from om.edge.v1 import edge_service_pb2 as edge_pb
from om.type.v1 import error_reason_pb2 as reasons
from om_proxy.admission.keys import Key
from om_proxy.admission.labels import attribution_of
from om_proxy.admission.rate_cards import Card
from om_proxy.call.bound import Bound
from om_proxy.call.call import Call
from om_proxy.call.clamp import affordable_cap
from om_proxy.dialects.attribution import Attribution
from om_proxy.metering.usage import Unit
from om_proxy.refusals import problem
from om_proxy.refusals.refusal import Problem
from om_proxy.server.identity import Edge
from om_proxy.server.server_client import ServerRefused
from om_proxy.value import value_type

_log = structlog.get_logger(__name__)

#: The contract's maximum of an amount. No wallet has as much, so what needs more is refused all the same.
AMOUNT_MAX = 2**62
_STEPS_PER_RATE = 1_000_000
_COST_UNKNOWN = (reasons.ERROR_REASON_PRICE_UNKNOWN, reasons.ERROR_REASON_BOUND_UNKNOWN)

_KEY_ENDED = frozenset({"KEY_REVOKED", "NOT_FOUND"})

#: Key, customer and user: who pays depends on nothing else.
Scope = tuple[str, str, str]


@value_type(frozen=True, slots=True)
class Ask:
    """One call before it is admitted."""

    event_id: str
    key: Key
    call: Call
    who: Attribution
    card: Card
    bounds: tuple[Bound, ...]  # Of each model that may run, its own first; none where there is none.
    needed: int | None  # Nano-credits at most; None where nobody knows.
    unbounded_field: str | None = None  # What leaves the call without a bound.
    sliced: bool = False  # The output's bound is only its first slice.

    @property
    def scope(self) -> Scope:
        """By what it is remembered who pays."""
        return (self.key.key_id, self.who.customer_id, self.who.user_id)

    def request(
        self, edge: Edge, admit_key: str, *, minimum: int, want: int, max_intents: int
    ) -> edge_pb.AdmitRequest:
        """Ask for a lease, or with `want` 0 only who pays."""
        units: dict[Unit, int] = {}
        for bound in self.bounds:
            for unit, amount in bound.per_unit().items():
                units[unit] = units.get(unit, 0) + amount
        return edge_pb.AdmitRequest(
            edge=edge.to_proto(),
            idempotency_key=admit_key,
            key_id=self.key.key_id,
            attribution=attribution_of(self.who),
            provider=self.call.provider,
            model=self.call.model,
            bound=[
                edge_pb.UnitBound(unit=unit, amount=min(amount, AMOUNT_MAX)) for unit, amount in units.items()
            ],
            bound_nanos=min(self.needed or 0, AMOUNT_MAX),
            min_nanos=minimum,
            want_nanos=want,
            max_intents=max_intents,
            priced=self.needed is not None,
        )

    def output_affordable(self, available: int) -> int | None:
        """The largest output cap that fits beside the rest of the bound; None if none, or nobody can tell."""
        if len(self.bounds) != 1 or self.needed is None or self.bounds[0].instead:
            return None
        units = self.call.demand.output_units
        output = next((ceiling for ceiling in self.bounds[0].ceilings if ceiling.units == units), None)
        if output is None or not output.units:
            return None
        rate = max(self.card.rates.per_million.get(unit, 0) for unit in output.units)
        if not rate or not output.amount:
            return None
        rest = self.needed - output.amount * rate // _STEPS_PER_RATE
        affordable = (available - rest) * _STEPS_PER_RATE // rate
        return affordable_cap(self.call.demand, min(affordable, output.amount))

    def _cap_affordable(self, available: int) -> int | None:
        tokens = self.output_affordable(available)
        return affordable_cap(self.call.demand, tokens) if tokens is not None else None

    def refused(self, refusal: edge_pb.Refusal, *, left: int = 0) -> Problem:
        """Say the server's refusal in the words of the proxy's own list; `left` is what lies here."""
        reason = refusal.reason
        if reason == reasons.ERROR_REASON_INSUFFICIENT_FUNDS:
            available = refusal.available_nanos + left
            return problem.insufficient_credits(
                needed_nanos=self.needed or 0,
                available_nanos=available,
                output_tokens_max=self._cap_affordable(available),
            )
        if reason in _COST_UNKNOWN:
            return self.cost_unknown()
        if reason == reasons.ERROR_REASON_LIMIT_REACHED:
            return problem.limit_reached(limit_id=refusal.limit_id, window=refusal.window)
        if reason == reasons.ERROR_REASON_USER_WALLET_REQUIRED:
            return problem.user_wallet_required()
        if reason == reasons.ERROR_REASON_WALLET_BLOCKED:
            return problem.wallet_blocked()
        return problem.unavailable()

    def cost_unknown(self) -> Problem:
        """Say why nobody knows what the call may cost."""
        if self.unbounded_field is not None:
            return problem.cost_unbounded(self.unbounded_field)
        return problem.price_unknown(provider=self.call.provider, model=self.call.model)


def problem_of_error(refused: ServerRefused) -> Problem:
    """A key that ended between its look-up and now is an invalid key; anything else is our trouble."""
    if refused.reason in _KEY_ENDED:
        return problem.invalid_api_key()
    _log.error("server_refused", reason=refused.reason)
    return problem.unavailable()
