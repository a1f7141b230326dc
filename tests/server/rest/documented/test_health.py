import httpx
import pytest

from om_server.rest.documented.health import readiness_body
from tests.server.rest.conftest import NOW_TEXT, NOW_US

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/health"), ("POST", "/health"), ("GET", "/health/live")]
)
async def test_health_asks_for_no_key(stranger: httpx.AsyncClient, method: str, path: str) -> None:
    answer = await stranger.request(method, path)

    assert answer.status_code == 200
    assert answer.json() == {"status": "ok", "timestamp": NOW_TEXT}


@pytest.mark.parametrize("path", ["/ready", "/health/ready"])
async def test_ready_tells_what_the_server_says(stranger: httpx.AsyncClient, path: str) -> None:
    answer = await stranger.get(path)

    assert answer.status_code == 200
    assert answer.json() == {
        "status": "ready",
        "checks": {"database": True, "ingestionService": True, "ratingEngine": True},
        "timestamp": NOW_TEXT,
    }


async def test_a_server_that_does_not_serve_is_degraded() -> None:
    assert readiness_body(serving=False, now_us=NOW_US) == {
        "status": "degraded",
        "checks": {"database": False, "ingestionService": True, "ratingEngine": True},
        "timestamp": NOW_TEXT,
    }


async def test_info(stranger: httpx.AsyncClient) -> None:
    body = (await stranger.get("/v1/info")).json()

    assert body.pop("uptime") >= 0
    assert body == {"service": "api-gateway", "version": "0.1.0", "environment": "test"}
