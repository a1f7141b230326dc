"""Calls that end badly: the caller leaves, the provider breaks off, is away, or says no."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from aiohttp import web

from tests.e2e.family import ANTHROPIC, FAMILIES, GEMINI, OPENAI, Family
from tests.e2e.tariff import charge_nanos, tokens
from tests.e2e.tenant import Funds, Tenant, nanos, quantities

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.e2e.installation import Installation

_GRANTED = 100 * 10**9
_PRICED_MODELS = {"openai": "gpt-4o", "anthropic": "claude-haiku-4-5", "google": "gemini-2.0-flash"}
_EACH_FAMILY = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.provider)

_UNREACHABLE = {
    "openai": {
        "error": {
            "message": "Failed to connect to upstream provider",
            "type": "connection_error",
            "code": "upstream_unreachable",
        }
    },
    "anthropic": {
        "type": "error",
        "error": {"type": "connection_error", "message": "Failed to connect to Anthropic"},
    },
    "google": {"error": {"code": 502, "message": "Failed to connect to Gemini", "status": "UNAVAILABLE"}},
}


@dataclass(frozen=True, slots=True)
class _Stream:
    """How far a stream gets before it stands still or breaks off: so many pieces, so many with text."""

    family: Family
    pieces: int
    texts: int


_STREAMS = (
    _Stream(OPENAI, pieces=6, texts=5),
    _Stream(ANTHROPIC, pieces=6, texts=3),
    _Stream(GEMINI, pieces=2, texts=2),
)
_EACH_STREAM = pytest.mark.parametrize("stream", _STREAMS, ids=lambda stream: stream.family.provider)


@_EACH_STREAM
def test_a_caller_who_leaves_in_mid_stream_pays_for_what_was_produced(
    installation: Installation, stream: _Stream
) -> None:
    tenant = installation.tenant("100")

    produced = ""
    with _opened(installation, tenant, stream.family, sim=f"hang_after={stream.pieces}") as answer:
        for text in _texts(answer):
            produced += text
            if len(produced) == _length(stream):
                break

    _assert_charged_for(tenant, stream.family, produced)


@_EACH_STREAM
def test_a_provider_that_breaks_off_is_paid_for_what_it_produced(
    installation: Installation, stream: _Stream
) -> None:
    tenant = installation.tenant("100")

    with _opened(installation, tenant, stream.family, sim=f"abort_after={stream.pieces}") as answer:
        produced = _read_until_cut(answer)

    assert len(produced) == _length(stream)
    _assert_charged_for(tenant, stream.family, produced)


@_EACH_FAMILY
def test_a_provider_that_is_away_is_told_as_documented_and_leaves_nothing_held(
    installation: Installation, family: Family
) -> None:
    tenant = installation.tenant("100")

    answer = _post(installation, f"{installation.addresses.offline_proxy}{family.path}", tenant, family)

    assert (answer.status_code, answer.json()) == (502, _UNREACHABLE[family.provider])
    # Nothing was sent, so a client may repeat the call by itself.
    assert "x-should-retry" not in answer.headers
    _assert_free(tenant)


@_EACH_FAMILY
def test_a_provider_that_takes_the_call_and_never_answers_leaves_nothing_held(
    installation: Installation, family: Family
) -> None:
    tenant = installation.tenant("100")

    url = f"{installation.addresses.proxy}{family.path}"
    answer = _post(installation, url, tenant, family, sim="drop=1")
    event = tenant.event()

    assert (answer.status_code, answer.json()) == (502, _UNREACHABLE[family.provider])
    assert answer.headers["x-should-retry"] == "false"
    # It may have worked for us, so what the prompt cost is charged, and said to be a guess.
    assert event["event"]["outcome"] == "OUTCOME_ESTIMATED"
    assert "estimated" in event["flags"]
    assert tenant.funds() == Funds(_GRANTED - nanos(event, "charge"), 0)


@_EACH_FAMILY
@pytest.mark.parametrize("status", [401, 429, 503, 529])
@pytest.mark.acceptance("B-041", "B-042", "B-044")
def test_a_provider_s_own_error_passes_byte_for_byte_and_costs_nothing(
    installation: Installation, refusing_proxy: str, family: Family, status: int
) -> None:
    tenant = installation.tenant("100")

    answer = _post(
        installation, f"{refusing_proxy}{family.path}", tenant, family, **{"X-Wanted-Status": str(status)}
    )

    assert (answer.status_code, answer.content) == (status, _REFUSAL)
    assert answer.headers["content-type"] == "application/problem+json; charset=utf-8"
    assert answer.headers["retry-after"] == "7"
    _assert_free(tenant, http_status=status)


def _assert_free(tenant: Tenant, http_status: int = 0) -> None:
    """Wait for the outcome that says so, and check that the lease has gone back."""
    event = tenant.event()
    assert (event["event"]["outcome"], event["event"]["httpStatus"]) == ("OUTCOME_ZERO", http_status)
    assert event["event"]["lines"] == []
    assert (nanos(event, "cost"), nanos(event, "charge"), event["walletId"]) == (0, 0, "")
    assert tenant.funds() == Funds(_GRANTED, 0)


def _assert_charged_for(tenant: Tenant, family: Family, produced: str) -> None:
    event = tenant.event()
    (line,) = event["event"]["lines"]
    measured = quantities(line)
    # OpenAI tells what went in at the end alone; until then it is guessed from the request's bytes.
    told = family is not OPENAI
    body = family.body(stream=True).decode()
    expected = {"input_tokens": tokens("Hi there" if told else body), "output_tokens": tokens(produced)}
    assert measured == expected
    certainties = {item["unit"]: item["certainty"] for item in line["usage"]["quantities"]}
    assert certainties == {
        "input_tokens": "CERTAINTY_MEASURED" if told else "CERTAINTY_ESTIMATED",
        "output_tokens": "CERTAINTY_ESTIMATED",
    }
    assert event["event"]["outcome"] == "OUTCOME_ESTIMATED"
    assert event["flags"] == ["estimated"]
    charge = charge_nanos(family.provider, _PRICED_MODELS[family.provider], expected)
    assert nanos(event, "charge") == charge > 0
    assert tenant.funds() == Funds(_GRANTED - charge, 0)


def _post(
    installation: Installation, url: str, tenant: Tenant, family: Family, *, sim: str = "", **more: str
) -> httpx.Response:
    headers = {**family.credential(), **tenant.billing(**{"X-Sim": sim}, **more)}
    return installation.web.post(url, content=family.body(), headers=headers)


@contextlib.contextmanager
def _opened(
    installation: Installation, tenant: Tenant, family: Family, *, sim: str
) -> Iterator[httpx.Response]:
    headers = {**family.credential(), **tenant.billing(**{"X-Sim": sim})}
    url = f"{installation.addresses.proxy}{family.stream_path}"
    # Leaving the block closes the connection, however much of the answer is left.
    with installation.web.stream("POST", url, content=family.body(stream=True), headers=headers) as answer:
        assert answer.status_code == 200
        yield answer


def _read_until_cut(answer: httpx.Response) -> str:
    """Read what comes before the connection breaks; a clean end would read as a whole answer."""
    received: list[str] = []
    with pytest.raises(httpx.RemoteProtocolError):
        received.extend(_texts(answer))
    return "".join(received)


def _texts(answer: httpx.Response) -> Iterator[str]:
    for line in answer.iter_lines():
        if line.startswith("data: {") and (text := _text(json.loads(line.removeprefix("data: ")))):
            yield text


def _text(event: dict[str, Any]) -> str:
    if event.get("choices"):
        return str(event["choices"][0]["delta"].get("content", ""))
    if "candidates" in event:
        return "".join(part["text"] for part in event["candidates"][0]["content"].get("parts", ()))
    return str(event.get("delta", {}).get("text", ""))


def _length(stream: _Stream) -> int:
    """Give the characters that the simulator puts into so many pieces."""
    tokens_each = {"openai": 1, "anthropic": 4, "google": 4}[stream.family.provider]
    return stream.texts * tokens_each * 4


#: No JSON of any provider: whoever reads or rewrites it is found out.
_REFUSAL = b'  {"error" :\t{"message": "sch\xc3\xb6n, \xff nein", "nested": [1.0, 1e3]}}\r\n\r\n'


@pytest.fixture(scope="module")
def refusing_proxy(installation: Installation) -> str:
    """Give a proxy whose providers answer every call with the status that its header wants."""
    return installation.proxy_before(installation.serve(_refusing()))


@contextlib.asynccontextmanager
async def _refusing() -> AsyncIterator[str]:
    async def refuse(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(
            status=int(request.headers["X-Wanted-Status"]),
            body=_REFUSAL,
            headers={"Content-Type": "application/problem+json; charset=utf-8", "Retry-After": "7"},
        )

    app = web.Application()
    app.router.add_route("POST", "/{path:.*}", refuse)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
