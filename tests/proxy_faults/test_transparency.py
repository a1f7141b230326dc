"""Through the proxy a caller gets what the provider sends: every byte, and every header but a few."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import re
import zlib
from dataclasses import dataclass

import pytest

from om.edge.v1 import edge_service_pb2 as edge_pb
from om_proxy.call.route import Route
from om_proxy.metering.usage import Unit
from om_proxy.providers import all_providers
from tests.proxy.one_edge import CHAT, HEADERS, STREAM
from tests.proxy.raw_http import Exchange, Received, caller, head, provider, request_bytes
from tests.proxy.upstream.test_relay import DONE, FRAMES, USAGE
from tests.proxy_faults.scene import Scene, scene

#: Of the connection, or taken away on purpose; docs/security.md says why.
_DROPPED = {"connection", "keep-alive", "transfer-encoding", "trailer", "set-cookie", "alt-svc"}
_DROPPED_PREFIX = "access-control-"
_ADDED = {"x-om-request-id", "date"}

_FIELDS = b"""{"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}], "input": "Hi",
 "prompt": "Hi", "max_tokens": 5, "max_output_tokens": 5, "voice": "alloy", "size": "1024x1024", "n": 1,
 "seconds": "4", "contents": [{"parts": [{"text": "Hi"}]}], "content": {"parts": [{"text": "Hi"}]},
 "instances": [{"prompt": "Hi"}], "requests": [{"custom_id": "a", "model": "models/gemini-embedding-001",
  "content": {"parts": [{"text": "Hi"}]}, "params": {"model": "claude-sonnet-4-5", "max_tokens": 5,
   "messages": [{"role": "user", "content": "Hi"}]}}],
 "parameters": {"sampleCount": 1, "durationSeconds": 8}, "ttl": "300s"}"""
_PARTS = (
    b'--AbC\r\nContent-Disposition: form-data; name="model"\r\n\r\ngpt-image-1\r\n'
    b'--AbC\r\nContent-Disposition: form-data; name="prompt"\r\n\r\nHi\r\n'
    b'--AbC\r\nContent-Disposition: form-data; name="seconds"\r\n\r\n4\r\n'
    b'--AbC\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n'
    b"Content-Type: audio/wav\r\n\r\nRIFF\x00\xff\r\n--AbC--\r\n"
)


@dataclass(frozen=True)
class Reply:
    """Raw bytes of an answer, and how they are cut for sending."""

    name: str
    data: bytes
    cut: int = 0  # Bytes at a time; none is all at once.


def _sized(status: str, body: bytes, *headers: str) -> bytes:
    return head(status, *headers, f"Content-Length: {len(body)}") + body


def _chunked(body: bytes, size: int, *headers: str) -> bytes:
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    framed = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return head("200 OK", *headers, "Transfer-Encoding: chunked") + framed + b"0\r\n\r\n"


_JSON = (
    b'{ "id":"x",\t"usage" : {"prompt_tokens":3,"completion_tokens":2}, "t":"\\u2028 \xe2\x80\xa8 1.10" }\r\n'
)
_EVENTS = b"".join((*FRAMES, b": comment\n\n", USAGE, DONE))
_RAW_DEFLATE = zlib.compressobj(9, zlib.DEFLATED, -15)
# One frame with one block that is not compressed.
_ZSTD = b"\x28\xb5\x2f\xfd\x20" + bytes((len(_JSON),)) + ((len(_JSON) << 3) | 1).to_bytes(3, "little") + _JSON
_USUAL = (
    "content-TYPE: application/json; charset=UTF-8",
    "x-request-id: req_1",
    "Request-Id: req_2",
    "openai-processing-ms: 12",
    "anthropic-ratelimit-tokens-remaining: 9",
    "X-Twice: a",
    "X-Twice: b",
    "X-Empty:",
    'ETag: "x"',
    "Cache-Control: no-cache",
    "Vary: Origin",
    "Server: cloudflare",
)
_SSE = ("Content-Type: text/event-stream; charset=utf-8", "x-request-id: req_1")

REPLIES = (
    Reply("sized", _sized("200 OK", _JSON, *_USUAL)),
    Reply("sized, one byte at a time", _sized("200 OK", _JSON, *_USUAL), cut=1),
    Reply("chunked", _chunked(_JSON, 7, *_USUAL)),
    Reply("gzip", _sized("200 OK", gzip.compress(_JSON), *_USUAL, "Content-Encoding: gzip")),
    Reply("gzip in chunks", _chunked(gzip.compress(_JSON), 3, *_USUAL, "Content-Encoding: gzip")),
    Reply("deflate", _sized("200 OK", zlib.compress(_JSON), *_USUAL, "Content-Encoding: deflate")),
    Reply(
        "raw deflate",
        _sized(
            "200 OK",
            _RAW_DEFLATE.compress(_JSON) + _RAW_DEFLATE.flush(),
            *_USUAL,
            "Content-Encoding: deflate",
        ),
    ),
    Reply("zstd", _sized("200 OK", _ZSTD, *_USUAL, "Content-Encoding: zstd")),
    Reply("br", _sized("200 OK", b'\x0b\x02\x80{"a":1}\x03', *_USUAL, "Content-Encoding: br")),
    Reply("events", _chunked(_EVENTS, 50, *_SSE)),
    Reply("events, one byte at a time", _chunked(_EVENTS, 1, *_SSE), cut=6),
    Reply("events, one byte in each chunk", _chunked(_EVENTS, 1, *_SSE)),
    Reply("events with CRLF", _chunked(_EVENTS.replace(b"\n", b"\r\n"), 31, *_SSE)),
    Reply("events with CR", _chunked(_EVENTS.replace(b"\n", b"\r"), 31, *_SSE)),
    Reply("events in gzip", _chunked(gzip.compress(_EVENTS), 9, *_SSE, "Content-Encoding: gzip")),
    Reply("events with a length", _sized("200 OK", _EVENTS, *_SSE)),
    Reply("bytes", _sized("200 OK", bytes(range(256)) * 300, "Content-Type: audio/mpeg")),
    Reply("201", _sized("201 Created By Me", _JSON, *_USUAL)),
    Reply("204", head("204 No Content", "x-request-id: 1")),
    Reply("400", _sized("400 Bad Request", b'{"error":{"code":null}}', *_USUAL)),
    Reply("401", _sized("401 Unauthorized", b"no", "Content-Type: text/plain", "WWW-Authenticate: Bearer")),
    Reply("429", _sized("429 Too Many Requests", b"", "retry-after: 7", "x-should-retry: true")),
    Reply("500", _sized("500 Internal Server Error", b"<html>", "Content-Type: text/html")),
    Reply("529", _sized("529 ", b'{"type":"error"}', *_USUAL)),
    Reply("hop by hop", _sized("200 OK", _JSON, "Keep-Alive: timeout=5", "Set-Cookie: a=b", "Alt-Svc: h3")),
)


async def script(exchange: Exchange) -> None:
    """Send the reply whose number the request names."""
    reply = REPLIES[int(exchange.named("X-Reply")[0])]
    step = reply.cut or len(reply.data)
    for start in range(0, len(reply.data), step):
        await exchange.send(reply.data[start : start + step])
        if reply.cut:
            await asyncio.sleep(0)


async def asked(url: str, data: bytes) -> Received:
    async with caller(url) as connection:
        await connection.send(data)
        return await connection.read()


def same(proxied: Received, direct: Received) -> None:
    """Compare two answers. How a body is framed is the connection's: an answer in chunks may get a length."""
    line, headers, digest, whole = seen(proxied)
    length = ("Content-Length", str(len(proxied.body)))
    if direct.named("transfer-encoding") == ["chunked"] and length in headers:
        headers.remove(length)
    assert (line, headers, digest, whole) == seen(direct)


