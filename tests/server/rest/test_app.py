import asyncio
import socket
from typing import cast

import httpx
import pytest
from google.api import annotations_pb2
from google.protobuf import descriptor_pool

from om_server.rest.app import RestSettings, create_app, serve
from om_server.rest.channel import Server
from om_server.rest.docs import load_document
from om_server.rest.listener import listen
from om_server.rpc.contract import SERVICES
from tests.server.rest.fake_servicer import KEY, Memory

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_the_same_routes_answer_on_every_port(grpc_address: str, memory: Memory) -> None:
    listeners = listen("127.0.0.1", (0, 0, 0))
    ports = [listener.getsockname()[1] for listener in listeners]
    stop = asyncio.Event()
    settings = RestSettings(grpc_target=grpc_address)
    running = asyncio.create_task(serve(settings, listeners=listeners, stop=stop))

    async with httpx.AsyncClient(headers={"x-api-key": KEY}, timeout=10) as client:
        for port in ports:
            address = f"http://127.0.0.1:{port}"
            assert (await client.get(f"{address}/health")).json()["status"] == "ok"
            assert (await client.get(f"{address}/v1/credits/balance")).status_code == 200
            assert (await client.get(f"{address}/api/v1/caller")).status_code == 200

    stop.set()
    await running
    for port in ports:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=1)


async def test_a_taken_port_stops_the_start(grpc_address: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        with pytest.raises(OSError, match=str(port)):
            await serve(RestSettings(grpc_target=grpc_address, ports=(0, port)), stop=asyncio.Event())


async def test_a_server_that_is_away_is_503_and_not_ready(memory: Memory) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        nobody = probe.getsockname()[1]
    listeners = listen("127.0.0.1", (0,))
    address = f"http://127.0.0.1:{listeners[0].getsockname()[1]}"
    stop = asyncio.Event()
    settings = RestSettings(grpc_target=f"127.0.0.1:{nobody}", rpc_timeout_s=5)
    running = asyncio.create_task(serve(settings, listeners=listeners, stop=stop))

    async with httpx.AsyncClient(headers={"x-api-key": KEY}, timeout=10) as client:
        transcoded = await client.get(f"{address}/api/v1/caller")
        documented = await client.get(f"{address}/v1/credits/balance")
        ready = await client.get(f"{address}/ready")

    stop.set()
    await running
    assert (transcoded.status_code, transcoded.json()["error"]["code"]) == (503, "UNAVAILABLE")
    assert documented.status_code == 503
    assert documented.json() == {
        "error": "Service Unavailable",
        "message": "Failed to fetch credit balance",
    }
    assert ready.status_code == 503
    assert ready.json()["checks"] == {"database": False, "ingestionService": False, "ratingEngine": False}


async def test_every_annotated_rpc_is_an_operation() -> None:
    pool = descriptor_pool.Default()
    annotated = {
        f"/{rpc.path}"
        for service, rpcs in SERVICES.items()
        for rpc in rpcs
        if pool.FindMethodByName(f"{service}.{rpc.name}").GetOptions().HasExtension(annotations_pb2.http)
    }
    paths = load_document()["paths"]
    assert isinstance(paths, dict)

    documented = {
        operation["x-grpc-method"]
        for path in paths.values()
        for operation in path.values()
        if "x-grpc-method" in operation
    }

    assert documented == annotated


async def test_an_operation_without_code_stops_the_start(
    grpc_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = load_document()
    operation = {"operationId": "forgotten", "responses": {"200": {"description": "Never."}}}
    paths = {**cast("dict[str, object]", document["paths"]), "/v1/forgotten": {"get": operation}}
    monkeypatch.setattr("om_server.rest.app.load_document", lambda: document | {"paths": paths})
    server = Server(grpc_address)

    with pytest.raises(LookupError, match="forgotten"):
        create_app(server)

    await server.close()
