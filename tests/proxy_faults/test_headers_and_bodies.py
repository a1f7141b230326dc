"""Headers and bodies that try something: rows 42 to 45, 49 to 51 and 78 to 80 of the fault catalogue."""

from __future__ import annotations

import asyncio
import hashlib
import time

import orjson
import pytest

from tests.proxy.fake_servicer import KEY
from tests.proxy.one_edge import ANSWER, CHAT, HEADERS, answers
from tests.proxy.raw_http import Exchange, head, request_bytes
from tests.proxy_faults.scene import code, scene


@pytest.mark.parametrize(
    "again",
    [
        f"X-OM-Api-Key: {KEY}",
        "x-om-api-key: other",
        "X-OM-Customer-Id: other",
        "X-OM-User-Id: other",
        "X-OM-Feature-Id: chat",
        "Authorization: Bearer other",
    ],
)
async def test_a_header_that_decides_who_pays_may_not_occur_twice_row_42(again: str) -> None:
    async with scene(answers) as running:
        answer = await running.proxy.ask(CHAT, again)

    assert (answer.status, code(answer)) == (400, "ambiguous_header")
    assert running.proxy.provider.exchanges == []


@pytest.mark.parametrize(
    "value", ["sk-canary\x00", "sk-canary\x1b[2J", "sk-canary\xe9", "sk-canary\u2028", "\x7f"]
)
@pytest.mark.parametrize("name", ["Accept", "OpenAI-Organization", "Authorization", "X-Any"])
async def test_a_value_that_is_no_text_is_refused_and_written_nowhere_row_43(name: str, value: str) -> None:
    lines = [line for line in HEADERS if not line.startswith(f"{name}:")]
    prefix = "Bearer " if name == "Authorization" else ""
    data = "\r\n".join(
        ("POST /v1/chat/completions HTTP/1.1", "Host: a", *lines, f"{name}: {prefix}{value}", "", "")
    )
    async with scene(answers) as running, running.proxy.caller() as connection:
        await connection.send(data.encode())
        answer = await connection.read()

    assert answer.status in {400, 401}
    assert b"canary" not in answer.body
    assert running.proxy.provider.exchanges == []


async def test_headers_of_this_hop_stay_here_and_cannot_take_the_key_along_row_44() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.answer(
            ANSWER,
            "Connection: x-request-id, keep-alive",
            "x-request-id: 1",
            "Keep-Alive: timeout=9",
            "Via: x",
        )

    async with scene(script) as running:
        sent = (
            "Connection: authorization, x-om-api-key, content-type, x-named",
            "X-Named: 1",
            "TE: trailers",
        )
        answer = await running.proxy.ask(
            CHAT, *sent, "Keep-Alive: timeout=1", "Proxy-Authorization: Basic eA=="
        )
        await running.outcome()

    got = running.proxy.provider.last
    assert got.named("authorization") == ["Bearer sk-canary-of-the-provider"]
    for name in ("x-named", "te", "keep-alive", "proxy-authorization", "connection"):
        assert got.named(name) == []
    assert answer.named("keep-alive") + answer.named("connection") == []
    assert answer.named("via") == ["x"]


async def test_who_asks_is_not_told_and_not_believed_row_45() -> None:
    claims = (
        "X-Forwarded-For: 203.0.113.9",
        "X-Forwarded-Host: evil.example",
        "X-Forwarded-Proto: https",
        "Forwarded: for=203.0.113.9",
        "Via: 1.1 evil.example",
        "X-Real-IP: 203.0.113.9",
        "CF-Connecting-IP: 203.0.113.9",
        "True-Client-IP: 203.0.113.9",
        "Cookie: session=sk-canary",
    )
    async with scene(answers) as running:
        assert (await running.proxy.ask(CHAT, *claims)).status == 200
        await running.outcome()

    got = running.proxy.provider.last
    for claim in claims:
        assert got.named(claim.partition(":")[0]) == []
    assert got.named("host") == [running.proxy.provider.url.removeprefix("http://")]


_DEEP = b"[" * 100_000 + b"]" * 100_000


@pytest.mark.parametrize(
    "body",
    [
        _DEEP,
        CHAT[:-1] + b',"x":' + _DEEP + b"}",
        CHAT[:-1] + b',"x":1e400}',
        CHAT[:-1] + b',"x":NaN}',
        CHAT[:-1] + b',"x":-0.0,"y":1E+2,"z":1.10}',
        CHAT[:-1] + b',"model":"gpt-4o-mini","model":"gpt-4o"}',
        CHAT[:-1] + b',"x":"\\ud800"}',
        CHAT[:-1] + b',"x":"\\u0000\\u2028"}',
        CHAT[:-1] + b',"x":"\xed\xa0\x80"}',
        CHAT[:-1] + b',"x":' + b"9" * 10_000_000 + b"}",
        b"\xef\xbb\xbf" + CHAT,
        b" \r\n\t" + CHAT + b" \n",
        b"null",
        b"",
        b"{}",
        b'{"model":"gpt-4o","messages":' + b"[" * 2_000 + b"]" * 2_000 + b"}",
    ],
)
async def test_json_of_any_kind_is_refused_or_passed_on_as_it_is_row_49(body: bytes) -> None:
    async with scene(answers) as running:
        before = time.monotonic()
        answer = await running.proxy.ask(body)
        took_s = time.monotonic() - before
        got = running.proxy.provider.exchanges
        await running.outcomes(len(got))

    assert answer.status in {200, 400}
    assert [hashlib.sha1(exchange.body).digest() for exchange in got] == (  # noqa: S324 - not for secrecy.
        [hashlib.sha1(body).digest()] if answer.status == 200 else []  # noqa: S324
    )
    assert took_s < 2


