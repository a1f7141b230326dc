"""Asks the server for leases.

A question whose answer was lost is repeated, the same, until it is answered: money may be set aside, and the
same key finds it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from om.edge.v1 import edge_service_pb2 as edge_pb
from om_proxy.backoff import Backoff
from om_proxy.defect import log_defect
from om_proxy.server.incarnation import Incarnation
from om_proxy.server.server_client import ServerAway, ServerClient, ServerRefused

_log = structlog.get_logger(__name__)

#: Questions without an answer that are repeated; what is beyond is left to the edge's next resync.
_UNANSWERED_MAX = 1_000
_RETRY_DELAY_S = 0.2
_RETRY_DELAY_MAX_S = 2.0
#: How long a call waits for an edge that is not known to the server yet, before it is refused.
_READY_WAIT_S = 2.0


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer, and when it was asked for: a lease's time is counted from there, which is never too late."""

    response: edge_pb.AdmitResponse
    asked_at: float


class _NothingTaken(ServerAway):
    """The server does not know this epoch, so it has set nothing aside."""


#: Takes in an answer that nobody waits for any more; None where there was nothing to answer.
Late = Callable[[Answered | None], None]


class Admitter:
    """The only one who calls Admit."""

    def __init__(  # noqa: PLR0913 - who is told what an answer says, named by the composition root
        self,
        server: ServerClient,
        incarnation: Incarnation,
        *,
        ready: asyncio.Event,
        on_forgotten: Callable[[int], None],
        on_stale: Callable[[int], None],
        on_answer: Callable[[edge_pb.AdmitRequest, edge_pb.AdmitResponse], None],
        clock: Callable[[], float] = time.monotonic,
        retry_delay_s: float = _RETRY_DELAY_S,
    ) -> None:
        """`ready`: whether the server knows this epoch. The others hear of an epoch what is wrong with it.

        `on_forgotten`: the server knew it, and knows it no more. `on_stale`: another process speaks for it.
        """
        self._server = server
        self._incarnation = incarnation
        self._ready = ready
        self._on_forgotten = on_forgotten
        self._on_stale = on_stale
        self._on_answer = on_answer
        self._clock = clock
        self._retry_delay_s = retry_delay_s
        self._unanswered: set[asyncio.Task[None]] = set()

    @property
    def away(self) -> bool:
        """Whether the server could not be reached a moment ago."""
        return self._server.away

    async def admit(self, request: edge_pb.AdmitRequest, late: Late) -> Answered:
        """Ask. ServerAway: nobody knows yet, and `late` gets the answer when there is one. ServerRefused."""
        try:
            return await self._once(request)
        except _NothingTaken:
            self._give_up(late)
            raise
        except ServerAway:
            self._ask_again(request, late)
            raise

    async def question(self, request: edge_pb.AdmitRequest) -> edge_pb.AdmitResponse:
        """Ask what takes nothing, so that a lost answer is nothing lost. ServerAway, ServerRefused."""
        return (await self._once(request)).response

    async def close(self, grace_s: float) -> None:
        """Wait a little for what is unanswered, and give it up: the next resync tells the server."""
        if not self._unanswered:
            return
        _, unanswered = await asyncio.wait(self._unanswered, timeout=grace_s)
        if unanswered:
            _log.error("admissions_unanswered", count=len(unanswered))
        for task in unanswered:
            task.cancel()
        await asyncio.gather(*unanswered, return_exceptions=True)

    async def _once(self, request: edge_pb.AdmitRequest) -> Answered:
        """Ask once. An edge of which the server has not heard gets nothing, so it is not asked."""
        if not await self._is_ready():
            raise _NothingTaken
        asked_at = self._clock()
        try:
            response = await self._server.ask(self._server.edge.Admit, request)
        except ServerRefused as refused:
            if refused.reason == "EDGE_EPOCH_STALE":
                self._on_stale(request.edge.edge_epoch)
            if refused.reason != "EDGE_NOT_RESYNCED":
                raise
            self._on_forgotten(request.edge.edge_epoch)
            raise _NothingTaken from None
        self._incarnation.note(response.incarnation)
        self._on_answer(request, response)
        return Answered(response, asked_at)

    async def _is_ready(self) -> bool:
        """Wait a little where the edge is about to be known: at its start, or after a change of store.

        A server that is away will not know it soon, and no call is held up for that.
        """
        if not self._ready.is_set() and not self._server.away:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_READY_WAIT_S):
                    await self._ready.wait()
        return self._ready.is_set()

    def _ask_again(self, request: edge_pb.AdmitRequest, late: Late) -> None:
        if len(self._unanswered) >= _UNANSWERED_MAX:
            _log.error("admission_unanswered", admit_key=request.idempotency_key)
            self._give_up(late)
            return
        task = asyncio.create_task(self._until_answered(request, late))
        self._unanswered.add(task)
        task.add_done_callback(self._unanswered.discard)

    def _give_up(self, late: Late) -> None:
        # Behind the caller, who is about to note that a question has no answer yet.
        asyncio.get_running_loop().call_soon(late, None)

    async def _until_answered(self, request: edge_pb.AdmitRequest, late: Late) -> None:
        backoff = Backoff(self._retry_delay_s, most_s=_RETRY_DELAY_MAX_S)
        while True:
            await backoff.pause()
            try:
                answered = await self._once(request)
            except ServerAway:
                continue
            except ServerRefused:
                answered = None
            except Exception as error:  # noqa: BLE001 - without an end nobody would ask for this wallet again.
                log_defect("admission_failed", error)
                answered = None
            late(answered)
            return
