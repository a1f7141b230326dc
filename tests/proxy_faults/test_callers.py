"""What a caller may do wrong: rows 32 to 40, 46 to 48 and 82 of the fault catalogue."""

from __future__ import annotations

import asyncio
import random
import socket
import zlib
from contextlib import suppress

import pytest

from om.type.v1 import event_pb2
from tests.proxy.one_edge import CHAT, HEADERS, STREAM, answers
from tests.proxy.raw_http import Exchange, caller, request_bytes
from tests.proxy.upstream.test_forward import quantities
from tests.proxy.upstream.test_relay import DONE, FRAMES, USAGE
from tests.proxy_faults.scene import PATIENCE_S, Scene, code, raw, scene, until, with_lines

_ZERO, _CHARGED, _ESTIMATED = (
    event_pb2.OUTCOME_ZERO,
    event_pb2.OUTCOME_CHARGED,
    event_pb2.OUTCOME_ESTIMATED,
)


@pytest.mark.parametrize(
    "more",
    [
        ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: eA=="),
        ("Upgrade: WebSocket", "Connection: keep-alive, upgrade"),
        ("Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABkAAQAAP__"),
    ],
)
async def test_an_upgrade_is_refused_or_ignored_and_leaves_no_dead_connection_row_32(
    more: tuple[str, ...],
) -> None:
    async with scene(answers) as running, running.proxy.caller() as connection:
        await connection.send(with_lines(CHAT, *more))
        first = await connection.read()
        with suppress(ConnectionError):
            await connection.send(with_lines(CHAT))
        rest = await first_bytes(connection)
        await running.outcomes(len(running.proxy.provider.exchanges))

    assert first.status in {200, 400, 404, 426}
    # Answered, or closed: a caller never waits for what will not come.
    assert rest == b"" or rest.startswith(b"HTTP/1.1 200")
    for exchange in running.proxy.provider.exchanges:
        assert exchange.named("upgrade") + exchange.named("connection") == []


async def first_bytes(connection: object) -> bytes:
    reader = getattr(connection, "reader")  # noqa: B009 - a Caller's.
    assert isinstance(reader, asyncio.StreamReader)
    async with asyncio.timeout(PATIENCE_S):
        with suppress(ConnectionError):
            return await reader.read(12)
    return b""


