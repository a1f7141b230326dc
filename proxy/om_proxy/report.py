"""Ships the outcome of every call to the server in batches, and repeats until it is taken.

Reports wait in memory. A later step writes them to a journal first; until then a proxy that is
killed loses what waits here, and what it had leased stays held.
"""

from __future__ import annotations

import asyncio
import contextlib
import random

import grpc
import structlog

from om.ingestion.v1 import ingestion_service_pb2 as pb
from om.type.v1 import event_pb2
from om_proxy.identity import Edge
from om_proxy.server_client import INGEST_DEADLINE_S, ServerClient, failure_of

_log = structlog.get_logger(__name__)

_BATCH_MAX = 500
_RETRY_DELAY_S = 0.2
_RETRY_DELAY_MAX_S = 5.0


class Reporter:
    """A bounded queue and the task that empties it."""

    def __init__(self, server: ServerClient, edge: Edge, *, queue_max: int) -> None:
        self._server = server
        self._edge = edge
        self._queue_max = queue_max
        self._waiting: list[event_pb2.UsageEvent] = []
        self._sequence = 0
        self._arrived = asyncio.Event()
        self._emptied = asyncio.Event()
        self._emptied.set()
        self._task: asyncio.Task[None] | None = None

    @property
    def full(self) -> bool:
        """Whether a further call could not be reported."""
        return len(self._waiting) >= self._queue_max

    def report(self, event: event_pb2.UsageEvent) -> None:
        """Take an outcome. Never blocks and never refuses: the call that it belongs to was made."""
        self._sequence += 1
        event.sequence = self._sequence
        self._waiting.append(event)
        self._emptied.clear()
        self._arrived.set()

    def start(self) -> None:
        """Ship in the background."""
        self._task = asyncio.create_task(self._run(), name="report")

    async def stop(self, grace_s: float) -> None:
        """Ship what waits, for a bounded time, and end."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self._emptied.wait()
        if self._waiting:
            _log.error("reports_lost", count=len(self._waiting))
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                batch = self._waiting[:_BATCH_MAX]
                await self._ship(batch)
                del self._waiting[: len(batch)]
            self._emptied.set()

    async def _ship(self, batch: list[event_pb2.UsageEvent]) -> None:
        """Send a batch until the server has it; the ids stay the same, so a repeat charges nothing."""
        source = pb.EdgeSource(edge_id=self._edge.edge_id, edge_epoch=self._edge.edge_epoch)
        request = pb.IngestEventsRequest(edge=source, events=batch)
        delay_s = _RETRY_DELAY_S
        while True:
            try:
                answer = await self._server.ingestion.IngestEvents(
                    request, metadata=self._server.metadata, timeout=INGEST_DEADLINE_S
                )
            except grpc.aio.AioRpcError as error:
                _log.warning("report_postponed", events=len(batch), cause=str(failure_of(error)) or "away")
                # Full jitter: edges that lost the server together must not return together.
                await asyncio.sleep(random.uniform(0, delay_s))  # noqa: S311 - spreads load, hides nothing
                delay_s = min(delay_s * 2, _RETRY_DELAY_MAX_S)
                continue
            for result in answer.results:
                if result.state == pb.INGEST_STATE_REJECTED:
                    _log.error("report_rejected", event_id=result.event_id, reason=result.reason)
            return