@pytest.mark.parametrize(
    "more",
    [b"", b',"stream_options":null', b',"stream_options":{}', b',"stream_options":{"x":[1,{"y":"}"}]}'],
)
async def test_an_edited_body_differs_in_that_one_place_row_50(more: bytes) -> None:
    odd = b',"stream":true,"x":1.10,"b":{"z":1,"a":1},"b":2,"t":"\\u2028\\/\\ud83d\\ude00"' + more + b" }\n"
    body = CHAT[:-1] + odd
    async with scene(answers) as running:
        await running.proxy.ask(body)
        await running.outcome()

    got = running.proxy.provider.last.body
    added = b'"include_usage":true'
    assert orjson.loads(got)["stream_options"]["include_usage"] is True
    assert got.count(added) == 1
    # What was put in stands in one piece: around it is the caller's own text.
    start, end = got.index(added), len(got) - got.index(added) - len(added)
    while start and got[:start] != body[:start]:
        start -= 1
    while end and got[len(got) - end :] != body[len(body) - end :]:
        end -= 1
    assert len(got) - start - end <= len(b'"stream_options":{"include_usage":true},')
    assert start + end >= len(body) - len(b"null")


async def test_no_request_sees_anything_of_another_row_78() -> None:
    count = 300

    async def script(exchange: Exchange) -> None:
        mark = exchange.named("X-Mark")[0]
        assert exchange.named("Authorization") == [f"Bearer sk-canary-{mark}"]
        assert exchange.body == body_of(mark)
        await exchange.answer(b'{"mark":"%b"}' % mark.encode(), f"X-Echo: {mark}", f"Set-Cookie: mark={mark}")

    def body_of(mark: str) -> bytes:
        return CHAT.replace(b"Hi there", b"Mark " + mark.encode())

    async def one(mark: str) -> None:
        lines = [line for line in HEADERS if not line.startswith(("Authorization", "X-OM-User"))]
        mine = (f"Authorization: Bearer sk-canary-{mark}", f"X-OM-User-Id: user-{mark}", f"X-Mark: {mark}")
        async with running.proxy.caller() as connection:
            await connection.send(request_bytes(body_of(mark), *lines, *mine))
            answer = await connection.read()
        assert (answer.status, answer.body) == (200, b'{"mark":"%b"}' % mark.encode())
        assert (answer.named("x-echo"), answer.named("set-cookie")) == ([mark], [])
        told[answer.named("x-om-request-id")[0]] = mark

    told: dict[str, str] = {}
    async with scene(script) as running:
        for start in range(0, count, 60):
            await asyncio.gather(*(one(f"m{number}") for number in range(start, start + 60)))
        events = await running.outcomes(count)

    assert len(told) == count
    assert {event.event_id: event.attribution.user_id for event in events} == {
        event_id: f"user-{mark}" for event_id, mark in told.items()
    }


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/health"),
        ("GET", "/health/live"),
        ("GET", "/health/ready"),
        ("POST", "/nowhere"),
        ("POST", "/v1/messages/nowhere"),
        ("POST", "/v1beta/models/x:nowhere"),
        ("POST", "/v1/chat/completions"),
        ("P\x00ST", "/v1/chat/completions"),
    ],
)
async def test_no_cache_may_keep_an_answer_of_our_own_row_79(method: str, path: str) -> None:
    async with scene(answers) as running, running.proxy.caller() as connection:
        await connection.send(f"{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n".encode())
        answer = await connection.read()

    assert answer.named("cache-control") == ["no-store"]
    assert answer.named("vary") == ["Authorization"]


async def test_what_a_provider_says_of_caches_is_passed_on_as_it_is_row_79() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.answer(ANSWER, "Cache-Control: private, max-age=0", "Vary: Origin")

    async with scene(script) as running:
        answer = await running.proxy.ask()
        await running.outcome()

    assert (answer.named("cache-control"), answer.named("vary")) == (["private, max-age=0"], ["Origin"])


async def test_a_cookie_of_the_provider_is_neither_kept_nor_passed_on_row_80() -> None:
    async def script(exchange: Exchange) -> None:
        cookie = "Set-Cookie: __cf_bm=sk-canary; path=/; HttpOnly"
        await exchange.send(head("200 OK", cookie, f"Content-Length: {len(ANSWER)}") + ANSWER)

    async with scene(script) as running:
        for count in (1, 2):
            answer = await running.proxy.ask()
            assert answer.named("set-cookie") == []
            await running.outcomes(count)

    assert [exchange.named("cookie") for exchange in running.proxy.provider.exchanges] == [[], []]
