"""Servicers whose handlers end in every way a handler can."""

import threading
from collections.abc import AsyncGenerator
from typing import Any

import grpc

from om.account.v1 import account_service_pb2 as pb
from om.account.v1 import account_service_pb2_grpc
from om.analytics.v1 import analytics_service_pb2, analytics_service_pb2_grpc
from om_server.core.errors import DependencyUnavailable, NotFound
from om_server.rpc.caller import caller


class Accounts(account_service_pb2_grpc.AccountServiceServicer):
    def GetCaller(self, request: pb.GetCallerRequest, context: grpc.ServicerContext) -> pb.GetCallerResponse:
        who = caller()
        return pb.GetCallerResponse(
            organization_id=who.organization_id,
            key_id=who.key_id,
            team_id=threading.current_thread().name,
            member_id=who.request_id,
        )

    def GetTeam(self, request: pb.GetTeamRequest, context: grpc.ServicerContext) -> pb.GetTeamResponse:
        raise NotFound("team", request.team_id)

    def ListTeams(self, request: pb.ListTeamsRequest, context: grpc.ServicerContext) -> pb.ListTeamsResponse:
        raise ZeroDivisionError("the secret cause")

    def ListKeys(self, request: pb.ListKeysRequest, context: grpc.ServicerContext) -> pb.ListKeysResponse:
        context.abort(grpc.StatusCode.DATA_LOSS, "by hand")

    def GetUser(self, request: pb.GetUserRequest, context: grpc.ServicerContext) -> pb.GetUserResponse:
        return pb.GetTeamResponse()  # type: ignore[return-value] # The mistake that is caught.

    def GetOrganization(
        self, request: pb.GetOrganizationRequest, context: grpc.ServicerContext
    ) -> pb.GetOrganizationResponse:
        raise DependencyUnavailable from TimeoutError("the database")


class Analytics(analytics_service_pb2_grpc.AnalyticsServiceServicer):
    """One stream, whose cursor asks for the way it ends."""

    def __init__(self) -> None:
        self.closed = threading.Event()

    async def WatchEvents(
        self, request: analytics_service_pb2.WatchEventsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncGenerator[analytics_service_pb2.WatchEventsResponse, None]:
        try:
            yield analytics_service_pb2.WatchEventsResponse(cursor=caller().organization_id)
            if request.cursor == "fail":
                raise NotFound("cursor", request.cursor)
            if request.cursor == "abort":
                await context.abort(grpc.StatusCode.DATA_LOSS, "by hand")
            while request.cursor == "forever":
                yield analytics_service_pb2.WatchEventsResponse()
        finally:
            self.closed.set()


class Slow(account_service_pb2_grpc.AccountServiceServicer):
    """A handler that ends when it is told to."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.leave = threading.Event()
        self.left = threading.Event()

    def GetCaller(self, request: pb.GetCallerRequest, context: grpc.ServicerContext) -> pb.GetCallerResponse:
        self.entered.set()
        self.leave.wait(10)
        self.left.set()
        return pb.GetCallerResponse(organization_id="slow")
