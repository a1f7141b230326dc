"""The process's one channel to the gRPC server. Every call has a deadline and the caller's credential."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import TypeVar

import grpc
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2

from om.account.v1 import (
    account_service_pb2,
    account_service_pb2_grpc,
    admin_service_pb2_grpc,
    oidc_service_pb2_grpc,
    registration_service_pb2_grpc,
)
from om.analytics.v1 import analytics_service_pb2_grpc
from om.ingestion.v1 import ingestion_service_pb2_grpc
from om.rating.v1 import rating_service_pb2_grpc
from om.wallet.v1 import entitlement_service_pb2_grpc, wallet_service_pb2_grpc
from om_server.rest.request import CallContext
from om_server.rpc.contract import Rpc

RPC_TIMEOUT_S = 15.0
#: How long a stream may be silent. Watching gives a sign of life every ten seconds; an export reads as long
#: as it finds nothing.
SILENCE_TIMEOUT_S = 60.0
_HEALTH_TIMEOUT_S = 5.0

_OPTIONS = (
    # A body of 10 MiB may become a message of more than gRPC's default of 4 MiB, and so may a page.
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
    ("grpc.max_send_message_length", 16 * 1024 * 1024),
    # The default backs off to two minutes, so REST would be down that long after a restart of the server.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)

_Request = TypeVar("_Request", bound=Message)
_Reply = TypeVar("_Reply", bound=Message)


class Server:
    """The gRPC server as REST sees it. Made and closed in the event loop that uses it."""

    def __init__(
        self, address: str, *, timeout_s: float = RPC_TIMEOUT_S, silence_timeout_s: float = SILENCE_TIMEOUT_S
    ) -> None:
        self._timeout_s = timeout_s
        self._silence_timeout_s = silence_timeout_s
        self._channel = grpc.aio.insecure_channel(address, options=_OPTIONS)
        # Not by the generated stub, whose published types have no methods.
        self._check_health = self._channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        self.account = account_service_pb2_grpc.AccountServiceStub(self._channel)
        self.oidc = oidc_service_pb2_grpc.OidcServiceStub(self._channel)
        self.registration = registration_service_pb2_grpc.RegistrationServiceStub(self._channel)
        self.admin = admin_service_pb2_grpc.AdminServiceStub(self._channel)
        self.ingestion = ingestion_service_pb2_grpc.IngestionServiceStub(self._channel)
        self.wallet = wallet_service_pb2_grpc.WalletServiceStub(self._channel)
        self.entitlements = entitlement_service_pb2_grpc.EntitlementServiceStub(self._channel)
        self.rating = rating_service_pb2_grpc.RatingServiceStub(self._channel)
        self.analytics = analytics_service_pb2_grpc.AnalyticsServiceStub(self._channel)

    def method(self, rpc: Rpc) -> "grpc.aio.UnaryUnaryMultiCallable[Message, Message]":
        """The callable of any unary RPC of the contract."""
        return self._channel.unary_unary(
            f"/{rpc.path}",
            request_serializer=rpc.request_type.SerializeToString,
            response_deserializer=rpc.response_type.FromString,
        )

    def stream(self, rpc: Rpc) -> "grpc.aio.UnaryStreamMultiCallable[Message, Message]":
        """The callable of any RPC of the contract that answers with a stream."""
        return self._channel.unary_stream(
            f"/{rpc.path}",
            request_serializer=rpc.request_type.SerializeToString,
            response_deserializer=rpc.response_type.FromString,
        )

    async def replies(
        self,
        method: "grpc.aio.UnaryStreamMultiCallable[_Request, _Reply]",
        request: _Request,
        *,
        context: CallContext,
    ) -> AsyncGenerator[_Reply, None]:
        """Give what a stream answers, each when it is asked for; closing this ends the call.

        AioRpcError if it fails, TimeoutError if it is silent for too long.
        """
        call = method(request, metadata=context.metadata)
        try:
            replies = aiter(call)
            while True:
                async with asyncio.timeout(self._silence_timeout_s):
                    reply = await anext(replies, None)
                if reply is None:
                    return
                yield reply
        finally:
            call.cancel()

    async def ask(
        self,
        method: "grpc.aio.UnaryUnaryMultiCallable[_Request, _Reply]",
        request: _Request,
        *,
        context: CallContext,
    ) -> _Reply:
        """Make one call for one HTTP request; AioRpcError if it fails."""
        return await method(request, timeout=self._timeout_s, metadata=context.metadata)

    async def caller(self, context: CallContext) -> account_service_pb2.GetCallerResponse:
        """Who the credential belongs to."""
        return await self.ask(self.account.GetCaller, account_service_pb2.GetCallerRequest(), context=context)

    async def confirm_credential(self, context: CallContext) -> None:
        """Raise AioRpcError if the server knows the credential to be worth nothing.

        Authentication comes before shape, but only the server knows keys: so a request that REST
        refuses for its shape asks here first. Any other failure lets the refusal stand.
        """
        try:
            await self.caller(context)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNAUTHENTICATED:
                raise

    async def serving(self) -> bool | None:
        """Whether the server says it can serve; nothing if it does not answer."""
        with contextlib.suppress(grpc.aio.AioRpcError):
            reply = await self._check_health(health_pb2.HealthCheckRequest(), timeout=_HEALTH_TIMEOUT_S)
            return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)
        return None

    async def close(self) -> None:
        """Close the channel; calls in flight are cancelled."""
        await self._channel.close()
