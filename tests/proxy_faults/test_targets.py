"""Where a request can lead: rows 52 to 54 of the fault catalogue."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator

import pytest

from om_proxy.providers import all_providers
from tests.proxy.one_edge import CHAT, HEADERS, answers
from tests.proxy.raw_http import caller, provider, request_bytes
from tests.proxy_faults.scene import Scene, scene

_ROUTES = tuple(route for provider in all_providers() for route in provider.routes if "{" not in route.path)
_PATHS = sorted({route.path for route in _ROUTES})
_STEPS = ("..", "%2e%2e", "%2E.", ".%2e", "%252e%252e", "%c0%ae%c0%ae", "..%00", "..;", "%5c..", "..%5c", ".")


def tricks(path: str) -> Iterator[str]:
    """Write a path in every way in which a lenient reader would take it for this path,
    or for one behind it."""
    for step in _STEPS:
        yield f"{path}/{step}/admin"
        yield f"{path}/{step}"
        yield f"/{step}{path}"
        yield f"/x/{step}{path}"
    first, _, rest = path[1:].partition("/")
    yield f"/{first}//{rest}"
    yield f"/{path}"
    yield f"{path}/"
    yield f"{path};x=y"
    yield f"{path}%20"
    yield f"{path}%00"
    yield f"{path}%3f"
    yield f"{path}%23"
    yield path.replace("/v1", "/V1", 1) if "/v1" in path else path.upper()
    yield path.replace("/", "\\")
    yield "/" + "".join(f"%{ord(letter):02x}" for letter in path[1:])
    yield path.replace("/", "%2f").replace("%2f", "/", 1)


async def statuses(running: Scene, targets: list[str], *headers: str) -> dict[str, int]:
    """Send a request to each target and give what came back; 0 where the connection ended."""

    async def one(target: str) -> int:
        async with caller(running.proxy.url) as connection:
            await connection.send(request_bytes(CHAT, *HEADERS, *headers, path=target))
            try:
                return (await connection.read()).status
            except (asyncio.IncompleteReadError, ConnectionError):
                return 0

    found: dict[str, int] = {}
    for start in range(0, len(targets), 50):
        group = targets[start : start + 50]
        found |= dict(zip(group, await asyncio.gather(*map(one, group)), strict=True))
    return found


async def test_no_trick_with_a_path_reaches_a_provider_row_52() -> None:
    known = set(_PATHS)
    # Of two routes that lie one behind the other, the longer one is no trick.
    targets = sorted({trick for path in _PATHS for trick in tricks(path)} - known)
    async with scene(answers) as running:
        found = await statuses(running, targets)
        reached = [exchange.line for exchange in running.proxy.provider.exchanges]

    assert len(targets) > 300
    assert {target: status for target, status in found.items() if status not in {0, 400, 404}} == {}
    assert reached == []


@pytest.mark.parametrize(
    "method_and_path",
    [
        "GET /v1/organization/admin_api_keys",
        "POST /v1/organization/admin_api_keys",
        "GET /v1/organizations/api_keys",
        "POST /v1/fine_tuning/jobs",
        "POST /v1/assistants",
        "POST /v1/threads",
        "POST /v1/realtime/sessions",
        "GET /v1/realtime",
        "POST /v1beta/models/gemini-2.5-flash:other",
        "POST /v1beta/models/gemini-2.5-flash",
        "POST /v1beta/corpora/x:generateContent",
        "DELETE /v1/chat/completions",
        "PUT /v1/messages",
        "PATCH /v1/chat/completions",
        "TRACE /v1/chat/completions",
        "OPTIONS /v1/chat/completions",
        "CONNECT api.openai.com:443",
        "POST /",
        "GET /admin",
        "GET /metrics",
        "GET /.env",
        "POST /api/proxy/v1/evil/chat/completions",
        "POST /api/proxy/v1/openai/organization/admin_api_keys",
        "POST /api/proxy/v1/openai/../anthropic/messages",
        "POST /api/proxy/v1//chat/completions",
    ],
)
async def test_what_is_not_on_the_list_is_not_forwarded_row_53(method_and_path: str) -> None:
    method, path = method_and_path.split(" ")
    async with scene(answers) as running, running.proxy.caller() as connection:
        data = request_bytes(CHAT, *HEADERS, "X-Provider-Key: sk-canary", path=path)
        await connection.send(data.replace(b"POST", method.encode(), 1))
        answer = await connection.read()

    assert answer.status in {400, 401, 404, 405}
    assert running.proxy.provider.exchanges == []


_MODELS = (
    "x#", "x%23", "x?y", "x%3fy", "a@evil.example", "a%40b", "http://evil.example", "..", "../..",
    "%2e%2e", "a%2f..%2fb",
    "a/../b", "x%00", "x%0d%0aHost:evil", "x y", "x%20y", "x\\y", "x%5cy", "a" * 129, "%E2%80%AE", "a;b",
    "a%3bb", "x|y",
    "a//b", "a%2f%2fb", "/a", "a/", "%2fa", "a&b", "a=b", "a+b", "*", "${x}", "{x}", "x%",
    "x%zz", "x:y:z", ":", "%3a",
)  # fmt: skip


@pytest.mark.parametrize("verb", [":generateContent", "%3AgenerateContent", ":streamGenerateContent"])
async def test_a_model_is_one_segment_of_a_path_and_nothing_else_row_54(verb: str) -> None:
    targets = [f"/v1beta/models/{model}{verb}" for model in _MODELS]
    async with scene(answers) as running:
        await statuses(running, targets, "x-goog-api-key: k")
        reached = [exchange.line.split(" ")[1] for exchange in running.proxy.provider.exchanges]
        # Whatever was forwarded, it was this verb of one model, and every outcome is told.
        for path in reached:
            prefix, _, model = path.partition("?")[0].removesuffix(verb.replace("%3A", ":")).rpartition("/")
            assert prefix == "/v1beta/models", path
            assert re.fullmatch(r"(?:[A-Za-z0-9._-]|%3A|%2F)+", model), path
        await running.outcomes(len(reached))


@pytest.mark.parametrize(
    "header",
    [
        "X-OM-Base-Url: {url}",
        "X-OM-Upstream: {url}",
        "X-OM-Provider: {url}",
        "X-Portkey-Custom-Host: {url}",
        'X-Portkey-Config: {{"custom_host":"{url}"}}',
        "X-Base-Url: {url}",
        "X-Forwarded-Host: {host}",
        "X-Original-Url: {url}/x",
        "X-Rewrite-Url: /v1/admin",
        "X-HTTP-Method-Override: DELETE",
        "Helicone-Target-Url: {url}",
        "Helicone-OpenAI-Api-Base: {url}",
        "api-base: {url}",
        "Proxy: {url}",
        "Destination: {url}",
    ],
)
async def test_no_header_says_where_a_request_goes_row_54(header: str) -> None:
    async with provider(answers) as elsewhere:
        line = header.format(url=elsewhere.url, host=elsewhere.url.removeprefix("http://"))
        async with scene(answers) as running:
            answer = await running.proxy.ask(CHAT, line)
            await running.outcomes(len(running.proxy.provider.exchanges))
        assert answer.status in {200, 400}
    assert elsewhere.exchanges == []
    for exchange in running.proxy.provider.exchanges:
        assert exchange.line == "POST /v1/chat/completions HTTP/1.1"
        assert exchange.named("host") == [running.proxy.provider.url.removeprefix("http://")]


@pytest.mark.parametrize(
    "field",
    ["api_base", "base_url", "api_key", "custom_llm_provider", "azure_endpoint", "region", "extra_headers"],
)
async def test_no_field_says_where_a_request_goes_row_54(field: str) -> None:
    async with provider(answers) as elsewhere:
        body = CHAT[:-1] + f',"{field}":"{elsewhere.url}"}}'.encode()
        async with scene(answers) as running:
            assert (await running.proxy.ask(body)).status == 200
            await running.outcome()
    assert elsewhere.exchanges == []
    assert running.proxy.provider.last.body == body