def seen(answer: Received) -> tuple[str, list[tuple[str, str]], str, bool]:
    """What must be the same: status line, headers in order, the body's hash, and that it is whole."""
    headers = [
        (name, value)
        for name, value in answer.headers
        if (low := name.lower()) not in _DROPPED | _ADDED and not low.startswith(_DROPPED_PREFIX)
    ]
    return answer.line, headers, hashlib.sha1(answer.body).hexdigest(), answer.whole  # noqa: S324


def path_of(route: Route) -> str:
    path = route.path.replace("{model}:", "gemini-2.5-flash:").replace("{model}", "gemini-2.5-flash")
    return re.sub(r"\{[a-z_]+\}", "abc_123", path)


_BILLABLE = [route for found in all_providers() for route in found.routes if route.billable]


async def compared(running: Scene, route: Route, body: bytes, kind: str) -> bool:
    """Compare every reply of a route; False where the route does not take such a body."""
    for number in range(len(REPLIES)):
        headers = [line for line in HEADERS if not line.startswith("Content-Type")]
        data = request_bytes(
            body, *headers, f"Content-Type: {kind}", f"X-Reply: {number}", path=path_of(route)
        )
        data = data.replace(b"POST", route.method.encode(), 1)
        proxied = await asked(running.proxy.url, data)
        if proxied.status == 400 and number == 0:
            return False
        direct = await asked(running.proxy.provider.url, data)
        same(proxied, direct)
        forwarded, itself = running.proxy.provider.exchanges[-2:]
        assert (forwarded.body, forwarded.line) == (itself.body, itself.line.replace("/v1/v1/", "/v1/"))
    return True


