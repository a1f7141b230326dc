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
from om_proxy.defect import log_defect
from om_proxy.identity import Edge
from om_proxy.server_client import INGEST_DEADLINE_S, ServerClient, ServerRefused, failure_of

_log = structlog.get_logger(__name__)

_BATCH_MAX = 500
#: Well below what the server takes in one message.
_BATCH_BYTES_MAX = 4 * 1024 * 1024
#: One RPC costs as much as all the rest of a call, so the first outcome waits for others.
_LINGER_S = 0.01
_RETRY_DELAY_S = 0.2
_RETRY_DELAY_MAX_S = 5.0
#: While the process waits for this to end.
_RETRY_DELAY_AT_STOP_S = 0.1


class Reporter:
    """A bounded queue and the task that empties it."""

    def __init__(
        self, server: ServerClient, edge: Edge, *, queue_max: int, retry_delay_s: float = _RETRY_DELAY_S
    ) -> None:
        self._server = server
        self._edge = edge
        self._queue_max = queue_max
        self._retry_delay_s = self._delay_s = retry_delay_s
        self._batch_max = _BATCH_MAX
        self._waiting: list[event_pb2.UsageEvent] = []
        self._sequence = 0
        self._arrived = asyncio.Event()
        self._emptied = asyncio.Event()
        self._emptied.set()
        self._stopping = asyncio.Event()
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
        self._stopping.set()
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
            await self._wait(_LINGER_S)
            self._arrived.clear()
            while self._waiting:
                batch = self._next_batch()
                if await self._ship(batch):
                    del self._waiting[: len(batch)]
                    self._batch_max = min(_BATCH_MAX, self._batch_max * 2)
                    self._delay_s = self._retry_delay_s
                else:
                    self._make_way(batch)
                    await self._pause()
            self._emptied.set()

    def _next_batch(self) -> list[event_pb2.UsageEvent]:
        size_bytes = 0
        for count, event in enumerate(self._waiting[: self._batch_max]):
            size_bytes += event.ByteSize()
            if count and size_bytes > _BATCH_BYTES_MAX:
                return self._waiting[:count]
        return self._waiting[: self._batch_max]

    async def _ship(self, batch: list[event_pb2.UsageEvent]) -> bool:
        """Send a batch. The ids stay the same, so a repeat charges nothing."""
        try:
            source = pb.EdgeSource(edge_id=self._edge.edge_id, edge_epoch=self._edge.edge_epoch)
            answer = await self._server.ingestion.IngestEvents(
                pb.IngestEventsRequest(edge=source, events=batch),
                metadata=self._server.metadata,
                timeout=INGEST_DEADLINE_S,
            )
        except grpc.aio.AioRpcError as error:
            failure = failure_of(error)
            cause = failure.reason if isinstance(failure, ServerRefused) else "away"
            _log.warning("report_postponed", events=len(batch), cause=cause)
            return False
        except Exception as error:  # noqa: BLE001 - without this task no call could be reported any more.
            log_defect("report_failed", error)
            return False
        for result in answer.results:
            if result.state == pb.INGEST_STATE_REJECTED:
                _log.error("report_rejected", event_id=result.event_id, reason=result.reason)
        return True

    def _make_way(self, batch: list[event_pb2.UsageEvent]) -> None:
        """Let no event that the server cannot take stand before the others: send fewer, then others."""
        self._batch_max = max(1, self._batch_max // 2)
        if len(batch) == 1:
            self._waiting.append(self._waiting.pop(0))

    async def _pause(self) -> None:
        # Full jitter: edges that lost the server together must not return together.
        delay_s = random.uniform(0, self._delay_s)  # noqa: S311 - spreads load, hides nothing
        self._delay_s = min(self._delay_s * 2, _RETRY_DELAY_MAX_S)
        if self._stopping.is_set():
            await asyncio.sleep(min(delay_s, _RETRY_DELAY_AT_STOP_S))
            return
        await self._wait(delay_s)

    async def _wait(self, delay_s: float) -> None:
        """Wait so long, and no longer than until the process is to end."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay_s):
                await self._stopping.wait()
