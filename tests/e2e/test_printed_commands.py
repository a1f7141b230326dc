"""The commands and requests that the published guides print work as printed, and the sandbox answers them.

They run against the proxy of the real providers, on a machine that reaches none of them. What is changed:
the hosts, which are the installation's, the words that stand for a key, and the sandbox header.
A machine may lack curl, so a plain client always sends what curl would; where curl is, it runs too.
"""

from __future__ import annotations

import http.client
import json
import shlex
import shutil
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from tests.e2e.tenant import PATIENCE_S, Funds, Tenant, awaited, nanos

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.e2e.installation import Installation

_PROXY_HEALTH = "curl https://meter.example.com/health"
_LOCAL_PROXY_HEALTH = "curl http://localhost:8082/health"
_INGESTION_HEALTH = "curl http://localhost:8081/health"
_PROXY_HEALTH_POSTED = "curl -X POST https://meter.example.com/health"
#: The troubleshooting page, "Test with headers".
_MESSAGE = r"""curl -X POST https://meter.example.com/v1/messages \
  -H "Content-Type: application/json" \
  -H "X-OM-Customer-Id: test" \
  -H "X-OM-User-Id: test" \
  -H "X-OM-Feature-Id: test" \
  -H "X-OM-Api-Key: your-api-key" \
  -H "x-api-key: your-anthropic-key" \
  -d '{"model": "claude-sonnet-4-20250514", "max_tokens": 10, "messages": [{"role": "user", "content": "Hi"}]}'
"""  # noqa: E501 - as printed
#: The proxy guide prints these three as TypeScript; this is what the program there sends.
_GUIDE_MESSAGE = r"""curl -X POST https://meter.example.com/v1/messages \
  -H "Content-Type: application/json" \
  -H "x-api-key: your-anthropic-key" \
  -H "X-OM-Customer-Id: cust_your-company" \
  -H "X-OM-User-Id: user_current-user" \
  -H "X-OM-Feature-Id: ai-chat" \
  -H "X-OM-Api-Key: your-api-key" \
  -d '{"model":"claude-sonnet-4-20250514","max_tokens":1024,"messages":[{"role":"user","content":"Hello!"}]}'
"""
_GUIDE_CHAT = r"""curl -X POST https://meter.example.com/v1/chat/completions \
  -H "Content-Type: application/json" \
  -H "Authorization: Bearer your-openai-key" \
  -H "X-OM-Customer-Id: cust_your-company" \
  -H "X-OM-User-Id: user_current-user" \
  -H "X-OM-Feature-Id: ai-chat" \
  -H "X-OM-Api-Key: your-api-key" \
  -d '{"model":"gpt-4o","messages":[{"role":"user","content":"Hello!"}]}'
"""
_GUIDE_GENERATION = r"""curl -X POST \
  https://meter.example.com/v1beta/models/gemini-2.0-flash:generateContent \
  -H "Content-Type: application/json" \
  -H "x-goog-api-key: your-gemini-key" \
  -H "X-OM-Customer-Id: cust_your-company" \
  -H "X-OM-User-Id: user_current-user" \
  -H "X-OM-Feature-Id: ai-chat" \
  -H "X-OM-Api-Key: your-api-key" \
  -d '{"contents":[{"parts":[{"text":"Hello!"}]}]}'
"""


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: Any


@dataclass(slots=True)
class _Request:
    """What a curl command sends."""

    url: str = ""
    method: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None


def _read_command(command: list[str]) -> _Request:
    request = _Request()
    words = iter(command[1:])
    for word in words:
        match word:
            case "-X":
                request.method = next(words)
            case "-H":
                name, _, value = next(words).partition(": ")
                request.headers[name] = value
            case "-d":
                request.body = next(words).encode()
            case _:
                assert not word.startswith("-"), word
                request.url = word
    return request


def _by_client(command: list[str]) -> _Answer:
    request = _read_command(command)
    address = urlsplit(request.url)
    assert address.hostname
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=PATIENCE_S)
    try:
        headers = {"Accept": "*/*", **request.headers}
        connection.request(request.method or "GET", address.path, request.body, headers)
        answer = connection.getresponse()
        return _Answer(answer.status, json.loads(answer.read()))
    finally:
        connection.close()


def _by_curl(command: list[str]) -> _Answer:
    extended = [command[0], "--silent", "--show-error", "--write-out", "\n%{http_code}", *command[1:]]
    done = subprocess.run(extended, capture_output=True, text=True, check=True, timeout=PATIENCE_S)
    body, _, status = done.stdout.rpartition("\n")
    return _Answer(int(status), json.loads(body))


