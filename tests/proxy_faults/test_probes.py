"""What the library does by itself, on which our settings rest: to be read again at each upgrade of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from tests.proxy.raw_http import caller

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


def test_what_the_listener_rests_on_is_there() -> None:
    rests_on = {"_messages", "_process_keepalive", "_waiter", "data_received", "force_close", "handle_error"}
    assert rests_on <= set(dir(web.RequestHandler))
