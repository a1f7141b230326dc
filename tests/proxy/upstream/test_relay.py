"""An answer on its way back: every byte that the provider sent, and no clean end where there was none."""

from __future__ import annotations

import asyncio
import gzip

import orjson
import pytest
from structlog.testing import capture_logs

from tests.proxy.one_edge import ANSWER, CHAT, HEADERS, STREAM, Edge, edge
from tests.proxy.raw_http import Exchange, Received, head, request_bytes

FRAMES = (
    b'data: {"id":"c1","model":"gpt-4o","choices":[{"delta":{"content":"Hel"}}],"usage":null}\n\n',
    b'data: {"id":"c1","model":"gpt-4o","choices":[{"delta":{"content":"lo"}}],"usage":null}\n\n',
)
USAGE = (
    b'data: {"id":"c1","model":"gpt-4o","choices":[],'
    b'"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}\n\n'
)
DONE = b"data: [DONE]\n\n"
OURS = {"x-om-request-id", "date"}


def passed(answer: Received) -> list[tuple[str, str]]:
    """The headers but for those that the proxy adds."""
    return [(name, value) for name, value in answer.headers if name.lower() not in OURS]


async def asked(reply: bytes) -> tuple[Received, Edge]:
    """Make one call to a provider that sends exactly this."""

    async def script(exchange: Exchange) -> None:
        await exchange.send(reply)

    async with edge(script) as proxy:
        answer = await proxy.ask()
        await proxy.server.reported()
    return answer, proxy


@pytest.mark.acceptance("B-144")
async def test_status_reason_headers_and_body_come_back_as_they_were_sent() -> None:
    headers = (
        "content-type: application/json; charset=UTF-8",
        "x-request-ID: req_1",
        "openai-processing-ms: 12",
        "X-Twice: 1",
        "X-Twice: 2",
        "server: cloudflare",
        f"Content-Length: {len(ANSWER)}",
    )
    answer, _ = await asked(head("200 Fine By Me", *headers) + ANSWER)

    assert answer.line == "HTTP/1.1 200 Fine By Me"
    assert passed(answer) == [
        (name, value.strip()) for name, _, value in (line.partition(":") for line in headers)
    ]
    assert answer.body == ANSWER


async def test_an_answer_without_type_or_server_gets_none() -> None:
    answer, _ = await asked(head("200 OK", f"Content-Length: {len(ANSWER)}") + ANSWER)

    assert passed(answer) == [("Content-Length", str(len(ANSWER)))]


async def test_a_compressed_answer_stays_compressed_and_is_metered() -> None:
    body = gzip.compress(ANSWER)
    answer, proxy = await asked(
        head(
            "200 OK",
            "Content-Type: application/json",
            "Content-Encoding: gzip",
            f"Content-Length: {len(body)}",
        )
        + body
    )

    assert (answer.body, answer.named("content-encoding")) == (body, ["gzip"])
    (event,) = proxy.server.events
    assert [item.amount for item in event.lines[0].usage.quantities] == [3, 2]


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
async def test_a_status_without_a_body_stays_without_one(status: str) -> None:
    answer, _ = await asked(head(status, "ETag: x"))

    assert (answer.line, answer.body, passed(answer)) == (f"HTTP/1.1 {status}", b"", [("ETag", "x")])


@pytest.mark.parametrize("interim", [b"", head("103 Early Hints", "Link: <x>"), head("100 Continue") * 2])
async def test_interim_answers_are_of_the_other_hop(interim: bytes) -> None:
    answer, _ = await asked(interim + head("200 OK", f"Content-Length: {len(ANSWER)}") + ANSWER)

    assert (answer.status, answer.body) == (200, ANSWER)


async def test_headers_of_the_other_hop_and_cookies_stay_there() -> None:
    dropped = ("Connection: x-named", "X-Named: 1", "Keep-Alive: timeout=5", "Set-Cookie: a=b", "Alt-Svc: h3")
    answer, _ = await asked(head("200 OK", *dropped, f"Content-Length: {len(ANSWER)}") + ANSWER)

    assert passed(answer) == [("Content-Length", str(len(ANSWER)))]


@pytest.mark.parametrize(
    ("status", "body"),
    [
        ("400 Bad Request", b'{"error":{"message":"bad","code":null}}'),
        ("429 Too Many Requests", b"slow down"),
        ("500 Internal Server Error", b""),
        ("529 Overloaded", b"<html>"),
    ],
)
async def test_an_error_of_the_provider_passes_and_costs_nothing(status: str, body: bytes) -> None:
    answer, proxy = await asked(
        head(status, "Content-Type: text/x", "Retry-After: 7", f"Content-Length: {len(body)}") + body
    )

    assert (answer.line, answer.body, answer.named("retry-after")) == (f"HTTP/1.1 {status}", body, ["7"])
    (event,) = proxy.server.events
    assert (event.outcome, event.http_status) == (2, int(status[:3]))
    assert event.funding[0].retained_nanos == 0


async def test_a_header_that_is_no_text_does_not_break_the_answer() -> None:
    answer, _ = await asked(head("200 OK", "X-Odd: caf\xe9", f"Content-Length: {len(ANSWER)}") + ANSWER)

    assert (answer.status, answer.body) == (200, ANSWER)


