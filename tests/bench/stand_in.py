"""A server that allows everything at once: what the proxy itself costs shows only in front of it."""

from __future__ import annotations

import argparse
import asyncio
import itertools
from typing import TYPE_CHECKING

import grpc
import uvloop
from google.protobuf import duration_pb2
from grpc_health.v1 import health_pb2

from om.account.v1 import account_service_pb2 as account_pb
from om.edge.v1 import edge_service_pb2 as edge_pb
from om.ingestion.v1 import ingestion_service_pb2 as ingestion_pb
from om.type.v1 import access_pb2
from om_server.account.development import KEY_ID, ORGANIZATION_ID, TEAM_ID

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from google.protobuf.message import Message

_WALLET_ID = "wal_" + "0" * 26
_RATES = (
    ("input_tokens", 2_500_000_000_000_000),
    ("cache_read_tokens", 1_250_000_000_000_000),
    ("cache_write_tokens", 2_500_000_000_000_000),
    ("output_tokens", 10_000_000_000_000_000),
)
_INCARNATION = "bench"
_LIFE = duration_pb2.Duration(seconds=60)
_HEARTBEAT_S = 5.0
_ADMIT = "/om.edge.v1.EdgeService/Admit"
_WATCH = "/om.edge.v1.EdgeService/Watch"


def _answers() -> dict[str, Message]:
    """One answer for each method that a proxy calls. A rate is nano-credits for a million tokens."""
    rate = edge_pb.ModelRate(
        provider="openai",
        model="gpt-4o",
        priced=True,
        rates=[edge_pb.UnitRate(unit=unit, nanos_per_million=nanos) for unit, nanos in _RATES],
        context_window=128_000,
        output_tokens_max=16_384,
    )
    key = account_pb.AuthenticateKeyResponse(
        key_id=KEY_ID, organization_id=ORGANIZATION_ID, team_id=TEAM_ID, scopes=[access_pb2.SCOPE_PROXY]
    )
    return {
        "/grpc.health.v1.Health/Check": health_pb2.HealthCheckResponse(
            status=health_pb2.HealthCheckResponse.SERVING
        ),
        "/om.account.v1.AccountService/AuthenticateKey": key,
        "/om.edge.v1.EdgeService/Resync": edge_pb.ResyncResponse(incarnation=_INCARNATION),
        "/om.edge.v1.EdgeService/GetRateCard": edge_pb.GetRateCardResponse(models=[rate], time_to_live=_LIFE),
        "/om.edge.v1.EdgeService/CloseLease": edge_pb.CloseLeaseResponse(incarnation=_INCARNATION),
        "/om.ingestion.v1.IngestionService/IngestEvents": ingestion_pb.IngestEventsResponse(),
    }


class _Answerer(grpc.GenericRpcHandler):
    """Gives every call of a method the same bytes."""

    def __init__(self) -> None:
        self._handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            method: grpc.unary_unary_rpc_method_handler(_constant(answer.SerializeToString()))
            for method, answer in _answers().items()
        }
        self._handlers[_ADMIT] = grpc.unary_unary_rpc_method_handler(_Leases().admit)
        self._handlers[_WATCH] = grpc.unary_stream_rpc_method_handler(_watch)

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        return self._handlers.get(handler_call_details.method)


def _constant(answer: bytes) -> Callable[[bytes, object], Awaitable[bytes]]:
    async def handle(_request: bytes, _context: object) -> bytes:
        return answer

    return handle


class _Leases:
    """Grants whatever is wanted, each time under another name."""

    def __init__(self) -> None:
        self._numbers = itertools.count()

    async def admit(self, request: bytes, _context: object) -> bytes:
        want = edge_pb.AdmitRequest.FromString(request)
        answer = edge_pb.AdmitResponse(
            allowed=True,
            wallet_id=_WALLET_ID,
            funding_mode=edge_pb.FUNDING_MODE_STRICT,
            organization_id=ORGANIZATION_ID,
            incarnation=_INCARNATION,
        )
        if want.want_nanos:
            answer.lease.CopyFrom(
                edge_pb.Lease(
                    lease_id=f"lse_{next(self._numbers):026d}",
                    wallet_id=_WALLET_ID,
                    amount_nanos=want.want_nanos,
                    max_intents=want.max_intents,
                    time_to_live=_LIFE,
                )
            )
        return answer.SerializeToString()


async def _watch(_request: bytes, _context: object) -> AsyncIterator[bytes]:
    while True:
        yield edge_pb.WatchResponse(incarnation=_INCARNATION).SerializeToString()
        await asyncio.sleep(_HEARTBEAT_S)


async def _serve(port: int) -> None:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((_Answerer(),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    uvloop.run(_serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
