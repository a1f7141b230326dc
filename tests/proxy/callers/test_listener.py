"""What is no HTTP, or nearly: refused without a word of it in the answer or in the log."""

from __future__ import annotations

import asyncio
import logging

import orjson
import pytest
from aiohttp import web
from structlog.testing import capture_logs

from om_proxy.callers.listener import HEAD_BYTES_MAX, Listener
from tests.proxy.one_edge import ANSWER, CHAT, HEADERS, answers, edge
from tests.proxy.raw_http import Exchange, request_bytes

CANARY = "sk-canary-in-a-header"
LINE = "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n"


@pytest.mark.parametrize(
    "data",
    [
        f"{LINE}Authorization: Bearer {CANARY}\x00\r\n\r\n",
        f"{LINE}Authorization: Bearer {CANARY}\nX: \x01\r\n\r\n",
        f"{LINE}X-OM-Api-Key : {CANARY}\r\n\r\n",
        f"{LINE}X-OM-Api-Key: {CANARY}{'a' * 70_000}\r\n\r\n",
        f"{LINE}{CANARY}\r\n\r\n",
        f"{LINE}{CANARY}{'a' * 70_000}: 1\r\n\r\n",
        f"{LINE}Content-Length: {CANARY}\r\n\r\n",
        f"{LINE}Content-Length: 1\r\nContent-Length: 2\r\nX-OM-Api-Key: {CANARY}\r\n\r\n",
        f"{LINE}Content-Length: 1\r\nTransfer-Encoding: chunked\r\nX-OM-Api-Key: {CANARY}\r\n\r\n",
        f"{LINE}" + "".join(f"X-{number}: {CANARY}\r\n" for number in range(200)) + "\r\n",
        f"POST /v1/chat/completions?key={CANARY} HTTP/9.9.9\r\nHost: a\r\n\r\n",
        f"POST /{CANARY}{'a' * 70_000} HTTP/1.1\r\nHost: a\r\n\r\n",
        f"{CANARY} / HTTP/1.1\r\n\r\n",
        f"\x16\x03\x01{CANARY}\r\n\r\n",
        f"GET http://[{CANARY}/ HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
)
async def test_a_malformed_request_is_refused_and_not_quoted(
    data: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    async with edge(answers) as proxy:
        with capture_logs() as logs:
            async with proxy.caller() as caller:
                await caller.send(data.encode("latin-1"))
                answer = await caller.read()
                assert await caller.rest() == b""

    assert (answer.status, orjson.loads(answer.body)["error"]["code"]) == (400, "malformed_request")
    assert answer.named("x-should-retry") == ["false"]
    assert [entry["code"] for entry in logs if entry["event"] == "request_refused"] == ["malformed_request"]
    captured = capfd.readouterr()
    assert "canary" not in caplog.text
    for text in (repr(answer), repr(logs), _logged(caplog), captured.out, captured.err):
        assert "canary" not in text
        assert "Traceback" not in text
    assert proxy.provider.exchanges == []


def _logged(caplog: pytest.LogCaptureFixture) -> str:
    """What was logged, without what asyncio says of grpc: the loop of an earlier test's call is closed."""
    records = [found for found in caplog.records if "PollerCompletionQueue" not in found.getMessage()]
    return "\n".join(map(caplog.handler.format, records))


async def test_a_malformed_request_ends_the_connection_that_had_good_ones() -> None:
    async with edge(answers) as proxy, proxy.caller() as caller:
        await caller.send(request_bytes(CHAT, *HEADERS))
        good = await caller.read()
        await caller.send(f"{LINE}{CANARY}\r\n\r\n".encode())
        bad = await caller.read()
        assert await caller.rest() == b""

    assert good.body == ANSWER
    assert bad.status == 400


async def test_no_answer_tells_which_server_made_it() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.answer()

    async with edge(script) as proxy:
        answers_ = [await proxy.ask(), await proxy.ask(path="/nowhere"), await proxy.ask(path="/health")]
        async with proxy.caller() as caller:
            await caller.send(b"\r\nnonsense\r\n\r\n")
            answers_.append(await caller.read())

    assert [answer.status for answer in answers_] == [200, 404, 200, 400]
    assert [answer.named("server") for answer in answers_] == [[], [], [], []]


async def test_a_defect_that_nobody_caught_is_told_without_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError(CANARY)

    async with edge(answers) as proxy:
        monkeypatch.setattr("om_proxy.callers.handler.new_event_id", broken)
        with capture_logs() as logs:
            answer = await proxy.ask()

    assert (answer.status, orjson.loads(answer.body)["error"]["code"]) == (500, "proxy_error")
    (defect,) = [entry for entry in logs if entry["log_level"] == "error"]
    assert (defect["event"], defect["kind"]) == ("request_failed", "ZeroDivisionError")
    assert "canary" not in repr(logs)


async def test_a_defect_after_the_first_byte_breaks_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> bytes:
        raise ZeroDivisionError(CANARY)

    async def script(exchange: Exchange) -> None:
        await exchange.stream(b"data: 1\n\n")
        await exchange.gone()

    monkeypatch.setattr("om_proxy.upstream.tally.Tally.take", broken)
    async with edge(script) as proxy:
        with capture_logs() as logs:
            answer = await proxy.ask()
            (event,) = await proxy.server.reported()

    assert (answer.status, answer.whole) == (200, False)
    assert event.outcome == 3
    assert "canary" not in repr(logs)


class _Wire(asyncio.Transport):
    """Takes what a connection writes."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("turns", range(8))
async def test_a_body_is_no_head_in_whichever_turn_of_the_loop_it_comes(turns: int) -> None:
    async def refuse(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=413)

    listener, wire = Listener(refuse), _Wire()
    connection = listener()
    connection.connection_made(wire)
    await asyncio.sleep(0)
    body = b"x" * HEAD_BYTES_MAX

    connection.data_received(f"{LINE}Content-Length: {3 * len(body)}\r\n\r\n".encode())
    for _ in range(turns):
        await asyncio.sleep(0)
    # A loop may read more than once before anybody else has a turn.
    for _ in range(3):
        connection.data_received(body)
    for _ in range(20):
        await asyncio.sleep(0)

    assert wire.written.startswith(b"HTTP/1.1 413 ")
    assert wire.written.count(b"HTTP/1.1 ") == 1
    assert not wire.closed
    connection.connection_lost(None)
