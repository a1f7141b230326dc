"""A server that allows everything at once: what the proxy itself costs shows only in front of it."""

from __future__ import annotations

import argparse
import asyncio
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
    from collections.abc import Awaitable, Callable

    from google.protobuf.message import Message

_WALLET_ID = "wal_" + "0" * 26
_RATES = (("input_tokens", 2_500_000_000_000_000), ("output_tokens", 10_000_000_000_000_000))


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
    life = duration_pb2.Duration(seconds=60)
    lease = edge_pb.Lease(
        lease_id="lse_" + "0" * 26,
        wallet_id=_WALLET_ID,
        amount_nanos=10**10,
        max_intents=1,
        time_to_live=life,
    )
    key = account_pb.AuthenticateKeyResponse(
        key_id=KEY_ID, organization_id=ORGANIZATION_ID, team_id=TEAM_ID, scopes=[access_pb2.SCOPE_PROXY]
    )
    return {
        "/grpc.health.v1.Health/Check": health_pb2.HealthCheckResponse(
            status=health_pb2.HealthCheckResponse.SERVING
        ),
        "/om.account.v1.AccountService/AuthenticateKey": key,
        "/om.edge.v1.EdgeService/Resync": edge_pb.ResyncResponse(),
        "/om.edge.v1.EdgeService/GetRateCard": edge_pb.GetRateCardResponse(models=[rate], time_to_live=life),
        "/om.edge.v1.EdgeService/Admit": edge_pb.AdmitResponse(
            allowed=True, wallet_id=_WALLET_ID, lease=lease
        ),
        "/om.ingestion.v1.IngestionService/IngestEvents": ingestion_pb.IngestEventsResponse(),
    }


class _Answerer(grpc.GenericRpcHandler):
    """Gives every call of a method the same bytes."""

    def __init__(self) -> None:
        self._handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            method: grpc.unary_unary_rpc_method_handler(_constant(answer.SerializeToString()))
            for method, answer in _answers().items()
        }

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        return self._handlers.get(handler_call_details.method)


def _constant(answer: bytes) -> Callable[[bytes, object], Awaitable[bytes]]:
    async def handle(_request: bytes, _context: object) -> bytes:
        return answer

    return handle


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
