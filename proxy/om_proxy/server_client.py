"""The proxy's one connection to the server: every call with a deadline and the service credential."""

from __future__ import annotations

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from om.account.v1 import account_service_pb2_grpc as account_grpc
from om.edge.v1 import edge_service_pb2_grpc as edge_grpc
from om.ingestion.v1 import ingestion_service_pb2_grpc as ingestion_grpc

#: Within it the caller is still there; a server that takes longer counts as away.
DEADLINE_S = 5.0
INGEST_DEADLINE_S = 30.0


class ServerAway(Exception):
    """The server cannot be reached, or did not answer in time."""


class ServerRefused(Exception):
    """The server answered with an error; `reason` is the contract's."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ServerClient:
    """The stubs that the proxy needs, over one channel."""

    def __init__(self, address: str, service_token: str) -> None:
        self._channel = grpc.aio.insecure_channel(address)
        # Made once: the library would build it from plain pairs for each call.
        self.metadata = grpc.aio.Metadata(("authorization", f"Bearer {service_token}"))
        self.account = account_grpc.AccountServiceStub(self._channel)
        self.edge = edge_grpc.EdgeServiceStub(self._channel)
        self.ingestion = ingestion_grpc.IngestionServiceStub(self._channel)

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
