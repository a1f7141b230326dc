"""Gives calls their money: out of leases that lie here, and from the server where they are not enough.

A lease is asked for ahead when half of what is wanted is gone, and given back when nobody uses it, when a
neighbour needs it, or when its time is over.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from om.edge.v1 import edge_service_pb2 as edge_pb
from om.type.v1 import error_reason_pb2 as reasons
from om_proxy.admission.ask import Ask
from om_proxy.admission.lease_request import LeaseRequests
from om_proxy.admission.payers import Payer, Payers
from om_proxy.defect import log_defect
from om_proxy.funding.drawers import Drawer, Drawers
from om_proxy.funding.grant import Grant
from om_proxy.funding.purse import PARTS_MAX, RECALL_IDLE_S, Part
from om_proxy.server.server_client import ServerAway, ServerRefused

#: How long a call waits for money that neighbours or other calls give back, before it is refused.
SHORTFALL_WAIT_S = 0.5
_SWEEP_S = 0.25
#: How long a call stands in the queue for one wallet's leases. A round is lost where others were faster, so
#: that many rounds are no defect; each waits for an answer of the server, or for what wakes its drawer.
QUEUE_WAIT_S = 10.0

_SHORT = reasons.ERROR_REASON_INSUFFICIENT_FUNDS


@dataclass(frozen=True, slots=True)
class Refused:
    """The call may not be made: what the server said, and what lies here that is not enough either."""

    refusal: edge_pb.Refusal
    left_nanos: int = 0


class LeaseDesk:
    """Used on one event loop. Nothing here waits where a lease is there."""

    def __init__(
        self,
        requests: LeaseRequests,
        drawers: Drawers,
        payers: Payers,
        *,
        clock: Callable[[], float] = time.monotonic,
        shortfall_wait_s: float = SHORTFALL_WAIT_S,
    ) -> None:
        self._requests = requests
        self._drawers = drawers
        self._payers = payers
        self._clock = clock
        self._shortfall_wait_s = shortfall_wait_s

    @property
    def open(self) -> bool:
        """Whether calls may begin: there is room to write them down, and the edge goes on."""
        return self._drawers.open

    def draw(self, ask: Ask, payer: Payer) -> Grant | None:
        """Take a call's bound from what lies here."""
        return self._take(self._drawers.of(payer.wallet_id), ask)

    def note_demand(self, wallet_id: str, nanos: int) -> None:
        """Count what a call asks for. To be called once for each call: as much is asked for ahead."""
        self._drawers.of(wallet_id).purse.note_demand(nanos, self._clock())

    async def fund(self, ask: Ask, *, one_by_one: bool) -> Grant | Refused:
        """Get a call's bound from the server. ServerAway, ServerRefused.

        On a shortfall it waits once, for money that returns here or to the wallet, before it is refused.
        """
        loop = asyncio.get_running_loop()
        patience, deadline = loop.time() + QUEUE_WAIT_S, None
        while loop.time() < patience:
            payer = None if one_by_one or ask.needed is None else self._payers.known(ask)
            if payer is not None and payer.wallet_id:
                answer = await self._shared(self._drawers.of(payer.wallet_id), ask)
            else:
                answer = await self._alone(ask, one_by_one=one_by_one)
                payer = self._payers.last_known(ask)
                if not one_by_one and _is_short(answer) and deadline is None and self._has_drawer(ask):
                    # Now it is known whose money lies here, too.
                    continue
            if isinstance(answer, Grant):
                return answer
            if answer is None:
                continue
            deadline = deadline or loop.time() + self._shortfall_wait_s
            if not _is_short(answer) or payer is None or loop.time() >= deadline:
                return answer
            drawer = self._drawers.of(payer.wallet_id)
            grant = await self._wait(drawer, ask, deadline, one_by_one=one_by_one)
            if grant is not None:
                return grant
        raise ServerAway

    def give_back(self, grant: Grant, kept: Sequence[int]) -> None:
        """End a call, which keeps so much of each part of its grant."""
        if grant.parts:
            drawer = self._drawers.of(grant.wallet_id)
            drawer.purse.give_back(grant.parts, kept, self._clock())
            drawer.wake(ask=False)

    def cancel(self, grant: Grant) -> None:
        """Undo a grant for a call that never began: nothing that is written names its leases for it."""
        if grant.parts:
            drawer = self._drawers.of(grant.wallet_id)
            drawer.purse.untake(grant.parts)
            drawer.wake(ask=False)

    def extend(self, grant: Grant, nanos: int) -> bool:
        """Take more for a call in flight from what lies here; the grant's parts are then others."""
        if not grant.parts:
            return False
        purse, now = self._drawers.of(grant.wallet_id).purse, self._clock()
        parts = purse.extend(grant.parts, nanos, now)
        if parts is None:
            return False
        purse.note_demand(nanos, now)
        grant.parts = parts
        return True

    def unextend(self, grant: Grant, before: tuple[Part, ...]) -> None:
        """Undo an extension that was not written down; the grant's parts are those from before it."""
        parts, grant.parts = grant.parts, before
        drawer = self._drawers.of(grant.wallet_id)
        drawer.purse.unextend(parts, before)
        drawer.wake(ask=False)

    def ask_ahead(self, grant: Grant, ask: Ask) -> None:
        """Ask for what a call in flight will want, without waiting for the answer."""
        drawer = self._drawers.of(grant.wallet_id)
        if drawer.flight is None and not drawer.unanswered and self._clock() >= drawer.refill_at:
            drawer.flight = self._requests.ahead(drawer, ask)

    async def stretch(self, grant: Grant, ask: Ask) -> bool:
        """Take more for a call in flight, from the server where it is not here. ServerAway, ServerRefused.

        On a shortfall it waits once, for money that returns here or to the wallet.
        """
        loop = asyncio.get_running_loop()
        drawer = self._drawers.of(grant.wallet_id)
        patience, deadline = loop.time() + QUEUE_WAIT_S, None
        while loop.time() < patience:
            if self.extend(grant, ask.needed or 0):
                return True
            if drawer.unanswered:
                raise ServerAway
            if len(grant.parts) == PARTS_MAX:
                # Another lease would be one more than an event may name.
                return False
            leads = drawer.pending is None
            try:
                refusal = await asyncio.shield(drawer.pending or self._requests.ahead(drawer, ask))
            except ServerRefused:
                if leads:
                    raise
                # Another call's key may be revoked, which is no reason to end this one.
                continue
            if refusal is None:
                if self._pays_another(ask, grant):
                    return self.extend(grant, ask.needed or 0)
                continue
            deadline = deadline or loop.time() + self._shortfall_wait_s
            if refusal.reason != _SHORT or loop.time() >= deadline:
                return self.extend(grant, ask.needed or 0)
            await drawer.woken(deadline)
        return False

    def recall(self, lease_id: str) -> None:
        """Give a lease back as soon as no call takes from it: a neighbour needs the money."""
        if self._drawers.recall(lease_id):
            self._drawers.sweep()
            asyncio.get_running_loop().call_later(2 * RECALL_IDLE_S, self._drawers.sweep)

    def funds_changed(self, wallet_id: str) -> None:
        """Ask again for those who wait: the wallet has something, or has run out."""
        self._drawers.funds_changed(wallet_id)

    async def run(self) -> None:
        """Give back what is due, for as long as the edge lives."""
        while True:
            await asyncio.sleep(_SWEEP_S)
            try:
                self._drawers.sweep()
            except Exception as error:  # noqa: BLE001 - without this task no lease would ever be given back.
                log_defect("leases_not_swept", error)

    def _take(self, drawer: Drawer, ask: Ask) -> Grant | None:
        now = self._clock()
        parts = drawer.purse.take(ask.needed or 0, now)
        if parts is None:
            return None
        free = drawer.flight is None and not drawer.unanswered and now >= drawer.refill_at
        if free and drawer.purse.low(now):
            drawer.flight = self._requests.ahead(drawer, ask)
        return Grant(drawer.wallet_id, parts)

    def _pays_another(self, ask: Ask, grant: Grant) -> bool:
        """Whether what was asked for a call in flight now comes out of another wallet than its own."""
        payer = self._payers.last_known(ask)
        return payer is not None and payer.wallet_id != grant.wallet_id

    def _has_drawer(self, ask: Ask) -> bool:
        payer = self._payers.known(ask)
        return payer is not None and payer.wallet_id != ""

    async def _alone(self, ask: Ask, *, one_by_one: bool) -> Grant | Refused | None:
        answer = await self._requests.alone(ask, one_by_one=one_by_one)
        if answer is None or isinstance(answer, Grant):
            return answer
        payer = self._payers.last_known(ask)
        return Refused(answer, self._drawers.left_nanos(payer.wallet_id) if payer is not None else 0)

    async def _shared(self, drawer: Drawer, ask: Ask) -> Grant | Refused | None:
        """Wait for the question that is in flight, or ask it; None where others took what came."""
        if (grant := self._take(drawer, ask)) is not None:
            return grant
        if drawer.unanswered:
            raise ServerAway
        leads = drawer.pending is None
        flight = drawer.pending or self._requests.together(drawer, ask)
        try:
            refusal = await asyncio.shield(flight)
        except ServerRefused:
            if leads:
                raise
            # Another call's key may be revoked, which is no reason to refuse this one.
            return None
        if (grant := self._take(drawer, ask)) is not None:
            return grant
        if refusal is None:
            return None
        left = drawer.purse.left_nanos(self._clock())
        enough = refusal.reason == _SHORT and (ask.needed or 0) <= refusal.available_nanos + left
        # What another call was refused for need not be true of this one.
        return Refused(refusal, left) if leads or (refusal.reason == _SHORT and not enough) else None

    async def _wait(self, drawer: Drawer, ask: Ask, deadline: float, *, one_by_one: bool) -> Grant | None:
        """Wait for what returns here, or until the wallet may have more; no longer than the deadline."""
        while (wallet_has_more := await drawer.woken(deadline)) is not None:
            if not one_by_one and (grant := self._take(drawer, ask)) is not None:
                return grant
            if wallet_has_more:
                return None
        return None


def _is_short(answer: Grant | Refused | None) -> bool:
    return isinstance(answer, Refused) and answer.refusal.reason == _SHORT