@pytest.mark.acceptance("B-023")
async def test_chunks_come_back_as_they_arrive() -> None:
    may_go_on = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await exchange.stream(FRAMES[0])
        await may_go_on.wait()
        for chunk in (FRAMES[1], USAGE, DONE, b""):
            await exchange.chunk(chunk)

    async with edge(script) as proxy, proxy.caller() as caller:
        await caller.send(request_bytes(STREAM, *HEADERS))
        line, _ = await caller.read_head()
        first = await caller.read_chunk()
        may_go_on.set()
        rest = b""
        while chunk := await caller.read_chunk():
            rest += chunk
        (event,) = await proxy.server.reported()

    assert (line, first) == ("HTTP/1.1 200 OK", FRAMES[0])
    assert rest == FRAMES[1] + USAGE + DONE
    assert [item.amount for item in event.lines[0].usage.quantities] == [3, 2]


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.acceptance("B-022")
async def test_usage_that_the_caller_did_not_ask_for_is_metered_and_not_shown(*, at_once: bool) -> None:
    async def script(exchange: Exchange) -> None:
        frames = (*FRAMES, USAGE, DONE)
        if at_once:
            await exchange.answer(b"".join(frames), kind="text/event-stream")
            return
        await exchange.stream(*frames)
        await exchange.chunk(b"")

    body = CHAT[:-1] + b',"stream":true}'
    async with edge(script) as proxy:
        answer = await proxy.ask(body, "Accept-Encoding: gzip")
        (event,) = await proxy.server.reported()

    sent = orjson.loads(proxy.provider.last.body)
    assert sent == {**orjson.loads(body), "stream_options": {"include_usage": True}}
    assert proxy.provider.last.named("accept-encoding") == ["identity"]
    assert answer.body == b"".join((*FRAMES, DONE))
    assert answer.whole
    assert [item.amount for item in event.lines[0].usage.quantities] == [3, 2]


async def test_an_old_client_sees_a_reset_where_a_length_is_missing_and_the_answer_broke() -> None:
    may_break = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await exchange.stream(FRAMES[0])
        await may_break.wait()
        exchange.reset()

    async with edge(script) as proxy, proxy.caller() as caller:
        await caller.send(request_bytes(STREAM, *HEADERS, version="1.0"))
        await caller.read_head()
        assert await caller.reader.readexactly(len(FRAMES[0])) == FRAMES[0]
        may_break.set()
        with pytest.raises(ConnectionResetError):
            await caller.rest()


async def test_an_old_client_gets_a_whole_answer_to_its_end() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.stream(*FRAMES, USAGE, DONE, b"")

    async with edge(script) as proxy, proxy.caller() as caller:
        await caller.send(request_bytes(STREAM, *HEADERS, version="1.0"))
        _, headers = await caller.read_head()
        assert await caller.rest() == b"".join((*FRAMES, USAGE, DONE))
    assert "transfer-encoding" not in {name.lower() for name, _ in headers}


@pytest.mark.parametrize("how", ["reset", "closed", "short"])
async def test_a_broken_answer_delivers_what_came_and_never_ends_cleanly(how: str) -> None:
    may_break = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        if how == "short":
            await exchange.send(head("200 OK", "Content-Length: 1000") + FRAMES[0])
        else:
            await exchange.stream(FRAMES[0])
        await may_break.wait()
        if how == "reset":
            exchange.reset()
        else:
            exchange.writer.close()

    async with edge(script) as proxy, proxy.caller() as caller:
        with capture_logs() as logs:
            await caller.send(request_bytes(STREAM, *HEADERS))
            await caller.read_head()
            await caller.reader.readuntil(FRAMES[0])
            may_break.set()
            rest = await caller.rest()
            (event,) = await proxy.server.reported()

    assert rest in {b"", b"\r\n"}  # The end of the chunk, and not of the answer.
    assert (event.outcome, event.http_status) == (3, 200)
    assert [entry["event"] for entry in logs if entry["log_level"] == "warning"] == ["upstream_broken"]


async def test_what_a_filter_held_back_is_delivered_when_the_answer_breaks() -> None:
    begun = FRAMES[0] + b"data: {"
    may_break = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await exchange.stream(begun)
        await may_break.wait()
        exchange.reset()

    async with edge(script) as proxy, proxy.caller() as caller:
        await caller.send(request_bytes(CHAT[:-1] + b',"stream":true}', *HEADERS))
        await caller.read_head()
        got = await caller.read_chunk()
        may_break.set()
        got += await caller.read_chunk()

    assert got == begun


@pytest.mark.acceptance("B-029")
async def test_a_silent_stream_is_broken_off_after_the_idle_limit() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.stream(FRAMES[0])
        await exchange.gone()

    async with edge(script, OM_UPSTREAM_IDLE_TIMEOUT_S=0.1) as proxy:
        answer = await proxy.ask(STREAM)
        (event,) = await proxy.server.reported()

    assert (answer.body, answer.whole) == (FRAMES[0], False)
    assert event.outcome == 3


@pytest.mark.acceptance("B-028")
async def test_the_idle_limit_does_not_cut_the_wait_for_the_first_byte() -> None:
    waited = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        asyncio.get_running_loop().call_later(0.15, waited.set)
        await waited.wait()
        await exchange.answer(ANSWER)

    async with edge(script, OM_UPSTREAM_IDLE_TIMEOUT_S=0.05) as proxy:
        assert (await proxy.ask()).body == ANSWER