_SENDERS = [_by_client, *([_by_curl] if shutil.which("curl") else [])]


@pytest.fixture(params=_SENDERS, ids=lambda sender: sender.__name__.removeprefix("_by_"))
def send(request: pytest.FixtureRequest, installation: Installation) -> Callable[..., _Answer]:
    """Run a printed command against this installation."""
    addresses = installation.addresses
    replaced = {
        "https://meter.example.com": addresses.offline_proxy,
        "http://localhost:8082": addresses.offline_proxy,
        "http://localhost:8081": addresses.rest,
    }

    def run(printed: str, *more: str, key: str = "") -> _Answer:
        for host, address in replaced.items():
            printed = printed.replace(host, address)
        # As a shell does it; shlex keeps a line break behind a backslash.
        joined = printed.replace("\\\n", "").replace("your-api-key", key)
        answer: _Answer = request.param([*shlex.split(joined), *more])
        return answer

    return run


@pytest.mark.acceptance("B-032", "B-033")
def test_the_printed_health_checks_succeed(send: Callable[..., _Answer]) -> None:
    for printed in (_PROXY_HEALTH, _LOCAL_PROXY_HEALTH, _PROXY_HEALTH_POSTED):
        assert send(printed) == _Answer(200, {"status": "healthy", "service": "ai-proxy-service"})
    ingestion = send(_INGESTION_HEALTH)

    assert (ingestion.status, ingestion.body["status"]) == (200, "ok")


@pytest.mark.parametrize(
    ("printed", "provider", "model"),
    [
        (_MESSAGE, "ANTHROPIC", "claude-sonnet-4-20250514"),
        (_GUIDE_MESSAGE, "ANTHROPIC", "claude-sonnet-4-20250514"),
        (_GUIDE_CHAT, "OPENAI", "gpt-4o-2024-08-06"),
        (_GUIDE_GENERATION, "GOOGLE", "gemini-2.0-flash"),
    ],
    ids=["troubleshooting", "guide-anthropic", "guide-openai", "guide-gemini"],
)
@pytest.mark.acceptance("B-018", "B-034")
def test_a_printed_request_is_answered_in_the_sandbox_and_listed(
    installation: Installation, send: Callable[..., _Answer], printed: str, provider: str, model: str
) -> None:
    tenant = installation.tenant("100")

    answer = send(printed, "-H", "X-Sandbox: true", key=tenant.key)
    (row,) = awaited(lambda: _listed(tenant))

    assert answer.status == 200
    assert _text(answer.body)
    assert (row["provider"], row["model"]) == (provider, model)
    assert int(row["outputTokens"]) > 0
    assert (row["creditsBurned"], row["costUsd"]) == ("0", "0.0000000000")
    event = tenant.event()
    assert event["event"]["sandbox"] is True
    assert (nanos(event, "cost"), nanos(event, "charge"), event["walletId"]) == (0, 0, "")
    assert tenant.funds() == Funds(100 * 10**9, 0)
    # The sandbox is no spend.
    assert tenant.get("/v1/analytics/usage")["data"]["summary"]["totalEvents"] == 0


@pytest.mark.acceptance("B-037", "B-039")
def test_the_printed_errors_come_as_printed(installation: Installation, send: Callable[..., _Answer]) -> None:
    tenant = installation.tenant("100")
    nameless = _MESSAGE.replace('  -H "X-OM-User-Id: test" \\\n', "")

    assert send(nameless, key=tenant.key) == _Answer(
        400,
        {
            "error": {
                "message": "Missing required OpenMonetize headers. Required: "
                "X-OM-Customer-Id, X-OM-User-Id, X-OM-Feature-Id, X-OM-Api-Key",
                "type": "invalid_request_error",
                "code": "missing_billing_headers",
            }
        },
    )
    # The word that the page prints is a wrong key.
    assert send(_MESSAGE, key="your-api-key") == _Answer(
        401,
        {
            "error": {
                "message": "Invalid OpenMonetize API key",
                "type": "authentication_error",
                "code": "invalid_api_key",
            }
        },
    )
    # Nobody answers behind this proxy, so a call that the sandbox does not answer fails.
    assert send(_MESSAGE, key=tenant.key).status == 502


def _listed(tenant: Tenant) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = tenant.get("/v1/events")["data"]
    return rows


def _text(body: Any) -> str:
    """Find the answer's text in any provider's answer."""
    if "candidates" in body:
        return "".join(part["text"] for part in body["candidates"][0]["content"]["parts"])
    if "choices" in body:
        return str(body["choices"][0]["message"]["content"])
    return "".join(block["text"] for block in body["content"])
