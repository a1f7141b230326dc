"""Taking in a request's body: plain, bounded, and not waited for without end."""

from __future__ import annotations

import asyncio
import gzip

import orjson
import pytest

from tests.proxy.one_edge import ANSWER, CHAT, HEADERS, answers, edge
from tests.proxy.raw_http import request_bytes


@pytest.mark.parametrize(
    "headers",
    [("Content-Encoding: gzip",), ("Content-Encoding: identity", "Content-Encoding: deflate")],
)
async def test_a_body_that_is_not_in_its_coding_is_refused_whatever_the_order_of_its_headers(
    headers: tuple[str, ...],
) -> None:
    async with edge(answers) as proxy:
        answer = await proxy.ask(CHAT, *headers)

    assert answer.status == 415
    assert proxy.provider.exchanges == []


async def test_a_compressed_body_goes_on_as_it_came() -> None:
    packed = gzip.compress(CHAT)
    async with edge(answers) as proxy:
        answer = await proxy.ask(packed, "Content-Encoding: gzip")

    assert (answer.status, answer.body) == (200, ANSWER)
    assert proxy.provider.last.body == packed
    assert proxy.provider.last.named("content-encoding") == ["gzip"]


async def test_a_compressed_body_over_the_limit_is_refused() -> None:
    async with edge(answers, OM_PROXY_BODY_BYTES_MAX=10_000) as proxy:
        answer = await proxy.ask(gzip.compress(CHAT + b" " * 10_000), "Content-Encoding: gzip")

    assert answer.status == 413
    assert proxy.provider.exchanges == []


async def test_a_declared_body_over_the_limit_is_refused_without_being_asked_for() -> None:
    async with edge(answers, OM_PROXY_BODY_BYTES_MAX=100) as proxy, proxy.caller() as caller:
        await caller.send(
            request_bytes(b"", *HEADERS, "Content-Length: 101", "Expect: 100-continue", length=False)
        )
        answer = await caller.read()

    assert (answer.status, orjson.loads(answer.body)["error"]["code"]) == (413, "request_too_large")


async def test_a_chunked_body_over_the_limit_is_refused() -> None:
    async with edge(answers, OM_PROXY_BODY_BYTES_MAX=100) as proxy, proxy.caller() as caller:
        await caller.send(request_bytes(b"", *HEADERS, "Transfer-Encoding: chunked", length=False))
        await caller.send(b"65\r\n" + b" " * 101 + b"\r\n0\r\n\r\n")
        answer = await caller.read()

    assert answer.status == 413
    assert proxy.provider.exchanges == []


async def test_a_chunked_body_goes_on_with_its_length() -> None:
    async with edge(answers) as proxy, proxy.caller() as caller:
        await caller.send(request_bytes(b"", *HEADERS, "Transfer-Encoding: chunked", length=False))
        await caller.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(CHAT), CHAT))
        await caller.read()

    assert proxy.provider.last.body == CHAT
    assert proxy.provider.last.named("transfer-encoding") == []


@pytest.mark.parametrize("more", [b"", b"4\r\nsk-c\r\n"])
async def test_a_body_that_never_ends_is_given_up(more: bytes) -> None:
    async with edge(answers, OM_PROXY_BODY_TIMEOUT_S=0.1) as proxy, proxy.caller() as caller:
        await caller.send(request_bytes(b"", *HEADERS, "Transfer-Encoding: chunked", length=False))
        await proxy.server.until(lambda: "AuthenticateKey" in proxy.server.asked)
        await caller.send(more)
        answer = await caller.read()

    assert (answer.status, orjson.loads(answer.body)["error"]["code"]) == (408, "request_timeout")
    assert b"sk-c" not in answer.body
    assert proxy.provider.exchanges == []


async def test_a_body_that_is_no_http_is_refused_at_once_and_once() -> None:
    async with edge(answers) as proxy, proxy.caller() as caller:
        await caller.send(request_bytes(b"", *HEADERS, "Transfer-Encoding: chunked", length=False))
        await proxy.server.until(lambda: "AuthenticateKey" in proxy.server.asked)
        await caller.send(b"zz sk-canary\r\n")
        answer = await caller.read()
        assert await caller.rest() == b""

    assert (answer.status, orjson.loads(answer.body)["error"]["code"]) == (400, "malformed_request")
    assert b"sk-c" not in answer.body
    assert proxy.provider.exchanges == []


async def test_a_body_that_drips_is_given_up_although_every_part_comes_in_time() -> None:
    async with edge(answers, OM_PROXY_BODY_TIMEOUT_S=0.2) as proxy, proxy.caller() as caller:
        await caller.send(request_bytes(b"", *HEADERS, "Content-Length: 1000", length=False))
        reading = asyncio.create_task(caller.read())
        while not reading.done():
            await caller.send(b" ")
            await asyncio.wait({reading}, timeout=0.02)

    assert (reading.result().status, proxy.provider.exchanges) == (408, [])


@pytest.mark.parametrize(("extension", "status"), [(20_000, 400), (100, 200)])
async def test_framing_that_is_far_larger_than_its_body_is_refused(extension: int, status: int) -> None:
    async with edge(answers) as proxy, proxy.caller() as caller:
        await caller.send(request_bytes(b"", *HEADERS, "Transfer-Encoding: chunked", length=False))
        await caller.send(b"%x;%b\r\n%b\r\n0\r\n\r\n" % (len(CHAT), b"e" * extension, CHAT))
        answer = await caller.read()

    assert answer.status == status
    assert len(proxy.provider.exchanges) == (status == 200)


async def test_chunks_of_one_byte_are_no_attack() -> None:
    async with edge(answers) as proxy, proxy.caller() as caller:
        body = CHAT + b" " * 5_000
        await caller.send(request_bytes(b"", *HEADERS, "Transfer-Encoding: chunked", length=False))
        await caller.send(b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n")
        assert (await caller.read()).status == 200

    assert proxy.provider.last.body == body


async def test_a_caller_who_waits_for_it_is_told_to_go_on_once_its_headers_are_fine() -> None:
    async with edge(answers) as proxy, proxy.caller() as caller:
        await caller.send(request_bytes(CHAT, *HEADERS, "Expect: 100-continue")[: -len(CHAT)])
        line, headers = await caller.read_head()
        await caller.send(CHAT)
        answer = await caller.read()

    assert (line, headers) == ("HTTP/1.1 100 Continue", [])
    assert answer.body == ANSWER
    assert proxy.provider.last.named("expect") == []


async def test_a_wrong_key_is_refused_before_the_body_is_asked_for() -> None:
    async with edge(answers) as proxy, proxy.caller() as caller:
        wrong = ("X-OM-Api-Key: om_live_wrong", *HEADERS[1:])
        await caller.send(request_bytes(CHAT, *wrong, "Expect: 100-continue")[: -len(CHAT)])
        answer = await caller.read()

    assert (answer.status, orjson.loads(answer.body)["error"]["code"]) == (401, "invalid_api_key")
