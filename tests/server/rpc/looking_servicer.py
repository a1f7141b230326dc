"""Servicers that tell whose rows their handlers may see."""

from __future__ import annotations

from typing import TYPE_CHECKING

from om.account.v1 import account_service_pb2 as pb
from om.account.v1 import account_service_pb2_grpc
from om.analytics.v1 import analytics_service_pb2 as analytics_pb
from om.analytics.v1 import analytics_service_pb2_grpc
from om_server.rpc.blocking import blocking
from om_server.storage.tenancy import visible

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import grpc

    from om_server.rpc.interceptors import StreamContext


class Looking(account_service_pb2_grpc.AccountServiceServicer):
    """Tells whose rows it may see in the place of an organization."""

    def GetCaller(self, request: pb.GetCallerRequest, context: grpc.ServicerContext) -> pb.GetCallerResponse:
        return pb.GetCallerResponse(organization_id=str(visible()))

    def AuthenticateKey(
        self, request: pb.AuthenticateKeyRequest, context: grpc.ServicerContext
    ) -> pb.AuthenticateKeyResponse:
        return pb.AuthenticateKeyResponse(organization_id=str(visible()))


class LookingStream(analytics_service_pb2_grpc.AnalyticsServiceServicer):
    """Tells it from the event loop and from the pool."""

    async def WatchEvents(
        self, request: analytics_pb.WatchEventsRequest, context: StreamContext
    ) -> AsyncGenerator[analytics_pb.WatchEventsResponse, None]:
        yield analytics_pb.WatchEventsResponse(cursor=str(visible()))
        yield analytics_pb.WatchEventsResponse(cursor=str(await blocking(visible)))
