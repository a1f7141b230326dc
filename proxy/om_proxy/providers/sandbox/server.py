"""The simulator on a socket: reads requests, writes what `respond` says, and pauses or breaks off where told.

Nothing is logged: not bodies, not keys, not addresses (which may hold `?key=`).
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count

from aiohttp import web
from multidict import CIMultiDict

from om_proxy.providers.sandbox import delivery
from om_proxy.providers.sandbox.allowance import ANSWER_SECONDS_MAX
from om_proxy.providers.sandbox.exchange import Incoming, Reply, Stamp
from om_proxy.providers.sandbox.respond import respond
from om_proxy.providers.sandbox.shelf import Shelf

_BODY_BYTES_MAX = 128 * 1024 * 1024
_HEADER_BYTES_MAX = 64 * 1024
_SHUTDOWN_TIMEOUT_S = 1.0
_BACKLOG = 1024


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it arrived, for tests to look at; what may hold a key stays out of its repr."""

    method: str
    path: str  # Percent-decoded, without the query.
    target: str = field(repr=False)  # Path and query as on the wire.
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


RECEIVED = web.AppKey("received", list[Received])


@dataclass(frozen=True, slots=True)
class Simulator:
    """A running simulator."""

    url: str  # Without a trailing slash; OpenAI clients want `/v1` after it, the others nothing.
    received: list[Received] = field(repr=False)  # In order of arrival; stays empty unless recording.


def create_app(*, record: bool = False, public: bool = False) -> web.Application:
    """Make the application; with `record` it keeps every request in `app[RECEIVED]`.

    `public`: for callers who are not trusted with unbounded answers.
    """
    app = web.Application(client_max_size=_BODY_BYTES_MAX)
    app[RECEIVED] = []
    shell = _Shell(app[RECEIVED] if record else None, public=public)
    app.router.add_route("*", "/{address:.*}", shell.handle)
    app.on_shutdown.append(shell.close)
    return app


@asynccontextmanager
async def running(
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    record: bool = False,
    reuse_port: bool = False,
    public: bool = False,
) -> AsyncIterator[Simulator]:
    """Serve until the block is left; port 0 takes a free one."""
    app = create_app(record=record, public=public)
    runner = web.AppRunner(
        app,
        # Without it a handler would sit out its pauses after the client has gone.
        handler_cancellation=True,
        # The access log would write `?key=`.
        access_log=None,
        shutdown_timeout=_SHUTDOWN_TIMEOUT_S,
        max_line_size=_HEADER_BYTES_MAX,
        max_field_size=_HEADER_BYTES_MAX,
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, backlog=_BACKLOG, reuse_port=reuse_port).start()
        yield Simulator(f"http://{host}:{runner.addresses[0][1]}", app[RECEIVED])
    finally:
        await runner.cleanup()


class _Shell:
    """Requests in, answers out, for one application."""

    def __init__(self, received: list[Received] | None, *, public: bool) -> None:
        self._received = received
        self._public = public
        self._shelf = Shelf()
        self._closing = asyncio.Event()
        # Random per start, so that ids of two runs never meet in one ledger.
        self._run = secrets.token_hex(6)
        self._serials = count(1)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        if self._received is not None:
            received = Received(request.method, request.path, request.raw_path, request.headers, body)
            self._received.append(received)
        incoming = Incoming(request.method, request.path, request.query, request.headers, body)
        stamp = Stamp(self._token(), int(time.time()))
        reply = respond(incoming, stamp, shelf=self._shelf, public=self._public)
        if not self._public:
            return await self._deliver(request, reply)
        try:
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                return await self._deliver(request, reply)
        except TimeoutError:
            _abort(request)
            raise

    def _token(self) -> str:
        # In public an id is all that is needed to read what another caller has stored.
        return secrets.token_hex(12) if self._public else f"{self._run}{next(self._serials):012x}"

    async def close(self, _app: web.Application) -> None:
        """Let go of the handlers that hang on purpose."""
        self._closing.set()

    async def _deliver(self, request: web.Request, reply: Reply) -> web.StreamResponse:
        await _pause(reply.switches.delay_ms)
        headers = CIMultiDict(delivery.headers(reply))
        parts = delivery.pieces(reply)
        if reply.switches.drop:
            _abort(request)
        if delivery.whole(reply):
            return web.Response(status=reply.status, headers=headers, body=b"".join(parts))
        response = web.StreamResponse(status=reply.status, headers=headers)
        # The client has gone: nobody is left to tell, and aiohttp would log it as our error.
        with suppress(ConnectionResetError):
            await response.prepare(request)
            await self._write(response, request, parts=parts, reply=reply)
        return response

    async def _write(
        self, response: web.StreamResponse, request: web.Request, *, parts: Sequence[bytes], reply: Reply
    ) -> None:
        await _pause(reply.switches.ttft_ms)
        for index, part in enumerate(parts):
            if await self._broke_off(request, reply, written=index):
                return
            if index:
                await _pause(reply.switches.interval_ms)
            await response.write(part)
        await self._broke_off(request, reply, written=len(parts))

    async def _broke_off(self, request: web.Request, reply: Reply, *, written: int) -> bool:
        """Cut the connection if this is the piece to do it before; hang first, if told so."""
        if written == reply.switches.hang_after:
            await self._closing.wait()
        elif written != reply.switches.abort_after:
            return False
        _abort(request)
        return True


async def _pause(milliseconds: int) -> None:
    if milliseconds:
        await asyncio.sleep(milliseconds / 1000)


def _abort(request: web.Request) -> None:
    # None: the client was faster.
    if request.transport is not None:
        request.transport.abort()
