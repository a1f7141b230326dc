"""Asks for leases: for one call, or for a wallet as a whole, where those who wait share one question."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

from om.edge.v1 import edge_service_pb2 as edge_pb
from om_proxy.admission.admitter import Admitter, Answered
from om_proxy.admission.ask import AMOUNT_MAX, Ask
from om_proxy.admission.payers import Payers
from om_proxy.defect import log_defect
from om_proxy.funding.drawers import Drawer, Drawers, Flight, LeaseUnusable
from om_proxy.funding.grant import Grant
from om_proxy.funding.lease_closing import LeaseClosing
from om_proxy.server.identity import Edge, new_admit_key
from om_proxy.server.server_client import ServerAway, ServerRefused

#: After a wallet refused a lease ahead of its need, it is not asked for one for so long.
REFILL_PAUSE_S = 1.0


class LeaseRequests:
    """What is asked of the server, and where its answers go."""

    def __init__(  # noqa: PLR0913 - the parts of one desk, named by the composition root
        self,
        edge: Edge,
        admitter: Admitter,
        closing: LeaseClosing,
        *,
        payers: Payers,
        drawers: Drawers,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._edge = edge
        self._admitter = admitter
        self._closing = closing
        self._payers = payers
        self._drawers = drawers
        self._clock = clock

    async def alone(self, ask: Ask, *, one_by_one: bool) -> Grant | edge_pb.Refusal | None:
        """Ask for this call alone: who pays is not known, or a hard limit may count it.

        None where the answer cannot be used any more. ServerAway, ServerRefused.
        """
        if self._admitter.away:
            raise ServerAway
        minimum = min(ask.needed or 0, AMOUNT_MAX)
        # A limit is reserved by a lease, if need be without money; what else has no bound takes nothing.
        want = max(1, minimum) if one_by_one else minimum
        request = ask.request(self._edge, new_admit_key(), minimum=minimum, want=want, max_intents=1)
        generation, epoch = self._payers.generation, self._edge.edge_epoch
        task = asyncio.create_task(self._admitter.admit(request, self._decline))
        try:
            answered = await asyncio.shield(task)
        except asyncio.CancelledError:
            # The caller left while the server decided.
            task.add_done_callback(self._disown)
            raise
        response = answered.response
        self._payers.note(ask, response, generation=generation)
        if not response.allowed:
            return response.refusal
        # Leases of an earlier epoch are never spent: the resync has told the server that nobody knows them.
        return self._granted(ask, answered) if epoch == self._edge.edge_epoch else None

    def ahead(self, drawer: Drawer, ask: Ask) -> Flight:
        """Ask for as much as calls will want, at least for what this one will, before they lack it."""
        return self._start(drawer, ask, ahead=True)

    def together(self, drawer: Drawer, ask: Ask) -> Flight:
        """Ask for as much as calls will want, at least for what this one lacks; None: something came."""
        return self._start(drawer, ask, ahead=False)

    def _start(self, drawer: Drawer, ask: Ask, *, ahead: bool) -> Flight:
        flight = drawer.flight = asyncio.create_task(self._fly(drawer, ask, ahead=ahead))
        flight.add_done_callback(_heard)
        return flight

    def _granted(self, ask: Ask, answered: Answered) -> Grant | None:
        response, lease = answered.response, answered.response.lease
        if not lease.lease_id:
            return Grant(response.wallet_id)
        if not self._drawers.put(response, asked_at=answered.asked_at):
            return None
        # Where nobody pays, or nobody knows how much, the lease stands for a limit.
        bound = lease.amount_nanos if ask.needed is None or not response.wallet_id else ask.needed
        purse = self._drawers.of(response.wallet_id).purse
        parts = purse.take_of(lease.lease_id, bound, self._clock())
        return Grant(response.wallet_id, parts) if parts is not None else None

    async def _fly(self, drawer: Drawer, ask: Ask, *, ahead: bool) -> edge_pb.Refusal | None:
        granted = False
        try:
            refusal = await self._question(drawer, ask, ahead=ahead)
            granted = refusal is None
        finally:
            # Before the task has ended: who awaits one that has gets its answer at once and for ever, and
            # the loop gets no turn to take it away.
            drawer.flight = None
            if not granted:
                drawer.refill_at = self._clock() + REFILL_PAUSE_S
        return refusal

    async def _question(self, drawer: Drawer, ask: Ask, *, ahead: bool) -> edge_pb.Refusal | None:
        now, purse, needed = self._clock(), drawer.purse, ask.needed or 0
        lacking = needed if ahead else needed - purse.within_reach_nanos(now)
        minimum = min(max(1, lacking), AMOUNT_MAX)
        wanted = purse.wanted_nanos(now)
        want = min(max(minimum, wanted - purse.left_nanos(now)), AMOUNT_MAX)
        request = ask.request(
            self._edge, new_admit_key(), minimum=minimum, want=want, max_intents=0 if wanted else 1
        )
        generation, epoch = self._payers.generation, self._edge.edge_epoch

        def late(answered: Answered | None) -> None:
            drawer.unanswered = False
            if answered is not None and epoch == self._edge.edge_epoch:
                with contextlib.suppress(LeaseUnusable):
                    self._accept(ask, answered, generation=generation)

        try:
            answered = await self._admitter.admit(request, late)
        except ServerAway:
            drawer.unanswered = True
            raise
        return self._accept(ask, answered, generation=generation) if epoch == self._edge.edge_epoch else None

    def _accept(self, ask: Ask, answered: Answered, *, generation: int) -> edge_pb.Refusal | None:
        """Put a lease where it belongs, which need not be where it was asked for; or give the refusal.

        LeaseUnusable.
        """
        response = answered.response
        self._payers.note(ask, response, generation=generation)
        if not response.allowed:
            return response.refusal
        if self._drawers.put(response, asked_at=answered.asked_at):
            self._drawers.of(response.wallet_id).wake(ask=False)
        return None

    def _decline(self, answered: Answered | None) -> None:
        """Give back what came for a call that is gone."""
        if answered is not None and answered.response.lease.lease_id:
            self._closing.decline(answered.response.lease.lease_id)

    def _disown(self, task: asyncio.Task[Answered]) -> None:
        if not task.cancelled() and task.exception() is None:
            self._decline(task.result())


def _heard(flight: Flight) -> None:
    """Hear how a question ended, for which nobody may be waiting any more."""
    if flight.cancelled():
        return
    error = flight.exception()
    if isinstance(error, Exception) and not isinstance(error, ServerAway | ServerRefused):
        log_defect("lease_failed", error)
