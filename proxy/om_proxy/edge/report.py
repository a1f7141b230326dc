"""Ships the journal's outcomes to the server, and again until they are settled.

What waits lies on the disk, so the server may be away for any time. A batch is the bytes of the journal: they
are never parsed, and a repeat is the same to the byte.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

import grpc
import structlog

from om.ingestion.v1 import ingestion_service_pb2 as pb
from om_proxy.backoff import Backoff
from om_proxy.defect import log_defect
from om_proxy.journal.journal import Journal
from om_proxy.journal.reader import Cursor, Shipment
from om_proxy.server.server_client import INGEST_DEADLINE_S, ServerClient

_log = structlog.get_logger(__name__)

_BATCH_MAX = 500
#: Well below what the server takes in one message.
_BATCH_BYTES_MAX = 3 * 1024 * 1024
#: One RPC costs as much as all the rest of a call, so the first outcome waits for others.
_LINGER_S = 0.01
_RETRY_DELAY_S = 0.2
_RETRY_DELAY_MAX_S = 5.0
#: While the process waits for this to end.
_RETRY_DELAY_AT_STOP_S = 0.1
#: What was shipped so long ago and is not settled is shipped again.
_AGAIN_AFTER_S = 600.0
#: Shipments of so many seconds are remembered as one.
_MARK_S = 10.0
_LOOK_INTERVAL_S = 1.0
#: What is shipped again is at most a tenth of what is new, or a twentieth of what intake takes.
_AGAIN_SHARE = 0.1
_AGAIN_PER_S = 500.0

#: Answers to a batch that a smaller one may not get.
_INDIGESTIBLE = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
    }
)
_LONG_AGO = float("-inf")
_EVENTS_TAG = b"\x12"  # Field 2 of IngestEventsRequest, length-delimited.


@dataclass(frozen=True, slots=True)
class Mark:
    """Outcomes of one segment that were shipped at a time, between two places."""

    at: float
    start: Cursor
    edge_epoch: int
    first: int
    last: int


class Reporter:
    """The place up to which the journal was shipped, and the task that moves it."""

    def __init__(
        self,
        server: ServerClient,
        journal: Journal,
        *,
        retry_delay_s: float = _RETRY_DELAY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._server = server
        self._journal = journal
        self._clock = clock
        self._backoff = Backoff(retry_delay_s, most_s=_RETRY_DELAY_MAX_S)
        self._batch_max = _BATCH_MAX
        self._cursor = Cursor()
        self._shipped: deque[Mark] = deque()
        self._allowed, self._allowed_at = 0.0, clock()
        #: When what was shipped before was lost.
        self._again_at = _LONG_AGO
        self._written = asyncio.Event()
        self._emptied = asyncio.Event()
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def wake(self) -> None:
        """Say that an outcome was written."""
        self._emptied.clear()
        self._written.set()

    def again(self) -> None:
        """Ship once more what was shipped and is not settled: the queue has lost what waited in it."""
        self._again_at = self._clock()
        self._shipped = deque(replace(mark, at=_LONG_AGO) for mark in self._shipped)
        self._written.set()

    def all_again(self) -> None:
        """Ship once more all that the journal has: the store is an older one. What is new goes first."""
        spans = self._journal.spans()
        self._cursor = spans[-1].following if spans else Cursor()
        self._shipped = deque(
            Mark(float("-inf"), span.start, span.header.edge_epoch, span.first_sequence, span.last_sequence)
            for span in spans
        )
        self._written.set()

    def start(self) -> None:
        """Ship in the background."""
        self._task = asyncio.create_task(self._run(), name="report")

    async def stop(self, grace_s: float) -> None:
        """Ship what waits, for a bounded time, and end. The rest stays in the journal."""
        if self._task is None:
            return
        self._stopping.set()
        self._written.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self._emptied.wait()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                await self._step()
            except Exception as error:  # noqa: BLE001 - without this task nothing would be charged any more.
                log_defect("report_failed", error)
                await self._pause()

    async def _step(self) -> None:
        self._written.clear()
        shipment = self._journal.read(self._cursor, count_max=self._batch_max, size_max=_BATCH_BYTES_MAX)
        if shipment is not None:
            if await self._take(shipment):
                self._cursor = shipment.following
            return
        self._emptied.set()
        if self._stopping.is_set() or not await self._ship_again():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_INTERVAL_S):
                    await self._written.wait()
                    await self._linger()

    async def _take(self, shipment: Shipment) -> bool:
        """Ship a batch, unless it is settled already; say whether it need not be looked at any more."""
        epoch = shipment.header.edge_epoch
        if self._journal.covers(epoch, shipment.first_sequence, shipment.last_sequence):
            return True
        at = self._clock()
        if not await self._ship(shipment.header.edge_id, epoch, shipment.events):
            return False
        self._allowed += len(shipment.events) * _AGAIN_SHARE
        self._mark(shipment, at)
        return True

    def _mark(self, shipment: Shipment, at: float) -> None:
        """Remember what was shipped at a time, which may be before what came since was lost."""
        at = _LONG_AGO if at < self._again_at else at
        last = self._shipped[-1] if self._shipped else None
        if (
            last is not None
            and last.start.segment == shipment.start.segment
            and last.last + 1 == shipment.first_sequence
            and at < last.at + _MARK_S
        ):
            self._shipped[-1] = replace(last, last=shipment.last_sequence)
            return
        self._shipped.append(
            Mark(
                at,
                shipment.start,
                shipment.header.edge_epoch,
                shipment.first_sequence,
                shipment.last_sequence,
            )
        )

    async def _ship_again(self) -> bool:
        """Ship one batch of what should have been settled long ago; False: nothing to do now."""
        now = self._clock()
        self._allowed = min(
            self._allowed + (now - self._allowed_at) * _AGAIN_PER_S, float(max(_BATCH_MAX, self._allowed))
        )
        self._allowed_at = now
        while self._shipped and self._shipped[0].at + _AGAIN_AFTER_S <= now:
            mark = self._shipped[0]
            if self._journal.covers(mark.edge_epoch, mark.first, mark.last):
                self._shipped.popleft()
                continue
            if self._allowed < 1:
                return False
            return await self._repeat(mark, now)
        return False

    async def _repeat(self, mark: Mark, now: float) -> bool:
        count_max = min(self._batch_max, int(self._allowed), mark.last - mark.first + 1)
        shipment = self._journal.read(mark.start, count_max=count_max, size_max=_BATCH_BYTES_MAX)
        if shipment is None or shipment.start.segment != mark.start.segment:
            self._shipped.popleft()
            return True
        unsettled = tuple(
            event
            for sequence, event in enumerate(shipment.events, shipment.first_sequence)
            if not self._journal.covers(mark.edge_epoch, sequence, sequence)
        )
        if unsettled and not await self._ship(shipment.header.edge_id, mark.edge_epoch, unsettled):
            return True
        self._allowed -= len(unsettled)
        self._shipped.popleft()
        if shipment.last_sequence < mark.last:
            rest = replace(mark, start=shipment.following, first=shipment.last_sequence + 1)
            self._shipped.appendleft(rest)
        if unsettled:
            self._mark(shipment, now)
        return True

    async def _ship(self, edge_id: str, edge_epoch: int, events: tuple[bytes, ...]) -> bool:
        """Send a batch; say whether it need not stand before the others any more."""
        source = pb.IngestEventsRequest(edge=pb.EdgeSource(edge_id=edge_id, edge_epoch=edge_epoch))
        parts = [source.SerializeToString()]
        for event in events:
            parts += (_EVENTS_TAG, _varint(len(event)), event)
        try:
            answer = await self._server.ingest(
                b"".join(parts), metadata=self._server.metadata, timeout=INGEST_DEADLINE_S
            )
        except grpc.aio.AioRpcError as error:
            _log.warning("report_postponed", events=len(events), cause=error.code().name)
            passed = self._make_way(len(events), error.code())
            await self._pause()
            return passed
        self._batch_max = min(_BATCH_MAX, self._batch_max * 2)
        self._backoff.reset()
        if answer.rejected_count:
            _log.error("report_rejected", events=answer.rejected_count)
        return True

    def _make_way(self, count: int, code: grpc.StatusCode) -> bool:
        """Let no event that the server cannot take stand before the others: send fewer, then others.

        It is sent again when it should have been settled.
        """
        if code not in _INDIGESTIBLE:
            return False
        self._batch_max = max(1, count // 2)
        return count == 1 and code is not grpc.StatusCode.RESOURCE_EXHAUSTED

    async def _pause(self) -> None:
        delay_s = self._backoff.next_s()
        if self._stopping.is_set():
            await asyncio.sleep(min(delay_s, _RETRY_DELAY_AT_STOP_S))
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay_s):
                await self._stopping.wait()

    async def _linger(self) -> None:
        if self._stopping.is_set():
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_S):
                await self._stopping.wait()


def _varint(number: int) -> bytes:
    """Write a length as Protocol Buffers do."""
    written = bytearray()
    while number > 0x7F:  # noqa: PLR2004 - seven bits go into each byte
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)