@pytest.mark.parametrize(
    "begun", [b"", b"P", b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nX-Slow: ", b"\r\n\r\n"]
)
async def test_a_head_that_does_not_come_is_not_waited_for_row_33(begun: bytes) -> None:
    async with scene(answers, OM_PROXY_HEAD_TIMEOUT_S=0.1) as running, running.proxy.caller() as connection:
        await connection.send(begun)
        assert await connection.rest() == b""


async def test_a_head_that_drips_is_not_waited_for_row_33() -> None:
    async with scene(answers, OM_PROXY_HEAD_TIMEOUT_S=0.2) as running, running.proxy.caller() as connection:
        await connection.send(b"POST / HTTP/1.1\r\n")
        ended = asyncio.create_task(connection.rest())
        with suppress(ConnectionError):
            while not ended.done():
                await connection.send(b"X: y\r\n")
                await asyncio.wait({ended}, timeout=0.02)
        with suppress(ConnectionError):
            assert await ended == b""


async def test_the_second_head_on_a_connection_must_come_in_time_too_row_33() -> None:
    async with scene(answers, OM_PROXY_HEAD_TIMEOUT_S=0.1) as running, running.proxy.caller() as connection:
        await connection.send(with_lines(CHAT))
        assert (await connection.read()).status == 200
        await running.outcome()
        await connection.send(b"POST /v1/ch")
        assert await connection.rest() == b""


async def test_slow_callers_do_not_hold_up_others_row_33() -> None:
    async with scene(answers, OM_PROXY_HEAD_TIMEOUT_S=1) as running:
        address = "127.0.0.1", int(running.proxy.url.rsplit(":", 1)[1])
        slow = [socket.create_connection(address, 5) for _ in range(200)]
        for connection in slow:
            connection.send(b"POST /v1/chat")
        for count in range(1, 6):
            assert (await running.proxy.ask()).status == 200
            await running.outcomes(count)
        loop = asyncio.get_running_loop()
        for connection in slow:
            connection.settimeout(0)
            async with asyncio.timeout(PATIENCE_S):
                assert await loop.sock_recv(connection, 1) == b""
            connection.close()


async def test_a_head_without_end_is_refused_before_it_is_taken_in_row_46() -> None:
    async with scene(answers) as running, running.proxy.caller() as connection:
        with suppress(ConnectionError):
            for number in range(400):
                await connection.send(b"X-%d: sk-canary%b\r\n" % (number, b"a" * 4_000) if number else _LINE)
        with suppress(ConnectionError):
            answer = await connection.rest()
            assert answer == b"" or answer.startswith(b"HTTP/1.1 400")
            assert b"canary" not in answer


_LINE = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n"


@pytest.mark.parametrize(
    "data",
    [
        _LINE + b"X-OM-Api-Key: sk-canary" + b"a" * 70_000 + b"\r\n\r\n",
        _LINE + b"".join(b"X-%d: sk-canary\r\n" % number for number in range(140)) + b"\r\n",
        b"POST /v1/chat/completions?key=sk-canary" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /" + b"%63" * 30_000 + b"sk-canary HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
)
async def test_a_head_over_the_limits_is_not_quoted_row_46(data: bytes) -> None:
    async with scene(answers) as running, running.proxy.caller() as connection:
        await connection.send(data)
        answer = await connection.read()
        assert await connection.rest() == b""

    assert (answer.status, code(answer)) == (400, "malformed_request")
    assert b"canary" not in answer.body
    assert running.proxy.provider.exchanges == []


@pytest.mark.parametrize("begun", [b"", b" "])
async def test_a_body_that_does_not_come_is_not_waited_for_row_34(begun: bytes) -> None:
    async with scene(answers, OM_PROXY_BODY_TIMEOUT_S=0.1) as running:
        data = request_bytes(begun, *HEADERS, "Content-Length: 99", length=False)
        answer = await raw(running.proxy, data)

    assert (answer.status, code(answer), answer.named("x-should-retry")) == (
        408,
        "request_timeout",
        ["false"],
    )
    assert (running.proxy.provider.exchanges, running.proxy.server.admit_requests) == ([], [])


@pytest.mark.parametrize("cut", [1, 30, -len(CHAT) - 1, -len(CHAT), -1])
async def test_a_caller_who_leaves_before_the_request_is_whole_leaves_nothing_row_35(cut: int) -> None:
    async with scene(answers) as running:
        async with running.proxy.caller() as connection:
            await connection.send(with_lines(CHAT)[:cut])
            connection.leave()
        await running.quiet()

    assert (running.proxy.provider.exchanges, running.proxy.server.events) == ([], [])


async def test_a_caller_who_leaves_while_it_is_admitted_costs_nothing_row_36() -> None:
    async with scene(answers) as running:
        running.proxy.server.admits.clear()
        async with running.proxy.caller() as connection:
            await connection.send(with_lines(CHAT))
            await running.proxy.server.until(lambda: "Admit" in running.proxy.server.asked)
            connection.leave()
        await until(lambda: True)
        running.proxy.server.admits.set()
        await running.quiet()

    assert running.proxy.provider.exchanges == []
    assert all(event.outcome == _ZERO for event in running.proxy.server.events)


async def test_a_caller_who_leaves_while_the_provider_thinks_is_charged_once_row_37() -> None:
    asked = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        asked.set()
        await exchange.gone()

    async with scene(script) as running:
        async with running.proxy.caller() as connection:
            await connection.send(with_lines(CHAT))
            await asked.wait()
            connection.leave()
        event = await running.outcome()

    assert event.outcome in {_ESTIMATED, _CHARGED}
    assert event.funding[0].retained_nanos > 0


@pytest.mark.parametrize("frames", range(5))
async def test_a_caller_who_leaves_at_any_frame_is_charged_once_row_38(frames: int) -> None:
    all_frames = (*FRAMES, USAGE, DONE)

    async def script(exchange: Exchange) -> None:
        await exchange.stream(*all_frames[:frames])
        await exchange.gone()

    async with scene(script) as running:
        async with running.proxy.caller() as connection:
            await connection.send(request_bytes(STREAM, *HEADERS))
            await connection.read_head()
            if frames:
                await connection.reader.readuntil(all_frames[frames - 1])
            connection.leave()
        event = await running.outcome()

    assert event.outcome in {_ESTIMATED, _CHARGED}
    assert event.funding[0].retained_nanos > 0
    if frames >= 3:
        # Reading all but the last frame gains nothing: the usage was seen.
        assert quantities(event)["output_tokens"][0] == 2


async def test_a_caller_who_closes_one_half_counts_as_gone_row_39() -> None:
    # Who closes a connection looks the same until something is written, and calls end with their callers.
    asked = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        asked.set()
        await exchange.gone()

    async with scene(script) as running, running.proxy.caller() as connection:
        await connection.send(with_lines(CHAT))
        await asked.wait()
        connection.writer.write_eof()
        assert await connection.rest() == b""
        event = await running.outcome()

    assert event.outcome in {_ESTIMATED, _CHARGED}
    assert event.funding[0].retained_nanos > 0


@pytest.mark.parametrize("ended", [False, True])
async def test_a_caller_who_takes_nothing_is_given_up_and_the_provider_is_held_back_row_40(
    *, ended: bool
) -> None:
    sent, size = 0, 64 * 1024
    # What the buffers of two connections and the proxy take in; far more than that is never read.
    much = 400 if not ended else 6

    async def script(exchange: Exchange) -> None:
        nonlocal sent
        await exchange.stream(*FRAMES)
        with suppress(ConnectionError):
            for _ in range(much):
                await exchange.chunk(b": " + b"x" * size + b"\n\n")
                sent += size
            await exchange.chunk(USAGE)
            await exchange.chunk(b"")
        await exchange.gone()

    async with scene(script, OM_PROXY_WRITE_TIMEOUT_S=0.4) as running:
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.connect(("127.0.0.1", int(running.proxy.url.rsplit(":", 1)[1])))
            deaf.sendall(request_bytes(STREAM, *HEADERS))
            event = await running.outcome()
            # Given up although the caller still holds the connection.
            await running.quiet()

    assert event.outcome in {_ESTIMATED, _CHARGED}
    if not ended:
        assert sent < much * size


@pytest.mark.parametrize(
    "declared",
    [
        ("Content-Length: 101",),
        ("Content-Length: 99999999999",),
        ("Content-Length: 101", "Expect: 100-continue"),
    ],
)
async def test_a_body_over_the_limit_is_refused_before_it_comes_row_47(declared: tuple[str, ...]) -> None:
    async with scene(answers, OM_PROXY_BODY_BYTES_MAX=100) as running, running.proxy.caller() as connection:
        await connection.send(request_bytes(b"", *HEADERS, *declared, length=False))
        answer = await connection.read()

    assert (answer.status, code(answer)) == (413, "request_too_large")
    assert running.proxy.provider.exchanges == []


async def test_what_follows_a_refused_body_is_never_taken_for_a_request_row_47() -> None:
    smuggled = with_lines(CHAT)
    async with scene(answers, OM_PROXY_BODY_BYTES_MAX=100) as running, running.proxy.caller() as connection:
        declared = f"Content-Length: {len(smuggled)}"
        await connection.send(request_bytes(b"", *HEADERS, declared, "Expect: 100-continue", length=False))
        assert (await connection.read()).status == 413
        with suppress(ConnectionError):
            await connection.send(smuggled)
            connection.writer.write_eof()
        with suppress(ConnectionError):
            assert await connection.rest() == b""

    assert running.proxy.provider.exchanges == []


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "x-gzip", "identity, gzip", "\u00e9"])
async def test_a_compressed_body_is_refused_and_never_unpacked_row_48(coding: str) -> None:
    bomb = zlib.compress(b" " * 1024 * 1024)
    async with scene(answers) as running:
        answer = await running.proxy.ask(bomb, f"Content-Encoding: {coding}")

    assert answer.status in {400, 415}
    assert (running.proxy.provider.exchanges, running.proxy.server.admit_requests) == ([], [])


