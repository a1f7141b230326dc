"""What the server tells an edge at once: the stream that says it, and what each change means here."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, Callable, Iterable

import grpc
import structlog

from om.edge.v1 import edge_service_pb2 as edge_pb
from om_proxy.admission.keys import KeyRing
from om_proxy.admission.payers import Payers
from om_proxy.admission.rate_cards import RateCards
from om_proxy.defect import log_defect
from om_proxy.edge.identity import Edge
from om_proxy.edge.incarnation import Incarnation
from om_proxy.edge.server_client import ServerClient, ServerRefused, failure_of
from om_proxy.funding.lease_desk import LeaseDesk

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
    cursor, delay_s = "", _RETRY_DELAY_S
    while True:
        request = edge_pb.WatchRequest(edge=edge.to_proto(), cursor=cursor)
        stream = server.edge.Watch(request, metadata=server.metadata)
        try:
            while (message := await _next(stream, silence_max_s)) is not None:
                server.heard()
                delay_s = _RETRY_DELAY_S
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
        # Edges that lost the server together must not return together.
        await asyncio.sleep(random.uniform(0, delay_s))  # noqa: S311 - spreads load, hides nothing
        delay_s = min(delay_s * 2, _RETRY_DELAY_MAX_S)


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


class Changes:
    """What concerns keys, rates, wallets and leases. Nothing here waits."""

    def __init__(self, keys: KeyRing, cards: RateCards, payers: Payers, *, desk: LeaseDesk) -> None:
        self._keys = keys
        self._cards = cards
        self._payers = payers
        self._desk = desk
        self._began = False

    def hear(self, message: edge_pb.WatchResponse) -> None:
        """Take in one message."""
        if not self._began:
            # The stream starts with it, so nobody tells what came before.
            self._began = True
            self._forget()
        self._apply(message)
        self._keys.confirm()

    def _apply(self, message: edge_pb.WatchResponse) -> None:
        match message.WhichOneof("change"):
            case "key_revoked":
                revoked = message.key_revoked
                self._keys.revoke(revoked.key_id, revoked.end_time.ToNanoseconds() / 10**9)
            case "funds_changed":
                self._desk.funds_changed(message.funds_changed.wallet_id)
            case "wallet_changed":
                changed = message.wallet_changed
                self._payers.wallet_changed(changed.organization_id, changed.resolution_version)
            case "hard_limits_changed":
                self._cards.renew(message.hard_limits_changed.organization_id)
            case "rate_card_changed":
                self._cards.renew(message.rate_card_changed.organization_id)
            case "lease_recalled":
                self._desk.recall(message.lease_recalled.lease_id)
            case "changes_lost":
                self._forget()
            case _:
                pass

    def _forget(self) -> None:
        self._keys.drop_all()
        self._cards.drop_all()
        self._payers.drop_all()
