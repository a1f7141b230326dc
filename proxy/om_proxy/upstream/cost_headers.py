"""What a call cost and what is left, for a caller who asked to be told with the answer.

The only place where an RPC stands between an answer and its caller: a short deadline bounds it, and what is
not known by then is left out. The caller's own key asks, so a key that may not read costs is told none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

import grpc
import structlog

from om.rating.v1 import rating_service_pb2 as rating_pb
from om.type.v1 import event_pb2
from om.wallet.v1 import wallet_service_pb2 as wallet_pb
from om_proxy.defect import log_defect
from om_proxy.refusals.refusal import credits_text
from om_proxy.secret import Secret
from om_proxy.server.server_client import ServerClient
from om_proxy.upstream.headers import HeaderList

_log = structlog.get_logger(__name__)

ResponseT = TypeVar("ResponseT")

DEADLINE_S = 1.0

COST = "x-om-cost"
CURRENCY = "x-om-cost-currency"
CREDITS = "x-om-credits"
BALANCE = "x-om-balance"
NAMES = (COST, CURRENCY, CREDITS, BALANCE)

_FREE = event_pb2.OUTCOME_ZERO
_OPEN = frozenset({event_pb2.OUTCOME_DEFERRED, event_pb2.OUTCOME_UNKNOWN})


class CostHeaders:
    """Asks the server for the exact figures of an event that is not reported yet."""

    def __init__(self, server: ServerClient, *, deadline_s: float = DEADLINE_S) -> None:
        self._server = server
        self._deadline_s = deadline_s

    async def of(self, key: Secret, event: event_pb2.UsageEvent) -> HeaderList:
        """Give the headers that can be said; none where nothing is known. Never fails."""
        try:
            return await self._of(key, event)
        except Exception as error:  # noqa: BLE001 - the answer is there, and is the caller's.
            log_defect("cost_headers_failed", error, event_id=event.event_id)
            return []

    async def _of(self, key: Secret, event: event_pb2.UsageEvent) -> HeaderList:
        if event.outcome in _OPEN:
            return []
        metadata = grpc.aio.Metadata(("authorization", f"Bearer {key.reveal()}"))
        rating, wallet = await asyncio.gather(self._rating(event, metadata), self._wallet(event, metadata))
        headers: HeaderList = []
        free = event.outcome == _FREE or event.sandbox
        if free:
            headers.append((COST, "0"))
        elif rating is not None and rating.HasField("cost"):
            headers += [
                (COST, credits_text(rating.cost.amount_nanos)),
                (CURRENCY, rating.cost.currency_code),
            ]
        charge = 0 if free else None
        if rating is not None and rating.HasField("charge"):
            charge = rating.charge.amount_nanos
        if charge is None:
            return headers
        headers.append((CREDITS, credits_text(charge)))
        if wallet is not None and wallet.HasField("posted"):
            headers.append((BALANCE, credits_text(wallet.posted.amount_nanos - charge)))
        return headers

    async def _rating(
        self, event: event_pb2.UsageEvent, metadata: grpc.aio.Metadata
    ) -> rating_pb.Rating | None:
        if event.outcome == _FREE or event.sandbox or not event.lines:
            return None
        request = rating_pb.RateUsageRequest(
            lines=event.lines, at_time=event.occur_time, attribution=event.attribution
        )
        call = self._server.rating.RateUsage(request, timeout=self._deadline_s, metadata=metadata)
        answer = await _answer_of(call, event)
        return answer.rating if answer is not None else None

    async def _wallet(
        self, event: event_pb2.UsageEvent, metadata: grpc.aio.Metadata
    ) -> wallet_pb.Wallet | None:
        if not event.wallet_id:
            return None
        request = wallet_pb.GetWalletRequest(wallet_id=event.wallet_id)
        call = self._server.wallet.GetWallet(request, timeout=self._deadline_s, metadata=metadata)
        answer = await _answer_of(call, event)
        return answer.wallet if answer is not None else None


async def _answer_of(call: Awaitable[ResponseT], event: event_pb2.UsageEvent) -> ResponseT | None:
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        _log.info("cost_not_told", event_id=event.event_id, code=error.code().name)
        return None
