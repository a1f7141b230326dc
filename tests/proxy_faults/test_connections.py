"""Connections to providers on both loops, with and without TLS: what a loop tells of them differs."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any, TypeVar, cast

import pytest
import uvloop

from om_proxy.upstream.answer import Answer, UpstreamBroken
from om_proxy.upstream.connection import Connection
from om_proxy.upstream.dialer import Dialer, Origin
from om_proxy.upstream.pool import Pool
from om_proxy.upstream.upload import Upload
from tests.proxy.raw_http import head
from tests.proxy_faults.authority import Authority

_PATIENCE_S = 20
_HEAD = b"POST / HTTP/1.1\r\n\r\n"
_LARGE = b"x" * 30_000_000

T = TypeVar("T")
Run = Callable[[Coroutine[Any, Any, T]], T]


class Local:
    """Leads every name here."""

    async def resolve(self, host: str, port: int) -> list[dict[str, object]]:
        del host
        return [{"host": "127.0.0.1", "port": port}]

    async def close(self) -> None:
        """Nothing is open."""


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run[Any]:
    """Run a course on a loop."""

    def on_loop(course: Coroutine[Any, Any, T]) -> T:
        with asyncio.Runner(loop_factory=request.param) as runner:
            return runner.run(asyncio.wait_for(course, _PATIENCE_S))

    return on_loop


@contextmanager
def provider(talk: Callable[[socket.socket], None], tls: ssl.SSLContext | None = None) -> Iterator[Origin]:
    """Take one connection after the other and talk over it, in a thread: nothing happens behind its back."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connected, _ = listening.accept()
                talk(tls.wrap_socket(connected, server_side=True) if tls else connected)
            except OSError:
                return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield Origin(tls is not None, "localhost", listening.getsockname()[1], b"localhost")
    finally:
        # A thread that waits for a connection does not notice that nobody listens any more.
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(_PATIENCE_S)


def pool_of(connections_max: int = 10) -> Pool:
    return Pool(Dialer(cast("Any", Local()), timeout_s=5), connections_max=connections_max)


async def body_of(answer: Answer) -> bytes:
    body = b""
    while part := await answer.part():
        body += part
    return body


@pytest.mark.parametrize("tls", [False, True])
def test_a_connection_that_has_not_sent_all_is_not_used_again(
    run: Run[bool], authority: Authority, *, tls: bool
) -> None:
    over = threading.Event()

    def talk(connected: socket.socket) -> None:
        connected.recv(1000)
        connected.sendall(head("413 Too Large", "Content-Length: 2") + b"{}")
        over.wait(_PATIENCE_S)
        connected.close()

    async def course() -> bool:
        pool = pool_of()
        first = await pool.connection(origin)
        answer = await first.ask(_HEAD, Upload(_LARGE))
        assert await body_of(answer) == b"{}"
        again = asyncio.create_task(pool.connection(origin))
        await asyncio.sleep(0)
        used_again = again.done() and again.result() is first
        over.set()
        await pool.close()
        again.cancel()
        await asyncio.gather(again, return_exceptions=True)
        return used_again

    trusted = authority.trusted() if tls else nullcontext()
    with provider(talk, authority.server() if tls else None) as origin, trusted:
        assert not run(course())


def test_an_answer_that_ends_with_its_connection_is_whole_before_the_request_is(run: Run[bytes]) -> None:
    seen = threading.Event()

    def talk(connected: socket.socket) -> None:
        connected.recv(1000)
        connected.sendall(head("413 Too Large", "Connection: close") + b"{}")
        connected.shutdown(socket.SHUT_WR)
        seen.wait(_PATIENCE_S)
        connected.close()

    async def course() -> bytes:
        pool = pool_of()
        connection = await pool.connection(origin)
        try:
            return await body_of(await connection.ask(_HEAD, Upload(_LARGE)))
        finally:
            seen.set()
            await pool.close()

    with provider(talk) as origin:
        assert run(course()) == b"{}"


@pytest.mark.parametrize("goodbye", [False, True])
def test_only_a_goodbye_ends_an_answer_without_a_length_over_tls(
    authority: Authority, *, goodbye: bool
) -> None:
    def talk(connected: socket.socket) -> None:
        connected.recv(1000)
        connected.sendall(head("200 OK") + b"half")
        if goodbye:
            with suppress(OSError):
                cast("ssl.SSLSocket", connected).unwrap()
            connected.close()
        else:
            os.close(connected.detach())

    async def course() -> bytes:
        pool = pool_of()
        connection = await pool.connection(origin)
        try:
            return await body_of(await connection.ask(_HEAD, Upload(b"")))
        finally:
            await pool.close()

    # On the other loop, of this Python, a wire that was cut reads as a goodbye.
    with provider(talk, authority.server()) as origin, authority.trusted():
        expected = nullcontext() if goodbye else pytest.raises(UpstreamBroken)
        with expected, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            assert runner.run(asyncio.wait_for(course(), _PATIENCE_S)) == b"half"


def test_what_the_system_holds_of_another_answer_is_not_the_next_requests(
    run: Run[list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    connections: list[socket.socket] = []
    numbers = iter(range(9))

    def talk(connected: socket.socket) -> None:
        connections.append(connected)
        connected.recv(1000)
        connected.sendall(head("200 OK", "Content-Length: 1") + b"%d" % next(numbers))

    async def course() -> list[bytes]:
        pool = pool_of(connections_max=1)
        keep = pool.free

        def free(connection: Connection) -> None:
            keep(connection)
            connections[-1].sendall(head("200 OK", "Content-Length: 6") + b"canary")

        monkeypatch.setattr(pool, "free", free)

        async def call() -> bytes:
            connection = await pool.connection(origin)
            return await body_of(await connection.ask(_HEAD, Upload(b"")))

        bodies = await asyncio.gather(call(), call())
        await pool.close()
        return list(bodies)

    with provider(talk) as origin:
        assert run(course()) == [b"0", b"1"]
    for connected in connections:
        connected.close()
