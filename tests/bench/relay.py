"""The yardstick: a relay on the proxy's own stack, aiohttp on uvloop, that neither meters nor enforces."""

from __future__ import annotations

import argparse
import asyncio

import aiohttp
import uvloop
from aiohttp import web
from yarl import URL

_HOP_BY_HOP = frozenset({"host", "connection", "content-length", "transfer-encoding", "keep-alive"})


class Relay:
    """Sends every request on and passes the answer back as it arrives."""

    def __init__(self, session: aiohttp.ClientSession, upstream: str) -> None:
        self._session = session
        self._upstream = upstream

    async def handle(self, request: web.Request) -> web.StreamResponse:
        headers = [(name, value) for name, value in request.headers.items() if _travels(name)]
        url = URL(f"{self._upstream}{request.raw_path}", encoded=True)
        body = await request.read()
        async with self._session.post(url, headers=headers, data=body, allow_redirects=False) as answer:
            passed = [(name, value) for name, value in answer.headers.items() if _travels(name)]
            response = web.StreamResponse(status=answer.status, headers=dict(passed))
            response.content_length = answer.content_length
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            await response.write_eof()
            return response


def _travels(name: str) -> bool:
    return name.lower() not in _HOP_BY_HOP


async def _serve(port: int, upstream: str) -> None:
    connector = aiohttp.TCPConnector(limit=1000)
    async with aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
    ) as session:
        app = web.Application(client_max_size=32 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", Relay(session, upstream).handle)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()
        await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", required=True)
    arguments = parser.parse_args()
    uvloop.run(_serve(arguments.port, arguments.upstream))


if __name__ == "__main__":
    main()
