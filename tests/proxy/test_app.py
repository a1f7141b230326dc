"""The proxy as a process has it: health, the port, and an end that loses nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import socket

import grpc
import orjson
import pytest
from structlog.testing import capture_logs

from om_proxy.app import running, serve
from tests.proxy.fake_servicer import AWAY, Failure, fake_server
from tests.proxy.one_edge import ANSWER, HEADERS, STREAM, UNREACHABLE, answers, edge, settings_for
from tests.proxy.raw_http import Caller, Exchange, caller, provider, request_bytes
from tests.proxy.upstream.test_relay import DONE, FRAMES, USAGE


async def get(connection: Caller, path: str, method: str = "GET") -> tuple[int, object]:
    await connection.send(f"{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    answer = await connection.read()
    return answer.status, orjson.loads(answer.body)


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.acceptance("B-032", "B-033")
async def test_health_has_the_published_bodies(method: str) -> None:
    async with edge(answers) as proxy, proxy.caller() as connection:
        await proxy.server.until(lambda: "Resync" in proxy.server.asked)
        assert await get(connection, "/health", method) == (
            200,
            {"status": "healthy", "service": "ai-proxy-service"},
        )
        assert await get(connection, "/health?deep=1", method) == (
            200,
            {"status": "healthy", "service": "ai-proxy-service"},
        )
        assert await get(connection, "/health/live", method) == (200, {"status": "live"})
        async with asyncio.timeout(20):
            while (await get(connection, "/health/ready", method))[0] != 200:
                pass
        assert await get(connection, "/health/ready", method) == (200, {"status": "ready"})
        assert (await get(connection, "/healthy", method))[0] == 404


@pytest.mark.parametrize("failure", [AWAY, Failure(grpc.StatusCode.PERMISSION_DENIED, "ACCESS_DENIED")])
async def test_it_is_not_ready_before_the_server_has_registered_it(failure: Failure) -> None:
    async with fake_server() as server:
        server.failures["Resync"] = [failure] * 1_000
        async with running(settings_for(server, UNREACHABLE)) as url, caller(url) as connection:
            await server.until(lambda: "Resync" in server.asked)
            assert await get(connection, "/health/ready") == (503, {"status": "starting"})
            assert (await get(connection, "/health/live"))[0] == 200


async def test_the_end_ships_what_waits_even_if_the_server_was_just_away() -> None:
    async with edge(answers) as proxy:
        server = proxy.server
        server.failures["IngestEvents"] = [AWAY]
        await proxy.ask()

    assert [event.http_status for event in server.events] == [200]


async def test_the_end_waits_for_streams_and_ships_their_outcomes() -> None:
    may_end, ending = asyncio.Event(), asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await exchange.stream(FRAMES[0])
        await may_end.wait()
        for chunk in (USAGE, DONE, b""):
            await exchange.chunk(chunk)

    async def until_told(url: asyncio.Future[str]) -> None:
        async with running(settings_for(fake, scripted.url)) as address:
            url.set_result(address)
            await ending.wait()

    async with fake_server() as fake, provider(script) as scripted:
        url: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        process = asyncio.create_task(until_told(url))
        async with caller(await url) as connection:
            await connection.send(request_bytes(STREAM, *HEADERS))
            await connection.read_head()
            assert await connection.read_chunk() == FRAMES[0]
            ending.set()
            may_end.set()
            rest = b""
            while chunk := await connection.read_chunk():
                rest += chunk
        await process

    assert rest == USAGE + DONE
    (event,) = fake.events
    assert [item.amount for item in event.lines[0].usage.quantities] == [3, 2]


async def test_a_port_that_is_taken_is_said_and_leaves_nothing_behind() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        async with fake_server() as server:
            settings = settings_for(server, UNREACHABLE, OM_PROXY_PORT=taken.getsockname()[1])
            with pytest.raises(OSError, match="in use"):
                async with running(settings):
                    pass
    assert {task.get_name() for task in asyncio.all_tasks()} & {"report", "resync"} == set()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_cleanly(number: signal.Signals) -> None:
    async with fake_server() as server:
        with capture_logs() as logs:
            process = asyncio.create_task(serve(settings_for(server, UNREACHABLE)))
            await server.until(lambda: "Resync" in server.asked)
            os.kill(os.getpid(), number)
            async with asyncio.timeout(20):
                await process
        loop = asyncio.get_running_loop()
        loop.remove_signal_handler(signal.SIGINT)
        loop.remove_signal_handler(signal.SIGTERM)

    assert [entry["event"] for entry in logs] == ["proxy_started"]


async def test_two_proxies_do_not_share_anything() -> None:
    async with edge(answers) as one, edge(answers) as other:
        assert (await one.ask()).body == ANSWER
        assert (await other.ask()).body == ANSWER
        await one.server.reported()
        await other.server.reported()