async def test_bytes_of_any_kind_get_a_refusal_or_a_closed_connection_row_82() -> None:
    source = random.Random(82)
    hello = bytes.fromhex("160301020001000200fc0303") + b"sk-canary" + bytes(500)
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000")
    parts = [
        b"POST ",
        b"/v1/chat/completions",
        b" HTTP/1.1",
        b"\r\n",
        b"Host: a",
        b"Content-Length: ",
        b"9" * 30,
    ]
    parts += [b"Transfer-Encoding: chunked", b"\r\n\r\n", b"\x00", b"\xff", b": ", b"sk-canary", b"0\r\n\r\n"]
    inputs = [hello, preface]
    inputs += [source.randbytes(source.randint(1, 300)) for _ in range(300)]
    inputs += [b"".join(source.choices(parts, k=source.randint(1, 14))) for _ in range(700)]

    async def one(running: Scene, data: bytes) -> None:
        async with caller(running.proxy.url) as connection:
            with suppress(ConnectionError):
                await connection.send(data)
                connection.writer.write_eof()
                got = await connection.rest()
                assert got == b"" or got.startswith(b"HTTP/1.1 4"), (data, got)
                assert b"canary" not in got

    async with scene(answers, OM_PROXY_HEAD_TIMEOUT_S=0.3, OM_PROXY_BODY_TIMEOUT_S=0.3) as running:
        for start in range(0, len(inputs), 50):
            await asyncio.gather(*(one(running, data) for data in inputs[start : start + 50]))
        assert (await running.proxy.ask()).status == 200
        await running.outcome()
    assert len(running.proxy.provider.exchanges) == 1
