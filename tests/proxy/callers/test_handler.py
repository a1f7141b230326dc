"""A request on its way to the provider: what passes, what is refused, and in which words."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs

from om_proxy.off_loop import INLINE_BYTES_MAX
from om_proxy.providers.anthropic import Anthropic
from om_proxy.providers.openai import OpenAI
from tests.proxy.fake_servicer import AWAY, KEY
from tests.proxy.one_edge import ANSWER, ATTRIBUTION, CHAT, HEADERS, PROVIDER_KEY, STREAM, answers, edge
from tests.proxy.raw_http import Exchange, request_bytes

GEMINI_KEY = "AIza+canary%of/google"
MESSAGES = b'{"model":"claude-sonnet-4-5","max_tokens":9,"messages":[{"role":"user","content":"Hi"}]}'
GENERATE = b'{"contents":[{"parts":[{"text":"Hi"}]}]}'


async def test_headers_and_body_reach_the_provider_as_they_were_written() -> None:
    body = b' {"model" : "gpt-4o", "x":1.0, "big":12345678901234567890123, "u":"\\u2028", "messages":[]}\n'
    odd = ("x-lOwEr-Upper: aB", "X-Repeated: 1", "x-repeated: 2", "X-Repeated: 1", "User-Agent: me/1")
    async with edge(answers) as proxy:
        answer = await proxy.ask(body, *odd, "Accept: application/json", "X-Stainless-Lang: python")

    assert answer.status == 200
    seen = proxy.provider.last
    assert seen.body == body
    assert sorted(seen.headers) == sorted(
        [
            ("Host", proxy.provider.url.removeprefix("http://")),
            ("Authorization", f"Bearer {PROVIDER_KEY}"),
            ("Content-Type", "application/json"),
            ("x-lOwEr-Upper", "aB"),
            ("X-Repeated", "1"),
            ("x-repeated", "2"),
            ("X-Repeated", "1"),
            ("User-Agent", "me/1"),
            ("Accept", "application/json"),
            ("X-Stainless-Lang", "python"),
            ("Content-Length", str(len(body))),
        ]
    )
    assert seen.named("x-repeated") == ["1", "2", "1"]


async def test_well_known_names_keep_their_case() -> None:
    async with edge(answers) as proxy, proxy.caller() as caller:
        await caller.send(
            request_bytes(CHAT, *ATTRIBUTION, f"authorization: Bearer {PROVIDER_KEY}", "content-TYPE: a/b")
        )
        await caller.read()

    assert ("content-TYPE", "a/b") in proxy.provider.last.headers


async def test_a_request_without_optional_headers_gets_none() -> None:
    async with edge(answers) as proxy, proxy.caller() as caller:
        await caller.send(request_bytes(CHAT, *ATTRIBUTION, f"Authorization: Bearer {PROVIDER_KEY}"))
        await caller.read()

    assert {name for name, _ in proxy.provider.last.headers} == {"Host", "Authorization", "Content-Length"}


async def test_nothing_of_ours_and_nothing_of_this_hop_reaches_the_provider() -> None:
    ours = (
        "X-OM-Metadata: {}",
        "x-om-anything: 1",
        "X-Sandbox: false",
        f"X-Provider-Key: {KEY}",
        "Cookie: a=b",
    )
    hop = (
        "Connection: keep-alive, x-named",
        "X-Named: 1",
        "Keep-Alive: timeout=5",
        "TE: trailers",
        "Trailer: x",
        "Proxy-Authorization: Basic eA==",
        "Upgrade: h2c",
        "X-Forwarded-For: 10.0.0.1",
    )
    async with edge(answers) as proxy:
        answer = await proxy.ask(CHAT, *ours, *hop)

    assert answer.status == 200
    seen = proxy.provider.last
    assert {name.lower() for name, _ in seen.headers} == {
        "host",
        "authorization",
        "content-type",
        "content-length",
    }
    assert KEY not in repr(seen.headers)
    assert KEY.encode() not in seen.body


@pytest.mark.parametrize(
    "query", ["a=%2f&b=;&c&&d=1+2%20&e=%zz", "x=%E2%82%AC&x=2", "api-version=2026-01-01", "=", "a=/?&b=:@"]
)
async def test_an_odd_query_goes_on_as_it_came(query: str) -> None:
    async with edge(answers) as proxy:
        await proxy.ask(path=f"/v1/chat/completions?{query}")

    assert proxy.provider.last.line == f"POST /v1/chat/completions?{query} HTTP/1.1"


async def test_a_model_in_a_path_stays_one_escaped_segment() -> None:
    path = "/v1beta/models/tuned%2Fmine%3Av1:generateContent?alt=json"
    async with edge(answers) as proxy:
        await proxy.ask(GENERATE, "x-goog-api-key: k", path=path)

    target = "POST /v1beta/models/tuned%2Fmine%3Av1:generateContent?alt=json HTTP/1.1"
    assert proxy.provider.last.line == target


async def test_a_key_in_the_query_is_decoded_once_and_moves_to_its_header() -> None:
    path = "/v1beta/models/gemini-2.5-flash:generateContent?a=%2B&key=AIza%2Bcanary%25of%2Fgoogle&b=%2f"
    async with edge(answers) as proxy, proxy.caller() as caller:
        await caller.send(request_bytes(GENERATE, *ATTRIBUTION, path=path))
        await caller.read()

    seen = proxy.provider.last
    assert seen.named("x-goog-api-key") == [GEMINI_KEY]
    assert seen.line == "POST /v1beta/models/gemini-2.5-flash:generateContent?a=%2B&b=%2f HTTP/1.1"


async def test_the_sandbox_is_not_shown_a_key_and_calls_nobody() -> None:
    async with edge(answers) as proxy:
        answer = await proxy.ask(CHAT, "X-Sandbox: true")
        (event,) = await proxy.server.reported()

    assert answer.status == 200
    assert proxy.provider.exchanges == []
    assert proxy.server.admit_requests == []
    assert event.sandbox
    assert not event.funding


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/v1/chat/completions", CHAT, "Missing required OpenMonetize headers."),
        ("/v1/messages", MESSAGES, "Missing required OpenMonetize headers."),
        (
            "/v1beta/models/gemini-2.5-flash:generateContent",
            GENERATE,
            "Missing required OpenMonetize headers.",
        ),
    ],
)
async def test_a_call_without_attribution_is_refused_before_anything_is_asked(
    path: str, body: bytes, message: str
) -> None:
    async with edge(answers) as proxy, proxy.caller() as caller:
        await caller.send(request_bytes(body, f"Authorization: Bearer {PROVIDER_KEY}", path=path))
        answer = await caller.read()

    error = orjson.loads(answer.body)["error"]
    assert (answer.status, error["code"], error["message"][: len(message)]) == (
        400,
        "missing_billing_headers",
        message,
    )
    assert "AuthenticateKey" not in proxy.server.asked
    assert proxy.provider.exchanges == []


async def test_a_websocket_is_refused() -> None:
    async with edge(answers) as proxy:
        answer = await proxy.ask(CHAT, "Connection: Upgrade", "Upgrade: websocket")

    assert (answer.status, orjson.loads(answer.body)["error"]["code"]) == (400, "upgrade_not_supported")
    assert proxy.provider.exchanges == []


@pytest.mark.parametrize(
    "target",
    [
        "/v1/files/",
        "/v1/chat/completions/",
        "/v1/chat/%63ompletions",
        "//v1/chat/completions",
        "http://elsewhere.example/v1/chat/completions",
        "/v1/models/../chat/completions",
    ],
)
async def test_what_is_not_on_the_list_reaches_nobody(target: str) -> None:
    async with edge(answers) as proxy:
        answer = await proxy.ask(path=target)

    assert answer.status in {400, 404}
    assert proxy.provider.exchanges == []


@pytest.mark.parametrize(("size", "elsewhere"), [(INLINE_BYTES_MAX, False), (INLINE_BYTES_MAX + 1, True)])
async def test_a_large_body_is_read_on_another_thread(
    monkeypatch: pytest.MonkeyPatch, size: int, *, elsewhere: bool
) -> None:
    threads: list[int] = []
    read = OpenAI.read

    def noting(self: OpenAI, *arguments: Any, **named: Any) -> Any:
        threads.append(threading.get_ident())
        return read(self, *arguments, **named)

    monkeypatch.setattr(OpenAI, "read", noting)
    body = CHAT + b" " * (size - len(CHAT))
    async with edge(answers) as proxy:
        answer = await proxy.ask(body)

    assert answer.status == 200
    assert proxy.provider.last.body == body
    assert [thread != threading.get_ident() for thread in threads] == [elsewhere]


async def test_megabytes_pass_unchanged() -> None:
    body = CHAT[:-1] + b',"x":"' + b"a" * 3_000_000 + b'"}'
    async with edge(answers) as proxy:
        answer = await proxy.ask(body)

    assert answer.body == ANSWER
    assert proxy.provider.last.body == body
    assert proxy.provider.last.named("content-length") == [str(len(body))]


async def test_a_defect_before_the_call_is_told_in_the_providers_shape_and_without_content(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("sk-canary")

    monkeypatch.setattr(Anthropic, "read", broken)
    async with edge(answers) as proxy:
        with capture_logs() as logs:
            answer = await proxy.ask(MESSAGES, "x-api-key: k", path="/v1/messages")

    assert (answer.status, orjson.loads(answer.body)) == (
        500,
        {"type": "error", "error": {"type": "internal_error", "message": "Internal proxy error"}},
    )
    assert answer.named("x-should-retry") == ["false"]
    (defect,) = [entry for entry in logs if entry["event"] == "request_failed"]
    assert (defect["kind"], defect["place"].partition(":")[0]) == ("ZeroDivisionError", "test_handler.py")
    assert "canary" not in repr(logs)


async def test_a_server_that_is_away_is_said_to_be_worth_a_retry() -> None:
    async with edge(answers) as proxy:
        proxy.server.failures["AuthenticateKey"] = [AWAY]
        answer = await proxy.ask()

    assert (answer.status, answer.named("retry-after"), answer.named("x-should-retry")) == (503, ["1"], [])
    assert proxy.provider.exchanges == []


@pytest.mark.parametrize("body", [CHAT, STREAM])
async def test_an_answer_names_the_soft_limits_that_its_call_passes(body: bytes) -> None:
    async with edge(answers) as proxy:
        proxy.server.warnings = ["ent_1", "ent_2"]
        warned = await proxy.ask(body)
        proxy.server.warnings = []
        sandbox = await proxy.ask(body, "X-Sandbox: true")

    assert warned.named("x-om-limit-warning") == ["ent_1, ent_2"]
    assert sandbox.named("x-om-limit-warning") == []


async def test_calls_on_one_connection_are_told_apart() -> None:
    async def numbered(exchange: Exchange) -> None:
        await exchange.answer(exchange.body)

    async with edge(numbered) as proxy, proxy.caller() as caller:
        bodies = [CHAT[:-1] + b',"n":1,"seed":%d}' % number for number in range(3)]
        await caller.send(b"".join(request_bytes(body, *HEADERS) for body in bodies))
        assert [(await caller.read()).body for _ in bodies] == bodies
        events = await proxy.server.reported(3)

    assert len({event.event_id for event in events}) == 3
    assert [event.sequence for event in events] == [1, 2, 3]


async def test_no_key_is_in_any_log_line(caplog: pytest.LogCaptureFixture) -> None:
    async with edge(answers) as proxy:
        with capture_logs() as logs:
            await proxy.ask()
            await proxy.ask(b"{", "X-Secret: canary")
            await proxy.ask(path="/v1/nowhere?key=canary")
            await asyncio.gather(*(proxy.ask() for _ in range(3)))

    assert logs
    for secret in (KEY, PROVIDER_KEY, "canary", "Hi there"):
        assert secret not in repr(logs)
        assert secret not in caplog.text
