"""The real application in front of a real gRPC server, once for the session: starting both costs a second."""

import warnings
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
import pytest_asyncio
from starlette.types import ASGIApp

from om_server.rpc.server import RpcServer, RpcSettings
from tests.server.rest.fake_servicer import KEY, Authenticator, Memory, servicers

with warnings.catch_warnings():
    # connexion imports a class that jsonschema wants to rename.
    warnings.simplefilter("ignore", DeprecationWarning)
    from om_server.rest.app import create_app
    from om_server.rest.channel import Server

NOW_US = 1_767_225_600_123_000
NOW_TEXT = "2026-01-01T00:00:00.123Z"


@pytest.fixture(scope="session")
def session_memory() -> Memory:
    return Memory()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def grpc_address(session_memory: Memory) -> AsyncIterator[str]:
    server = RpcServer(
        servicers(session_memory),
        Authenticator(),
        settings=RpcSettings(address="127.0.0.1:0"),
        service_token="",
        new_request_id=lambda: "req_made_by_server",
    )
    port = await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(0)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def app(grpc_address: str) -> AsyncIterator[ASGIApp]:
    server = Server(grpc_address, timeout_s=5)
    yield create_app(server, environment="test", clock=lambda: NOW_US)
    await server.close()


@pytest.fixture
def memory(session_memory: Memory) -> Iterator[Memory]:
    """What the server holds, empty at the start of each test."""
    session_memory.clear()
    yield session_memory
    session_memory.clear()


@pytest_asyncio.fixture(loop_scope="session")
async def stranger(app: ASGIApp, memory: Memory) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a credential."""
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://rest") as client:
        yield client


@pytest_asyncio.fixture(loop_scope="session")
async def client(stranger: httpx.AsyncClient) -> httpx.AsyncClient:
    """A client with a key that may do everything."""
    stranger.headers["authorization"] = f"Bearer {KEY}"
    return stranger