@pytest.mark.parametrize(
    "route", _BILLABLE, ids=[f"{route.provider} {route.method} {route.path}" for route in _BILLABLE]
)
async def test_an_answer_through_the_proxy_is_the_providers_own(route: Route) -> None:
    async with scene(script) as running:
        server = running.proxy.server
        server.funding_mode = edge_pb.FUNDING_MODE_SOFT
        server.rates[0].rates.extend(edge_pb.UnitRate(unit=unit, nanos_per_million=1) for unit in Unit)
        assert await compared(running, route, _FIELDS, "application/json") or await compared(
            running, route, _PARTS, "multipart/form-data; boundary=AbC"
        )


async def test_every_family_of_the_table_is_compared() -> None:
    assert {route.provider for route in _BILLABLE} == {found.name for found in all_providers()}
    assert len(_BILLABLE) >= 5


@pytest.mark.parametrize("number", range(len(REPLIES)), ids=[reply.name for reply in REPLIES])
async def test_a_stream_that_was_asked_with_usage_is_the_providers_own(number: int) -> None:
    data = request_bytes(STREAM, *HEADERS, f"X-Reply: {number}")
    async with scene(script) as running:
        proxied, direct = await asked(running.proxy.url, data), await asked(running.proxy.provider.url, data)
        await running.outcome()

    same(proxied, direct)


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
async def test_usage_that_was_added_is_taken_out_again_and_nothing_else(size: int, newline: bytes) -> None:
    def written(*frames: bytes) -> bytes:
        return b"".join(frames).replace(b"\n", newline)

    async def answer(exchange: Exchange) -> None:
        added = b'"include_usage":true' in exchange.body
        frames = written(*FRAMES, *((USAGE,) if added else ()), DONE)
        await exchange.send(_chunked(frames, size, *_SSE))

    body = CHAT[:-1] + b',"stream":true}'
    async with scene(answer) as running, provider(answer) as direct:
        data = request_bytes(body, *HEADERS)
        proxied, bare = await asked(running.proxy.url, data), await asked(direct.url, data)
        event = await running.outcome()

    same(proxied, bare)
    assert proxied.body == written(*FRAMES, DONE)
    assert [item.amount for item in event.lines[0].usage.quantities] == [3, 2]
