import httpx
import pytest
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from om_server.rest.rate_limit import NAMES_MAX, RateLimit, Throttle, Window
from om_server.rest.request import REQUEST_ID_SCOPE

pytestmark = pytest.mark.asyncio(loop_scope="session")

KEY = {"authorization": "Bearer om_live_good"}


class Clock:
    def __init__(self) -> None:
        self.now = 600.0

    def __call__(self) -> float:
        return self.now


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Lets in every credential that ends in good."""
    scope[REQUEST_ID_SCOPE] = "req"
    known = dict(scope["headers"]).get(b"authorization", b"").endswith(b"good")
    await JSONResponse({}, 200 if known else 401)(scope, receive, send)


def client_of(limit: RateLimit, clock: Clock) -> httpx.AsyncClient:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await throttle({**scope, REQUEST_ID_SCOPE: "req"}, receive, send)

    throttle = Throttle(application, limit, seconds=clock)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://rest")


async def test_a_caller_is_told_where_it_stands() -> None:
    clock = Clock()
    async with client_of(RateLimit(3), clock) as client:
        clock.now = 615.5
        answer = await client.get("/v1/events", headers=KEY)

    found = {name: value for name, value in answer.headers.items() if name.startswith("x-ratelimit")}
    assert found == {"x-ratelimit-limit": "3", "x-ratelimit-remaining": "2", "x-ratelimit-reset": "45"}


async def test_above_the_limit_it_is_429_until_the_window_ends() -> None:
    clock = Clock()
    async with client_of(RateLimit(2), clock) as client:
        statuses = [(await client.get("/v1/events", headers=KEY)).status_code for _ in range(3)]
        refused = await client.get("/v1/events", headers=KEY)
        other = await client.get("/v1/events", headers={"authorization": "Bearer another_good"})
        clock.now += 60
        later = await client.get("/v1/events", headers=KEY)

    assert statuses == [200, 200, 429]
    assert refused.json() == {
        "statusCode": 429,
        "error": "Too Many Requests",
        "message": "Rate limit exceeded, retry in 1 minute",
    }
    assert (refused.headers["retry-after"], refused.headers["x-ratelimit-remaining"]) == ("60", "0")
    assert (other.status_code, later.status_code) == (200, 200)


async def test_a_transcoded_operation_is_refused_in_its_own_shape() -> None:
    async with client_of(RateLimit(1, 30), Clock()) as client:
        await client.get("/api/v1/events", headers=KEY)
        refused = await client.get("/api/v1/events", headers=KEY)

    assert refused.status_code == 429
    assert refused.json()["error"]["message"] == "Rate limit exceeded, retry in 30 seconds"


async def test_made_up_credentials_do_not_escape_the_limit() -> None:
    """Defect B46: the bucket was whatever token was presented."""
    async with client_of(RateLimit(2), Clock()) as client:
        proven = await client.get("/v1/events", headers=KEY)
        tried = [
            (await client.get("/v1/events", headers={"authorization": f"Bearer {n}"})).status_code
            for n in range(4)
        ]
        still = await client.get("/v1/events", headers=KEY)

    assert (proven.status_code, tried, still.status_code) == (200, [401, 401, 429, 429], 200)


async def test_health_is_never_limited() -> None:
    async with client_of(RateLimit(1), Clock()) as client:
        answers = [await client.get("/health", headers=KEY) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200] * 3
    assert "x-ratelimit-limit" not in answers[0].headers


async def test_names_are_bounded_and_forgotten_with_their_window() -> None:
    window = Window(RateLimit(1))
    for number in range(NAMES_MAX):
        window.count(str(number), now=0)

    assert not window.count("one more", now=0).exceeded
    assert window.count("and another", now=0).exceeded
    assert not window.count("and another", now=60).exceeded
