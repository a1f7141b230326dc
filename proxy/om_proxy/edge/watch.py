"""What the server tells an edge at once: the stream that says it, and what it means for the journal."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Iterable

import grpc
import structlog

from om.edge.v1 import edge_service_pb2 as edge_pb
from om_proxy.backoff import Backoff
from om_proxy.defect import log_defect
from om_proxy.server.identity import Edge
from om_proxy.server.incarnation import Incarnation
from om_proxy.server.server_client import ServerClient, ServerRefused, failure_of

_log = structlog.get_logger(__name__)

#: The server gives a sign of life every five seconds. What is silent for so long is dead.
SILENCE_MAX_S = 15.0
_RETRY_DELAY_S = 0.1
_RETRY_DELAY_MAX_S = 2.0

#: Takes in one message. It must not wait.
Hearer = Callable[[edge_pb.WatchResponse], None]


async def watched(
    server: ServerClient, edge: Edge, *, silence_max_s: float = SILENCE_MAX_S
) -> AsyncGenerator[edge_pb.WatchResponse, None]:
    """Give everything that the server has to say, for ever.

    A stream that ends, breaks or falls silent is opened again, behind what was heard of it.
    """
    cursor, backoff = "", Backoff(_RETRY_DELAY_S, most_s=_RETRY_DELAY_MAX_S)
    while True:
        request = edge_pb.WatchRequest(edge=edge.to_proto(), cursor=cursor)
        stream = server.edge.Watch(request, metadata=server.metadata)
        try:
            while (message := await _next(stream, silence_max_s)) is not None:
                server.heard()
                backoff.reset()
                yield message
                # Behind what was done about it: what breaks in between is told again.
                cursor = message.cursor
        except grpc.aio.AioRpcError as error:
            failure = failure_of(error)
            if isinstance(failure, ServerRefused):
                _log.error("watch_refused", reason=failure.reason)
        except TimeoutError:
            _log.warning("watch_silent", seconds=silence_max_s)
        finally:
            stream.cancel()
        await backoff.pause()


async def _next(
    stream: grpc.aio.UnaryStreamCall[edge_pb.WatchRequest, edge_pb.WatchResponse], silence_max_s: float
) -> edge_pb.WatchResponse | None:
    """Give the next message; None at the end of the stream. TimeoutError where it falls silent."""
    async with asyncio.timeout(silence_max_s):
        message = await stream.read()
    return message if isinstance(message, edge_pb.WatchResponse) else None


class Watch:
    """Tells the edge's parts what the server says, for as long as the edge lives."""

    def __init__(
        self, server: ServerClient, edge: Edge, *, incarnation: Incarnation, hearers: tuple[Hearer, ...]
    ) -> None:
        self._server = server
        self._edge = edge
        self._incarnation = incarnation
        self._hearers = hearers

    async def run(self) -> None:
        """Listen until cancelled."""
        async with contextlib.aclosing(watched(self._server, self._edge)) as messages:
            async for message in messages:
                # First: what another store says is meant for who knows that it is another one.
                self._incarnation.note(message.incarnation)
                for hear in self._hearers:
                    try:
                        hear(message)
                    except Exception as error:  # noqa: BLE001 - who hears nothing more is wrong within seconds.
                        log_defect("change_not_heard", error)


class JournalNews:
    """What concerns the journal: what of it is settled, and what has to be shipped again."""

    def __init__(
        self,
        settle: Callable[[int, Iterable[tuple[int, int]]], None],
        *,
        on_queue_changed: Callable[[], None],
    ) -> None:
        """`settle` takes an epoch, and ranges of its positions, first and last, that are settled for good."""
        self._settle = settle
        self._on_queue_changed = on_queue_changed
        self._queue = ""

    def hear(self, message: edge_pb.WatchResponse) -> None:
        """Take in one message."""
        if message.HasField("sequences_settled"):
            settled = message.sequences_settled
            self._settle(settled.edge_epoch, [(part.first, part.last) for part in settled.ranges])
        if message.queue_incarnation not in {"", self._queue}:
            before, self._queue = self._queue, message.queue_incarnation
            if before:
                _log.warning("queue_changed")
                self._on_queue_changed()
