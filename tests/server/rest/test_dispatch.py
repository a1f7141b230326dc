import contextlib
from collections.abc import Iterator

import httpx
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from om.wallet.v1 import wallet_service_pb2 as wallet_pb
from om_server.rest.app import create_app
from om_server.rest.channel import Server
from om_server.rest.dispatch import Outermost
from om_server.rest.tracing import RequestSpan
from tests.server.rest.fake_servicer import KEY, Memory

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/nope"), ("POST", "/nope"), ("DELETE", "/v1/credits/balance"), ("GET", "/v1/events/ingest")],
)
async def test_an_unknown_route_and_a_wrong_method_are_404(
    stranger: httpx.AsyncClient, method: str, path: str
) -> None:
    answer = await stranger.request(method, path)

    assert answer.status_code == 404
    assert answer.json() == {
        "message": f"Route {method}:{path} not found",
        "error": "Not Found",
        "statusCode": 404,
    }
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize(("method", "path"), [("GET", "/api/v1/nope"), ("PUT", "/api/v1/wallet")])
async def test_under_the_transcoded_prefix_the_body_is_that_familys(
    stranger: httpx.AsyncClient, method: str, path: str
) -> None:
    answer = await stranger.request(method, path, headers={"x-request-id": "mine"})

    assert answer.status_code == 404
    error = answer.json()["error"]
    assert (error["code"], error["reason"], error["requestId"]) == ("NOT_FOUND", "NOT_FOUND", "mine")


@pytest.mark.parametrize("path", ["/v1/info/", "/health/", "/"])
async def test_a_final_slash_is_not_redirected(stranger: httpx.AsyncClient, path: str) -> None:
    """A redirect would go to the host that the caller names."""
    answer = await stranger.get(path, headers={"host": "elsewhere.example"})

    assert answer.status_code == 404


async def test_an_id_may_have_a_slash(client: httpx.AsyncClient, memory: Memory) -> None:
    memory.wallets[wallet_pb.OWNER_KIND_USER, "team/alice"] = wallet_pb.Wallet(exists=True)

    answer = await client.get("/v1/users/team%2Falice/credits")

    assert answer.status_code == 200


@pytest.mark.parametrize("path", ["/v1/anything", "/api/v1/anything"])
async def test_a_defect_is_answered_and_tells_nothing(path: str) -> None:
    async def broken(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise RuntimeError("om_live_secret")

    async with _client(Outermost(broken)) as client:
        answer = await client.get(path)

    assert answer.status_code == 500
    assert "om_live_secret" not in answer.text
    assert answer.headers["x-request-id"]


async def test_requests_count_by_operation_and_never_by_path(grpc_address: str) -> None:
    counted: list[tuple[str, int]] = []

    def count(operation: str, status: int, /, *, seconds: float) -> None:
        assert seconds > 0
        counted.append((operation, status))

    server = Server(grpc_address, timeout_s=5)
    async with _client(create_app(server, answered=count)) as client:
        await client.get("/health")
        await client.get("/nope/om_live_secret")
    await server.close()

    assert counted == [("getHealth", 200), ("", 404)]


class Spans:
    """Keeps what is told of each request, as a tracer and as a span."""

    def __init__(self) -> None:
        self.trace_parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        self.begun: list[tuple[str, str]] = []
        self.ended: list[dict[str, str | int]] = []
        self._notes: dict[str, str | int] = {}

    @contextlib.contextmanager
    def request(self, trace_parent: str, *, request_id: str) -> Iterator[RequestSpan]:
        self.begun.append((trace_parent, request_id))
        self._notes = {}
        yield self
        self.ended.append(self._notes)

    def note(self, name: str, value: str | int) -> None:
        self._notes[name] = value


async def test_a_request_is_one_span_with_the_route_and_never_the_path(
    grpc_address: str, memory: Memory
) -> None:
    spans, server = Spans(), Server(grpc_address, timeout_s=5)
    headers = {"x-api-key": KEY, "traceparent": "theirs", "x-request-id": "mine"}
    memory.wallets[wallet_pb.OWNER_KIND_USER, "alice"] = wallet_pb.Wallet(exists=True)
    hold = "hld_00000000000000000000000000"
    async with _client(create_app(server, tracer=spans)) as client:
        await client.get("/v1/users/alice/credits?q=secret", headers=headers)
        await client.post(f"/api/v1/holds/{hold}/capture", headers=headers)
        await client.get("/nope/secret", headers=headers)
        await client.get("/docs/openapi.json", headers=headers)
    await server.close()

    assert spans.begun == [("theirs", "mine")] * 4
    assert spans.ended == [
        {"http.route": "/v1/users/{userId}/credits", "http.response.status_code": 200},
        {"http.route": "/api/v1/holds/{hold_id}/capture", "http.response.status_code": 404},
        {"http.response.status_code": 404},
        {"http.response.status_code": 200},
    ]


def _client(app: ASGIApp) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://rest")
