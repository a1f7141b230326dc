"""A gRPC server with the real wrapper (authentication, access, shape, errors) and stores in memory."""

import contextlib
import threading
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field

import grpc

from om.account.v1 import account_service_pb2 as account_pb
from om.account.v1 import account_service_pb2_grpc
from om.analytics.v1 import analytics_service_pb2 as analytics_pb
from om.analytics.v1 import analytics_service_pb2_grpc
from om.ingestion.v1 import ingestion_service_pb2 as ingestion_pb
from om.ingestion.v1 import ingestion_service_pb2_grpc
from om.type.v1 import access_pb2, error_reason_pb2
from om.wallet.v1 import wallet_service_pb2 as wallet_pb
from om.wallet.v1 import wallet_service_pb2_grpc
from om_server.core.errors import Code, DomainError, NotFound, Unauthenticated
from om_server.rpc.caller import Caller, Principal, Scope, caller
from om_server.rpc.interceptors import StreamContext

Watching = Callable[[analytics_pb.WatchEventsRequest], AsyncGenerator[analytics_pb.WatchEventsResponse, None]]
Exporting = Callable[
    [analytics_pb.ExportEventsRequest], AsyncGenerator[analytics_pb.ExportEventsResponse, None]
]

KEY = "om_live_reader"
INGEST_KEY = "om_live_reporter"
ORGANIZATION = "org_acme"


class InsufficientFunds(DomainError):
    code = Code.FAILED_PRECONDITION
    reason = "INSUFFICIENT_FUNDS"


class Authenticator:
    """Knows two keys."""

    def __init__(self) -> None:
        everything = Caller(
            Principal.KEY,
            organization_id=ORGANIZATION,
            team_id="team_default",
            key_id="key_reader",
            scopes=frozenset({Scope.ADMIN}),
        )
        reporter = Caller(
            Principal.KEY,
            organization_id=ORGANIZATION,
            team_id="team_default",
            key_id="key_reporter",
            scopes=frozenset({Scope.INGEST}),
        )
        self._callers = {KEY: everything, INGEST_KEY: reporter}

    def authenticate(self, secret: str) -> Caller:
        if secret not in self._callers:
            raise Unauthenticated
        return self._callers[secret]


async def _nothing_happens(
    _request: analytics_pb.WatchEventsRequest,
) -> AsyncGenerator[analytics_pb.WatchEventsResponse, None]:
    return
    yield


async def _nothing_there(
    _request: analytics_pb.ExportEventsRequest,
) -> AsyncGenerator[analytics_pb.ExportEventsResponse, None]:
    return
    yield


@dataclass
class Memory:
    """What the fakes hold; a test fills it and reads it."""

    wallets: dict[tuple[int, str], wallet_pb.Wallet] = field(default_factory=dict)
    events: list[analytics_pb.Event] = field(default_factory=list)
    usage: Callable[[analytics_pb.QueryUsageRequest], list[analytics_pb.UsageRow]] = lambda _: []
    spend: Callable[[analytics_pb.QuerySpendRequest], list[analytics_pb.SpendRow]] = lambda _: []
    versions: list[analytics_pb.VersionRow] = field(default_factory=list)
    batches: list[ingestion_pb.IngestEventsRequest] = field(default_factory=list)
    seen_events: set[str] = field(default_factory=set)
    filters: list[analytics_pb.EventFilter] = field(default_factory=list)
    grants: list[wallet_pb.GrantCreditsRequest] = field(default_factory=list)
    callers: list[Caller] = field(default_factory=list)
    watching: Watching = _nothing_happens
    exporting: Exporting = _nothing_there

    #: Cleared, it keeps RefundCharge from answering.
    may_refund: threading.Event = field(default_factory=threading.Event)

    def clear(self) -> None:
        self.__init__()  # type: ignore[misc]  # The servicers hold this object for the whole session.


class Account(account_service_pb2_grpc.AccountServiceServicer):
    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def GetCaller(
        self, request: account_pb.GetCallerRequest, context: grpc.ServicerContext
    ) -> account_pb.GetCallerResponse:
        who = caller()
        self._memory.callers.append(who)
        return account_pb.GetCallerResponse(
            principal=access_pb2.PRINCIPAL_KEY, organization_id=who.organization_id, key_id=who.key_id
        )

    def SignIn(
        self, request: account_pb.SignInRequest, context: grpc.ServicerContext
    ) -> account_pb.SignInResponse:
        return account_pb.SignInResponse(session=account_pb.Session(secret="opaque"))


