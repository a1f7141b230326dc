"""What the library does by itself, on which our settings rest: to be read again at each upgrade of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from aiohttp.client_proto import ResponseHandler

from om_proxy.upstream.wire import AddressGuard, StrictConnector
from tests.proxy.one_edge import ANSWER
from tests.proxy.raw_http import Exchange, caller, head, provider

_CANARY = "sk-canary"


@asynccontextmanager
async def bare_server() -> AsyncIterator[tuple[str, list[str]]]:
    """Serve with the library's own settings; gives the address, and what it logs."""
    logged: list[str] = []

    async def answer(request: web.BaseRequest) -> web.Response:
        return web.Response(text=request.path)

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", logged
    finally:
        await runner.cleanup()


async def bare_answer(text: str) -> bytes:
    async with bare_server() as (url, _), caller(url) as connection:
        await connection.send(text.encode("latin-1"))
        return (await connection.read()).body


@pytest.mark.parametrize(
    "line", [f"Authorization: {_CANARY}\x00", f"X-Provider-Key: {_CANARY}" + "a" * 9_000]
)
async def test_the_library_quotes_a_bad_header_in_its_answer(line: str) -> None:
    assert _CANARY.encode() in await bare_answer(f"GET / HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n")


async def test_the_library_takes_a_target_that_names_a_host() -> None:
    assert await bare_answer("GET http://evil.example/a HTTP/1.1\r\nHost: a\r\n\r\n") == b"/a"


async def test_the_library_decodes_the_path_of_a_request() -> None:
    decoded = await bare_answer("GET /v1/%2e%2e/%2e%2e%2fadmin HTTP/1.1\r\nHost: a\r\n\r\n")
    assert b"%2e" not in decoded


async def test_the_library_takes_an_extension_of_20_kb() -> None:
    assert await bare_answer(
        f"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;{'e' * 20_000}\r\nx\r\n0\r\n\r\n"
    )


async def test_the_library_follows_a_redirect_with_the_providers_key() -> None:
    async def redirect(exchange: Exchange) -> None:
        await exchange.send(head("307 X", f"Location: {elsewhere.url}/x", "Content-Length: 0"))

    async def answer(exchange: Exchange) -> None:
        await exchange.answer()

    async with (
        provider(answer) as elsewhere,
        provider(redirect) as first,
        aiohttp.ClientSession() as session,
        session.post(first.url, headers={"x-api-key": _CANARY}) as answered,
    ):
        await answered.read()
    assert elsewhere.last.named("x-api-key") == [_CANARY]


async def test_the_library_waits_through_any_number_of_interim_answers() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(head("103 Early Hints") * 50)
        await exchange.answer(ANSWER)

    async with (
        provider(script) as scripted,
        aiohttp.ClientSession() as session,
        session.post(scripted.url) as answered,
    ):
        assert await answered.read() == ANSWER


@pytest.mark.parametrize("strict", [False, True])
async def test_the_library_gives_a_stray_answer_to_the_next_request(*, strict: bool) -> None:
    stray = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await exchange.answer(ANSWER)
        if len(scripted.exchanges) == 1:
            await stray.wait()
            await exchange.answer(_CANARY.encode())

    connector = StrictConnector(AddressGuard((), timeout_s=1), connections_max=9) if strict else None
    async with provider(script) as scripted, aiohttp.ClientSession(connector=connector) as session:
        async with session.post(scripted.url) as answered:
            assert await answered.read() == ANSWER
            assert session.connector is not None
            protocols = [entry[0] for entries in session.connector._conns.values() for entry in entries]
        stray.set()
        [protocol] = protocols
        async with asyncio.timeout(10):
            while not protocol._buffer and protocol.is_connected():  # noqa: ASYNC110 - nobody tells.
                await asyncio.sleep(0)
        async with session.post(scripted.url) as answered:
            assert await answered.read() == (ANSWER if strict else _CANARY.encode())


def test_what_the_strict_connector_overrides_is_there() -> None:
    assert {"set_response_params", "data_received", "feed_data", "force_close"} <= set(dir(ResponseHandler))
    assert {"_process_keepalive", "force_close", "handle_error", "data_received"} <= set(
        dir(web.RequestHandler)
    )
