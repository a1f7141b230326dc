"""A gRPC server on a free port that answers what a test tells it to, and keeps what it was asked."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from google.protobuf import any_pb2, duration_pb2, timestamp_pb2
from google.rpc import error_details_pb2, status_pb2

from om.account.v1 import account_service_pb2 as account_pb
from om.account.v1 import account_service_pb2_grpc as account_grpc
from om.edge.v1 import edge_service_pb2 as edge_pb
from om.edge.v1 import edge_service_pb2_grpc as edge_grpc
from om.ingestion.v1 import ingestion_service_pb2 as ingestion_pb
from om.ingestion.v1 import ingestion_service_pb2_grpc as ingestion_grpc
from om.type.v1 import access_pb2, event_pb2, limit_warning_pb2

SERVICE_TOKEN = "service-token-of-this-test"
KEY = "om_live_of_this_test"
KEY_ID = "key_" + "a" * 26
LEASE_ID = "lse_" + "b" * 26
LEASE_NANOS = 5_000

_PATIENCE_S = 20


@dataclass(frozen=True, slots=True)
class Failure:
    """An error that one call gets."""

    code: grpc.StatusCode
    reason: str = ""


AWAY = Failure(grpc.StatusCode.UNAVAILABLE)


def refused(reason: str) -> Failure:
    return Failure(grpc.StatusCode.FAILED_PRECONDITION, reason)


@dataclass
class FakeServer:
    """What it answers, and what it was asked; `failures` are used up first, by name of the RPC."""

    address: str = ""
    failures: dict[str, list[Failure]] = field(default_factory=dict)
    #: While it is clear, Admit does not answer.
    admits: asyncio.Event = field(default_factory=asyncio.Event)
    asked: list[str] = field(default_factory=list)
    admit_requests: list[edge_pb.AdmitRequest] = field(default_factory=list)
    secrets: list[str] = field(default_factory=list)
    batches: list[list[event_pb2.UsageEvent]] = field(default_factory=list)
    #: Who sent each batch that was taken in; every batch that came, as bytes; events that fail a batch.
    sources: list[ingestion_pb.EdgeSource] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    indigestible: dict[str, Failure] = field(default_factory=dict)
    credentials: set[str] = field(default_factory=set)
    scopes: tuple[access_pb2.Scope.ValueType, ...] = (access_pb2.SCOPE_PROXY,)
    test_mode: bool = False
    expire_s: int = 0
    #: What the key says about its calls.
    calls: account_pb.AuthenticateKeyResponse = field(default_factory=account_pb.AuthenticateKeyResponse)
    refusal: edge_pb.Refusal | None = None
    #: Soft limits that every call passes.
    warnings: list[str] = field(default_factory=list)
    rates: list[edge_pb.ModelRate] = field(default_factory=list)
    card_s: int = 60
    funding_mode: edge_pb.FundingMode.ValueType = edge_pb.FUNDING_MODE_STRICT
    ingest_state: ingestion_pb.IngestState.ValueType = ingestion_pb.INGEST_STATE_ACCEPTED
    #: The life of the store, and what the next streams of Watch tell, in order.
    store: str = "inc_1"
    resyncs: list[edge_pb.ResyncRequest] = field(default_factory=list)
    folder: Path = Path()
    closed: list[edge_pb.LeaseReport] = field(default_factory=list)
    _leases: dict[str, str] = field(default_factory=dict)
    _told: asyncio.Queue[edge_pb.WatchResponse] = field(default_factory=asyncio.Queue)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    def __post_init__(self) -> None:
        self.admits.set()
        units = ("input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens")
        rates = [edge_pb.UnitRate(unit=unit, nanos_per_million=1_000_000) for unit in units]
        self.rates = [
            edge_pb.ModelRate(priced=True, rates=rates, context_window=8_000, output_tokens_max=100)
        ]

    @property
    def events(self) -> list[event_pb2.UsageEvent]:
        """Every event that was taken in, in order."""
        return [event for batch in self.batches for event in batch]

    async def reported(self, count: int = 1) -> list[event_pb2.UsageEvent]:
        """Wait for so many events; more than that are a failure."""
        await self.until(lambda: len(self.events) >= count)
        assert len(self.events) == count
        return self.events

    async def until(self, reached: object) -> None:
        """Wait for a condition on what was asked."""
        assert callable(reached)
        async with asyncio.timeout(_PATIENCE_S), self._changed:
            await self._changed.wait_for(reached)

    async def note(self, rpc: str, context: grpc.ServicerContext) -> None:
        """Keep that it was called, and fail if the test says so."""
        async with self._changed:
            self.asked.append(rpc)
            sent = dict(_metadata(context))
            self.told = {name: str(sent[name]) for name in ("x-request-id", "traceparent") if name in sent}
            self.credentials |= {str(value) for name, value in _metadata(context) if name == "authorization"}
            self._changed.notify_all()
        if failures := self.failures.get(rpc):
            await _fail(context, failures.pop(0))

    def new_folder(self) -> Path:
        """Make a folder that goes when the server does."""
        return Path(tempfile.mkdtemp(dir=self.folder))

    def lease(self, request: edge_pb.AdmitRequest) -> edge_pb.Lease:
        """Give the same lease for the same question; the first has the name that tests know."""
        names = self._leases
        lease_id = names.setdefault(request.idempotency_key, f"lse_{len(names):026}" if names else LEASE_ID)
        return edge_pb.Lease(
            lease_id=lease_id,
            wallet_id="wal_test",
            amount_nanos=max(LEASE_NANOS, request.want_nanos),
            max_intents=request.max_intents,
            time_to_live=duration_pb2.Duration(seconds=60),
        )

    def tell(self, message: edge_pb.WatchResponse) -> None:
        """Let the edge that watches know something."""
        self._told.put_nowait(message)

    def settle(self, epoch: int = 1, first: int = 1, last: int = 10**9) -> None:
        """Tell that positions are settled for good."""
        ranges = [edge_pb.SequenceRange(first=first, last=last)]
        self.tell(
            edge_pb.WatchResponse(sequences_settled=edge_pb.SequencesSettled(edge_epoch=epoch, ranges=ranges))
        )

    async def took(self, events: list[event_pb2.UsageEvent]) -> None:
        async with self._changed:
            self.batches.append(events)
            self._changed.notify_all()


def _metadata(context: grpc.ServicerContext) -> tuple[tuple[str, str | bytes], ...]:
    return tuple(context.invocation_metadata() or ())


async def _fail(context: grpc.ServicerContext, failure: Failure) -> None:
    trailing: tuple[tuple[str, bytes], ...] = ()
    if failure.reason:
        detail = any_pb2.Any()
        detail.Pack(error_details_pb2.ErrorInfo(reason=failure.reason, domain="openmonetize.io"))
        status = status_pb2.Status(code=failure.code.value[0], message="no", details=[detail])
        trailing = (("grpc-status-details-bin", status.SerializeToString()),)
    await context.abort(failure.code, "no", trailing)  # type: ignore[call-arg]  # The stubs know the blocking one.


class _Account(account_grpc.AccountServiceServicer):
    def __init__(self, fake: FakeServer) -> None:
        self._fake = fake

    async def AuthenticateKey(
        self, request: account_pb.AuthenticateKeyRequest, context: grpc.ServicerContext
    ) -> account_pb.AuthenticateKeyResponse:
        self._fake.secrets.append(request.secret)
        await self._fake.note("AuthenticateKey", context)
        if request.secret != KEY:
            await _fail(context, Failure(grpc.StatusCode.UNAUTHENTICATED, "CREDENTIAL_INVALID"))
        answer = account_pb.AuthenticateKeyResponse(
            key_id=KEY_ID,
            organization_id="org_test",
            scopes=self._fake.scopes,
            test_mode=self._fake.test_mode,
        )
        answer.MergeFrom(self._fake.calls)
        if self._fake.expire_s:
            answer.expire_time.CopyFrom(timestamp_pb2.Timestamp(seconds=self._fake.expire_s))
        return answer


class _Edge(edge_grpc.EdgeServiceServicer):
    def __init__(self, fake: FakeServer) -> None:
        self._fake = fake

    async def Resync(
        self, request: edge_pb.ResyncRequest, context: grpc.ServicerContext
    ) -> edge_pb.ResyncResponse:
        self._fake.resyncs.append(request)
        await self._fake.note("Resync", context)
        return edge_pb.ResyncResponse(incarnation=self._fake.store)

    async def Watch(
        self, request: edge_pb.WatchRequest, context: grpc.ServicerContext
    ) -> AsyncIterator[edge_pb.WatchResponse]:
        await self._fake.note("Watch", context)
        message = edge_pb.WatchResponse()
        while True:
            message.incarnation = self._fake.store
            message.cursor = message.cursor or "cursor"
            yield message
            message = await self._fake._told.get()

    async def GetRateCard(
        self, request: edge_pb.GetRateCardRequest, context: grpc.ServicerContext
    ) -> edge_pb.GetRateCardResponse:
        await self._fake.note("GetRateCard", context)
        return edge_pb.GetRateCardResponse(
            models=self._fake.rates, time_to_live=duration_pb2.Duration(seconds=self._fake.card_s)
        )

    async def Admit(
        self, request: edge_pb.AdmitRequest, context: grpc.ServicerContext
    ) -> edge_pb.AdmitResponse:
        self._fake.admit_requests.append(request)
        await self._fake.note("Admit", context)
        await self._fake.admits.wait()
        if self._fake.refusal is not None:
            return edge_pb.AdmitResponse(allowed=False, refusal=self._fake.refusal)
        answer = edge_pb.AdmitResponse(
            allowed=True,
            wallet_id="wal_test",
            funding_mode=self._fake.funding_mode,
            incarnation=self._fake.store,
            organization_id="org_test",
            warnings=[limit_warning_pb2.LimitWarning(limit_id=name) for name in self._fake.warnings],
        )
        if request.want_nanos:
            answer.lease.CopyFrom(self._fake.lease(request))
        return answer

    async def CloseLease(
        self, request: edge_pb.CloseLeaseRequest, context: grpc.ServicerContext
    ) -> edge_pb.CloseLeaseResponse:
        self._fake.closed.append(request.report)
        await self._fake.note("CloseLease", context)
        return edge_pb.CloseLeaseResponse(state=edge_pb.LEASE_STATE_CLOSING, incarnation=self._fake.store)


class _Ingestion(ingestion_grpc.IngestionServiceServicer):
    def __init__(self, fake: FakeServer) -> None:
        self._fake = fake

    async def IngestEvents(
        self, request: ingestion_pb.IngestEventsRequest, context: grpc.ServicerContext
    ) -> ingestion_pb.IngestEventsResponse:
        self._fake.raw.append(request.SerializeToString())
        await self._fake.note("IngestEvents", context)
        events = list(request.events)
        for event in events:
            if event.event_id in self._fake.indigestible:
                await _fail(context, self._fake.indigestible[event.event_id])
        self._fake.sources.append(request.edge)
        await self._fake.took(events)
        return ingestion_pb.IngestEventsResponse(
            results=[
                ingestion_pb.IngestResult(event_id=event.event_id, state=self._fake.ingest_state)
                for event in events
            ]
        )


@asynccontextmanager
async def fake_server() -> AsyncIterator[FakeServer]:
    """Serve until the block is left."""
    with tempfile.TemporaryDirectory() as folder:
        async with _served(FakeServer(folder=Path(folder))) as fake:
            yield fake


@asynccontextmanager
async def _served(fake: FakeServer) -> AsyncIterator[FakeServer]:
    server = grpc.aio.server()
    fake.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    account_grpc.add_AccountServiceServicer_to_server(_Account(fake), server)
    edge_grpc.add_EdgeServiceServicer_to_server(_Edge(fake), server)
    ingestion_grpc.add_IngestionServiceServicer_to_server(_Ingestion(fake), server)
    await server.start()
    try:
        yield fake
    finally:
        fake.admits.set()
        await server.stop(None)
