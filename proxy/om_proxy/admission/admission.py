"""Decides before a call whether it may be made: the bound, who pays, and the money out of a lease here.

No question stands between a call and its provider where all of it is known and a lease is there.
"""

from __future__ import annotations

from dataclasses import replace

from om_proxy.admission.ask import Ask, problem_of_error
from om_proxy.admission.keys import Key, KeyRing
from om_proxy.admission.lease_desk import LeaseDesk, Refused
from om_proxy.admission.limit_warnings import LimitWarnings
from om_proxy.admission.outcome import Intent
from om_proxy.admission.payers import Mode, Payer, Payers
from om_proxy.admission.rate_cards import Card, RateCards
from om_proxy.admission.stretch import Stretch
from om_proxy.call.bound import SLICE_TOKENS, Bound, Unbounded, bound, sliced
from om_proxy.call.call import Call
from om_proxy.dialects.attribution import Attribution
from om_proxy.funding.grant import Grant
from om_proxy.refusals import problem
from om_proxy.refusals.refusal import Problem
from om_proxy.server.server_client import ServerAway, ServerRefused

#: Modes in which a call may go on without money while the server is away.
_LENIENT = frozenset({Mode.NOBODY, Mode.SOFT})
#: Modes in which leases are spent.
_LEASING = frozenset({Mode.STRICT, Mode.SOFT})


class Admissions:
    """Gives an intent for every call that may be made."""

    def __init__(  # noqa: PLR0913 - what a decision rests on, named by the composition root
        self,
        keys: KeyRing,
        cards: RateCards,
        payers: Payers,
        *,
        desk: LeaseDesk,
        warnings: LimitWarnings,
        grace_s: float,
    ) -> None:
        """`grace_s`: how long calls go on without money while the server is away, where that is allowed."""
        self._keys = keys
        self._cards = cards
        self._payers = payers
        self._desk = desk
        self._warnings = warnings
        self._grace_s = grace_s

    async def admit(self, event_id: str, key: Key, *, call: Call, who: Attribution) -> Intent | Problem:
        """Decide about a call; the simulator's may always be made, and what consumes nothing."""
        if who.sandbox or key.test_mode or not call.billable:
            return Intent(event_id, key, who, call, Grant())
        if not self._desk.open:
            # Its intent could not be written down, so nothing is taken for it either.
            return problem.unavailable()
        try:
            ask = await self._ask(event_id, key, call=call, who=who)
        except ServerAway:
            # Enough to tell whether a hard limit may count the call; not what to take from a lease.
            card = self._cards.ended(key, who.customer_id, provider=call.provider, model=call.model)
            if card is None:
                return problem.unavailable()
            return self._without_server(Ask(event_id, key, call, who, card, (), None))
        except ServerRefused as refused:
            return problem_of_error(refused)
        try:
            granted = await self._granted(ask)
        except ServerAway:
            return self._without_server(ask)
        except ServerRefused as refused:
            return problem_of_error(refused)
        return granted if isinstance(granted, Problem) else self._intent(ask, granted)

    def _intent(self, ask: Ask, grant: Grant) -> Intent:
        rates_of = self._cards.rates_of(
            ask.key, ask.who.customer_id, model=ask.call.model, rates=ask.card.rates
        )
        return Intent(
            ask.event_id,
            ask.key,
            ask.who,
            ask.call,
            grant,
            rates_of,
            stretch=self._stretch(ask, grant),
            limit_warnings=self._warnings.of(ask.key, ask.who),
        )

    def _stretch(self, ask: Ask, grant: Grant) -> Stretch | None:
        if not (ask.sliced and grant.parts):
            return None
        payer = self._payers.last_known(ask)
        lenient = payer is not None and payer.mode is Mode.SOFT
        most = ask.card.rates.limits.max_output
        return Stretch(ask, grant, self._desk, most=most, lenient=lenient)

    async def _granted(self, ask: Ask) -> Grant | Problem:
        """Take the money for a call. ServerAway, ServerRefused."""
        one_by_one = ask.card.one_by_one(ask.key, ask.who)
        if not one_by_one:
            self._count(ask)
        payer = self._payers.known(ask)
        if payer is not None and not one_by_one:
            decided = self._decided(ask, payer)
            if decided is not None:
                return decided
        answer = await self._desk.fund(ask, one_by_one=one_by_one)
        if isinstance(answer, Refused):
            return ask.refused(answer.refusal, left=answer.left_nanos)
        return answer

    def _count(self, ask: Ask) -> None:
        """Count what a call asks for, once, whether it gets it from here, from the server, or not at all."""
        if ask.call.output_clamped is not None:
            # It was counted when it asked for more, and was refused.
            return
        payer = self._payers.last_known(ask)
        if payer is not None and payer.mode in _LEASING and ask.needed is not None:
            self._desk.note_demand(payer.wallet_id, ask.needed)

    def _decided(self, ask: Ask, payer: Payer) -> Grant | Problem | None:
        """Decide without the server; None where it has to be asked."""
        if payer.mode is Mode.NOT_ALLOWED:
            return problem.user_wallet_required()
        if payer.mode is Mode.NOBODY:
            return Grant()
        if ask.needed is None:
            return ask.cost_unknown() if payer.mode is Mode.STRICT else None
        return self._desk.draw(ask, payer)

    async def _ask(self, event_id: str, key: Key, *, call: Call, who: Attribution) -> Ask:
        """Bound a call: each model that may run in it at its own card."""
        own = await self._card(key, who, call.provider, call.model)
        limits: list[Bound] = []
        needed: int | None = 0
        # A limit counts what it reserves once, so a call that it counts holds all that it may come to.
        slices = sliced(call, own.rates.limits) and not own.one_by_one(key, who)
        first = replace(call, demand=replace(call.demand, output_max=SLICE_TOKENS)) if slices else call
        parts = [first, *(replace(call, model=share.model, demand=share.demand) for share in call.shares)]
        for part in parts:
            same = part.model == call.model
            card = own if same else await self._card(key, who, call.provider, part.model)
            limit = bound(part, card.rates.limits)
            if isinstance(limit, Unbounded):
                field = limit.field if card.rates.priced else None
                return Ask(event_id, key, call, who, own, (), None, field)
            limits.append(limit)
            needed = _sum(needed, card.rates.bound_nanos(limit))
        return Ask(event_id, key, call, who, own, tuple(limits), needed, sliced=slices)

    async def _card(self, key: Key, who: Attribution, provider: str, model: str) -> Card:
        card = self._cards.known(key, who.customer_id, provider=provider, model=model)
        if card is not None:
            return card
        return await self._cards.find(key, who.customer_id, provider=provider, model=model)

    def _without_server(self, ask: Ask) -> Intent | Problem:
        """Let a call go on from a lease that is here, or flagged for a while where its payer allows it."""
        payer = self._payers.last_known(ask)
        if payer is None or ask.card.one_by_one(ask.key, ask.who):
            return problem.unavailable()
        if payer.mode in _LEASING and ask.needed is not None:
            grant = self._desk.draw(ask, payer)
            if grant is not None:
                return self._intent(ask, grant)
        if payer.mode in _LENIENT and self._keys.unconfirmed_s(ask.who.api_key) < self._grace_s:
            return self._intent(ask, Grant(payer.wallet_id, unfunded=True))
        return problem.unavailable()


def _sum(one: int | None, other: int | None) -> int | None:
    """Add what is known; what is not known stays so."""
    return None if one is None or other is None else one + other
