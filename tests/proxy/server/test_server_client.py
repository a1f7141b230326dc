from __future__ import annotations

import grpc
import pytest

from om.edge.v1 import edge_service_pb2 as edge_pb
from om_proxy.server.identity import new_edge
from om_proxy.server.server_client import ServerAway, ServerClient, ServerRefused, failure_of
from om_proxy.tracing import CallContext, calling
from tests.proxy.fake_servicer import SERVICE_TOKEN, Failure, fake_server


async def failure(expected: Failure | None) -> ServerAway | ServerRefused:
    """Let one call fail so; None: nobody is there."""
    async with fake_server() as server:
        server.failures["Resync"] = [] if expected is None else [expected]
        address = server.address if expected is not None else "127.0.0.1:9"
        client = ServerClient(address, SERVICE_TOKEN)
        try:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await client.edge.Resync(
                    edge_pb.ResyncRequest(edge=new_edge().to_proto()), metadata=client.metadata, timeout=5
                )
        finally:
            await client.close()
    return failure_of(caught.value)


@pytest.mark.parametrize(
    "code", ["UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "INTERNAL", "UNKNOWN"]
)
async def test_a_server_that_cannot_answer_is_away(code: str) -> None:
    assert isinstance(await failure(Failure(grpc.StatusCode[code], "DEPENDENCY_UNAVAILABLE")), ServerAway)


async def test_a_server_that_is_not_there_is_away() -> None:
    assert isinstance(await failure(None), ServerAway)


async def test_an_answer_of_no_tells_the_reason_of_the_contract() -> None:
    found = await failure(Failure(grpc.StatusCode.FAILED_PRECONDITION, "EDGE_NOT_RESYNCED"))

    assert isinstance(found, ServerRefused)
    assert found.reason == "EDGE_NOT_RESYNCED"


async def test_without_a_reason_the_code_is_the_reason() -> None:
    found = await failure(Failure(grpc.StatusCode.UNIMPLEMENTED))

    assert isinstance(found, ServerRefused)
    assert found.reason == "UNIMPLEMENTED"


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (CallContext(), {}),
        (CallContext("evt_1"), {"x-request-id": "evt_1"}),
        (CallContext("evt_1", "00-a-b-01"), {"x-request-id": "evt_1", "traceparent": "00-a-b-01"}),
    ],
)
async def test_the_server_is_told_for_which_call_it_is_asked(call: CallContext, told: dict[str, str]) -> None:
    async with fake_server() as server:
        client = ServerClient(server.address, SERVICE_TOKEN)
        token = calling.set(call)
        try:
            await client.ask(client.edge.Resync, edge_pb.ResyncRequest(edge=new_edge().to_proto()))
        finally:
            calling.reset(token)
            await client.close()

    assert server.told == told