class Ingestion(ingestion_service_pb2_grpc.IngestionServiceServicer):
    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def IngestEvents(
        self, request: ingestion_pb.IngestEventsRequest, context: grpc.ServicerContext
    ) -> ingestion_pb.IngestEventsResponse:
        self._memory.batches.append(request)
        self._memory.callers.append(caller())
        reply = ingestion_pb.IngestEventsResponse(
            results=[self._result(event.event_id, reported=bool(event.lines)) for event in request.events]
        )
        if any(result.state == ingestion_pb.INGEST_STATE_ACCEPTED for result in reply.results):
            reply.batch_id = "bat_1"
        return reply

    def _result(self, event_id: str, *, reported: bool) -> ingestion_pb.IngestResult:
        if event_id == "too-long":
            return ingestion_pb.IngestResult(
                event_id=event_id,
                state=ingestion_pb.INGEST_STATE_REJECTED,
                reason=error_reason_pb2.ERROR_REASON_INVALID_ARGUMENT,
                message="attribution.user_id: too long",
                field="attribution.user_id",
            )
        if not reported:
            return ingestion_pb.IngestResult(
                event_id=event_id,
                state=ingestion_pb.INGEST_STATE_REJECTED,
                reason=error_reason_pb2.ERROR_REASON_EVENT_EMPTY,
                message="the event reports no consumption",
            )
        if event_id in self._memory.seen_events:
            return ingestion_pb.IngestResult(event_id=event_id, state=ingestion_pb.INGEST_STATE_DUPLICATE)
        self._memory.seen_events.add(event_id)
        return ingestion_pb.IngestResult(event_id=event_id, state=ingestion_pb.INGEST_STATE_ACCEPTED)


class Wallets(wallet_service_pb2_grpc.WalletServiceServicer):
    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def GetWallet(
        self, request: wallet_pb.GetWalletRequest, context: grpc.ServicerContext
    ) -> wallet_pb.GetWalletResponse:
        self._memory.callers.append(caller())
        kind = request.owner.kind or wallet_pb.OWNER_KIND_ORGANIZATION
        wallet = self._memory.wallets.get((kind, request.owner.id), wallet_pb.Wallet(owner=request.owner))
        return wallet_pb.GetWalletResponse(wallet=wallet)

    def GrantCredits(
        self, request: wallet_pb.GrantCreditsRequest, context: grpc.ServicerContext
    ) -> wallet_pb.GrantCreditsResponse:
        self._memory.grants.append(request)
        return wallet_pb.GrantCreditsResponse()

    def CreateHold(
        self, request: wallet_pb.CreateHoldRequest, context: grpc.ServicerContext
    ) -> wallet_pb.CreateHoldResponse:
        raise InsufficientFunds("the wallet cannot pay", wallet_id="wal_1", needed="5", available="2.5")

    def CaptureHold(
        self, request: wallet_pb.CaptureHoldRequest, context: grpc.ServicerContext
    ) -> wallet_pb.CaptureHoldResponse:
        raise NotFound("hold", request.hold_id)

    def RefundCharge(
        self, request: wallet_pb.RefundChargeRequest, context: grpc.ServicerContext
    ) -> wallet_pb.RefundChargeResponse:
        self._memory.may_refund.wait(timeout=30)
        return wallet_pb.RefundChargeResponse()

    def ListWallets(
        self, request: wallet_pb.ListWalletsRequest, context: grpc.ServicerContext
    ) -> wallet_pb.ListWalletsResponse:
        raise RuntimeError("a defect that names a secret place")


class Analytics(analytics_service_pb2_grpc.AnalyticsServiceServicer):
    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def QueryUsage(
        self, request: analytics_pb.QueryUsageRequest, context: grpc.ServicerContext
    ) -> analytics_pb.QueryUsageResponse:
        self._memory.filters.append(request.filter)
        return analytics_pb.QueryUsageResponse(rows=self._memory.usage(request))

    def CompareVersions(
        self, request: analytics_pb.CompareVersionsRequest, context: grpc.ServicerContext
    ) -> analytics_pb.CompareVersionsResponse:
        self._memory.filters.append(request.filter)
        return analytics_pb.CompareVersionsResponse(rows=self._memory.versions)

    def QuerySpend(
        self, request: analytics_pb.QuerySpendRequest, context: grpc.ServicerContext
    ) -> analytics_pb.QuerySpendResponse:
        self._memory.filters.append(request.filter)
        rows = self._memory.spend(request)
        shown = rows[: request.row_limit or len(rows)]
        return analytics_pb.QuerySpendResponse(rows=shown, total_size=len(rows))

    def ListEvents(
        self, request: analytics_pb.ListEventsRequest, context: grpc.ServicerContext
    ) -> analytics_pb.ListEventsResponse:
        self._memory.filters.append(request.filter)
        page = self._memory.events[request.skip : request.skip + (request.page_size or 50)]
        return analytics_pb.ListEventsResponse(events=page, total_size=len(self._memory.events))

    async def WatchEvents(
        self, request: analytics_pb.WatchEventsRequest, context: StreamContext
    ) -> AsyncGenerator[analytics_pb.WatchEventsResponse, None]:
        async with contextlib.aclosing(self._memory.watching(request)) as told:
            async for message in told:
                yield message

    async def ExportEvents(
        self, request: analytics_pb.ExportEventsRequest, context: StreamContext
    ) -> AsyncGenerator[analytics_pb.ExportEventsResponse, None]:
        async with contextlib.aclosing(self._memory.exporting(request)) as parts:
            async for message in parts:
                yield message


# The server answers what a servicer leaves out, so these need not be whole.
_SERVICERS: tuple[Callable[[Memory], object], ...] = (Account, Ingestion, Wallets, Analytics)


def servicers(memory: Memory) -> list[object]:
    """One of each service that the documented operations use."""
    return [servicer(memory) for servicer in _SERVICERS]
