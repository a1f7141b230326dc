"""The proxy's one connection to the server: every call with a deadline and the service credential."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from om.account.v1 import account_service_pb2_grpc as account_grpc
from om.edge.v1 import edge_service_pb2_grpc as edge_grpc
from om.ingestion.v1 import ingestion_service_pb2 as ingestion_pb
from om.rating.v1 import rating_service_pb2_grpc as rating_grpc
from om.wallet.v1 import wallet_service_pb2_grpc as wallet_grpc
from om_proxy.tracing import TRACE_PARENT, calling

RequestT = TypeVar("RequestT", contravariant=True)  # noqa: PLC0105 - the name says what it is.
ResponseT = TypeVar("ResponseT", covariant=True)  # noqa: PLC0105

#: Within it the caller is still there; a server that takes longer counts as away.
DEADLINE_S = 5.0
INGEST_DEADLINE_S = 30.0
_REQUEST_ID = "x-request-id"
_INGEST = "/om.ingestion.v1.IngestionService/IngestEvents"
#: After a failure the server counts as away for so long: what is known is used without asking.
_AWAY_S = 1.0
_OPTIONS = (
    # Else HTTP_PROXY and its like would be shown every key and every event.
    ("grpc.enable_http_proxy", 0),
    # The library would wait for up to two minutes between its attempts to reach a server that is back.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)


class ServerAway(Exception):
    """The server cannot be reached, or did not answer in time."""


class ServerRefused(Exception):
    """The server answered with an error; `reason` is the contract's."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Rpc(Protocol[RequestT, ResponseT]):
    """A unary call of a stub."""

    def __call__(
        self, request: RequestT, /, *, timeout: float, metadata: grpc.aio.Metadata
    ) -> Awaitable[ResponseT]: ...


class ServerClient:
    """The stubs that the proxy needs, over one channel."""

    def __init__(
        self, address: str, service_token: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._channel = grpc.aio.insecure_channel(address, options=_OPTIONS)
        self._clock = clock
        self._failed_at: float | None = None
        #: Whether the server has ever taken our own credential.
        self.trusts_us = False
        self._trust = asyncio.Event()
        # Made once: the library would build it from plain pairs for each call.
        self.metadata = grpc.aio.Metadata(("authorization", f"Bearer {service_token}"))
        self.account = account_grpc.AccountServiceStub(self._channel)
        self.edge = edge_grpc.EdgeServiceStub(self._channel)
        #: Takes a request that is serialised already.
        self.ingest: grpc.aio.UnaryUnaryMultiCallable[bytes, ingestion_pb.IngestEventsResponse]
        self.ingest = self._channel.unary_unary(
            _INGEST, response_deserializer=ingestion_pb.IngestEventsResponse.FromString
        )
        # Asked with the credential of the caller who wants to know.
        self.rating = rating_grpc.RatingServiceStub(self._channel)
        self.wallet = wallet_grpc.WalletServiceStub(self._channel)

    @property
    def away(self) -> bool:
        """Whether the server could not be reached a moment ago."""
        return self._failed_at is not None and self._clock() < self._failed_at + _AWAY_S

    async def trusted(self, patience_s: float) -> bool:
        """Wait a little, at the start, for the first sign that the server takes our own credential."""
        if not self.trusts_us:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience_s):
                    await self._trust.wait()
        return self.trusts_us

    def heard(self) -> None:
        """Note a sign of life."""
        self._failed_at = None
        self.trusts_us = True
        self._trust.set()

    async def ask(self, rpc: Rpc[RequestT, ResponseT], request: RequestT) -> ResponseT:
        """Make a unary call. ServerAway where nobody knows whether it had an effect, else ServerRefused."""
        try:
            answer = await rpc(request, metadata=self._metadata(), timeout=DEADLINE_S)
        except grpc.aio.AioRpcError as error:
            failure = failure_of(error)
            self._failed_at = self._clock() if isinstance(failure, ServerAway) else None
            raise failure from None
        self.heard()
        return answer

    def _metadata(self) -> grpc.aio.Metadata:
        """Add which call asks, so that the server's log lines and spans are found with the call's."""
        call = calling.get()
        if not call.request_id:
            return self.metadata
        pairs = [*self.metadata, (_REQUEST_ID, call.request_id)]
        if call.trace_parent:
            pairs.append((TRACE_PARENT, call.trace_parent))
        return grpc.aio.Metadata(*pairs)

    async def close(self) -> None:
        """Give the channel up."""
        await self._channel.close()


_AWAY = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
    }
)


def failure_of(error: grpc.aio.AioRpcError) -> ServerAway | ServerRefused:
    """Tell a server that is away from one that said no, by the reason in the error's details."""
    if error.code() in _AWAY:
        return ServerAway()
    status = rpc_status.from_call(error)  # type: ignore[arg-type]  # It has what the call has.
    for detail in status.details if status is not None else ():
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            return ServerRefused(info.reason)
    return ServerRefused(error.code().name)
