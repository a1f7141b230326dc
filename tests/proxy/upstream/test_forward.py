"""Exactly one outcome for each admitted call, however it ends."""

from __future__ import annotations

import asyncio
import socket
import threading

import orjson
import pytest
from structlog.testing import capture_logs

from om.type.v1 import event_pb2, usage_pb2
from om_proxy.admission.outcome import Intent
from om_proxy.edge.call_book import CallBook
from om_proxy.off_loop import INLINE_BYTES_MAX
from om_proxy.providers.openai.usage import ChatReader
from om_proxy.upstream.forward import Forwarder
from om_proxy.upstream.outlet import Outlet
from tests.proxy.fake_servicer import LEASE_ID
from tests.proxy.one_edge import ANSWER, HEADERS, STREAM, UNREACHABLE, Edge, answers, edge
from tests.proxy.raw_http import Exchange, head, provider, request_bytes
from tests.proxy.upstream.test_relay import DONE, FRAMES, USAGE

MESSAGES = b'{"model":"claude-sonnet-4-5","max_tokens":9,"messages":[{"role":"user","content":"Hi"}]}'
GENERATE = b'{"contents":[{"parts":[{"text":"Hi"}]}]}'
_MEASURED, _ESTIMATED = usage_pb2.CERTAINTY_MEASURED, usage_pb2.CERTAINTY_ESTIMATED
_UNKNOWN = usage_pb2.CERTAINTY_UNKNOWN


def quantities(event: event_pb2.UsageEvent) -> dict[str, tuple[int | None, int]]:
    (line,) = event.lines
    return {
        item.unit: (item.amount if item.HasField("amount") else None, item.certainty)
        for item in line.usage.quantities
    }


async def the_event(proxy: Edge) -> event_pb2.UsageEvent:
    (event,) = await proxy.server.reported()
    assert [part.lease_id for part in event.funding] == [LEASE_ID]
    return event


@pytest.mark.acceptance("B-002", "B-003")
async def test_a_success_is_charged_by_the_providers_own_numbers() -> None:
    async with edge(answers) as proxy:
        answer = await proxy.ask()
        event = await the_event(proxy)

    assert answer.named("x-om-request-id") == [event.event_id]
    assert (event.outcome, event.http_status) == (event_pb2.OUTCOME_CHARGED, 200)
    assert quantities(event) == {"input_tokens": (3, _MEASURED), "output_tokens": (2, _MEASURED)}
    (funding,) = event.funding
    (request,) = proxy.server.admit_requests
    assert (funding.lease_id, funding.bound_nanos) == (LEASE_ID, request.bound_nanos)
    assert 0 < funding.retained_nanos < funding.bound_nanos
    assert event.HasField("latency_ms")


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        (
            "/v1/chat/completions",
            STREAM,
            {
                "error": {
                    "message": "Failed to connect to upstream provider",
                    "type": "connection_error",
                    "code": "upstream_unreachable",
                }
            },
        ),
        (
            "/v1/messages",
            MESSAGES,
            {
                "type": "error",
                "error": {"type": "connection_error", "message": "Failed to connect to Anthropic"},
            },
        ),
        (
            "/v1beta/models/gemini-2.5-flash:generateContent",
            GENERATE,
            {"error": {"code": 502, "message": "Failed to connect to Gemini", "status": "UNAVAILABLE"}},
        ),
    ],
)
@pytest.mark.acceptance("B-045")
async def test_an_unreachable_provider_is_a_zero_that_may_be_repeated(
    path: str, body: bytes, expected: object
) -> None:
    async with edge(answers, origin=UNREACHABLE) as proxy:
        answer = await proxy.ask(body, "x-api-key: k", "x-goog-api-key: k", path=path)
        event = await the_event(proxy)

    assert (answer.status, orjson.loads(answer.body)) == (502, expected)
    assert answer.named("x-should-retry") == []
    assert (event.outcome, event.http_status) == (event_pb2.OUTCOME_ZERO, 0)
    assert [funding.retained_nanos for funding in event.funding] == [0]


async def test_a_connection_that_is_never_taken_is_a_zero_after_its_own_limit() -> None:
    # A listener that accepts nobody, with a full backlog: packets to it are dropped.
    with socket.socket() as deaf, socket.socket() as waiting:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        waiting.connect(deaf.getsockname())
        origin = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        async with edge(answers, origin=origin, OM_UPSTREAM_CONNECT_TIMEOUT_S=0.05) as proxy:
            answer = await proxy.ask()
            event = await the_event(proxy)

    assert (answer.status, orjson.loads(answer.body)["error"]["code"]) == (504, "upstream_timeout")
    assert answer.named("x-should-retry") == []
    assert event.outcome == event_pb2.OUTCOME_ZERO


async def test_a_caller_who_leaves_the_queue_for_a_connection_was_never_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first_asked, second_began = asyncio.Event(), asyncio.Event()
    begin = CallBook.begin

    async def began(self: CallBook, intent: Intent) -> None:
        await begin(self, intent)
        if first_asked.is_set():
            second_began.set()

    monkeypatch.setattr(CallBook, "begin", began)

    async def script(exchange: Exchange) -> None:
        first_asked.set()
        await exchange.gone()

    async with edge(script, OM_UPSTREAM_CONNECTIONS_MAX=1) as proxy:
        async with proxy.caller() as first:
            await first.send(request_bytes(STREAM, *HEADERS))
            await first_asked.wait()
            async with proxy.caller() as second:
                await second.send(request_bytes(STREAM, *HEADERS))
                await second_began.wait()
            (unsent,) = await proxy.server.reported()
        sent = (await proxy.server.reported(2))[1]

    assert unsent.event_id != sent.event_id
    assert unsent.outcome == event_pb2.OUTCOME_ZERO
    assert sent.outcome == event_pb2.OUTCOME_ESTIMATED
    assert len(proxy.provider.exchanges) == 1


@pytest.mark.acceptance("B-046")
async def test_no_answer_in_time_is_an_estimate_that_no_sdk_repeats() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.gone()

    async with edge(script, OM_UPSTREAM_TIMEOUT_S=0.1) as proxy:
        answer = await proxy.ask()
        event = await the_event(proxy)

    assert (answer.status, orjson.loads(answer.body)["error"]["code"]) == (504, "upstream_timeout")
    assert answer.named("x-should-retry") == ["false"]
    assert (event.outcome, event.http_status) == (event_pb2.OUTCOME_ESTIMATED, 0)
    assert quantities(event)["input_tokens"][0]


@pytest.mark.parametrize(
    "reply", [b"", b"not http at all\r\n\r\n", head("101 Switching Protocols", "Upgrade: x")]
)
async def test_an_answer_that_is_none_is_an_estimate_that_no_sdk_repeats(reply: bytes) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(reply)
        exchange.writer.close()

    async with edge(script) as proxy:
        answer = await proxy.ask()
        event = await the_event(proxy)

    assert (answer.status, orjson.loads(answer.body)["error"]["code"]) == (502, "upstream_unreachable")
    assert answer.named("x-should-retry") == ["false"]
    assert event.outcome == event_pb2.OUTCOME_ESTIMATED


async def test_an_answer_with_a_giant_header_is_not_quoted(caplog: pytest.LogCaptureFixture) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(head("200 OK", "X-Big: sk-canary" + "a" * 70_000))

    async with edge(script) as proxy:
        with capture_logs() as logs:
            answer = await proxy.ask()
            event = await the_event(proxy)

    assert answer.status == 502
    assert event.outcome == event_pb2.OUTCOME_ESTIMATED
    assert "canary" not in repr(logs) + caplog.text + answer.body.decode()


async def test_a_redirect_passes_through_and_is_not_followed() -> None:
    async with provider(answers) as elsewhere:

        async def script(exchange: Exchange) -> None:
            await exchange.send(
                head("307 Temporary Redirect", f"Location: {elsewhere.url}/x", "Content-Length: 0")
            )

        async with edge(script) as proxy:
            answer = await proxy.ask()
            event = await the_event(proxy)

    assert (answer.status, answer.named("location")) == (307, [f"{elsewhere.url}/x"])
    assert elsewhere.exchanges == []
    assert (event.outcome, event.http_status) == (event_pb2.OUTCOME_ZERO, 307)


@pytest.mark.acceptance("B-030")
async def test_a_caller_who_leaves_in_mid_stream_ends_the_call_and_is_charged_for_what_was_produced(
    caplog: pytest.LogCaptureFixture,
) -> None:
    gone = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await exchange.stream(*FRAMES)
        await exchange.gone()
        gone.set()

    async with edge(script) as proxy:
        with capture_logs() as logs:
            async with proxy.caller() as caller:
                await caller.send(request_bytes(STREAM, *HEADERS))
                await caller.read_head()
                assert await caller.read_chunk()
                caller.leave()
            async with asyncio.timeout(10):
                await gone.wait()
            event = await the_event(proxy)

    assert (event.outcome, event.http_status) == (event_pb2.OUTCOME_ESTIMATED, 200)
    assert quantities(event)["output_tokens"] == (2, _ESTIMATED)
    assert quantities(event)["input_tokens"][1] == _ESTIMATED
    assert "Traceback" not in caplog.text
    assert [entry for entry in logs if entry["log_level"] in {"warning", "error"}] == []


async def test_writing_to_a_caller_who_left_leaves_no_trace_in_the_log(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def vanished(*_: object) -> None:
        raise ConnectionResetError("sk-canary")

    async def script(exchange: Exchange) -> None:
        await exchange.stream(*FRAMES)
        await exchange.gone()

    async with edge(script) as proxy:
        monkeypatch.setattr(Outlet, "write", vanished)
        with capture_logs() as logs:
            async with proxy.caller() as caller:
                await caller.send(request_bytes(STREAM, *HEADERS))
                event = await the_event(proxy)

    assert event.outcome == event_pb2.OUTCOME_ESTIMATED
    assert "caller_left" in [entry["event"] for entry in logs]
    assert "canary" not in repr(logs)
    assert caplog.text == ""


@pytest.mark.acceptance("B-030")
async def test_a_caller_who_leaves_before_the_answer_ends_the_call_too() -> None:
    asked, gone = asyncio.Event(), asyncio.Event()

    async def script(exchange: Exchange) -> None:
        asked.set()
        await exchange.gone()
        gone.set()

    async with edge(script) as proxy:
        async with proxy.caller() as caller:
            await caller.send(request_bytes(STREAM, *HEADERS))
            await asked.wait()
        async with asyncio.timeout(10):
            await gone.wait()
        event = await the_event(proxy)

    assert event.outcome == event_pb2.OUTCOME_ESTIMATED


async def test_usage_that_came_before_the_break_is_exact() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.stream(*FRAMES, USAGE, DONE)
        exchange.reset()

    async with edge(script) as proxy:
        await proxy.ask(STREAM)
        event = await the_event(proxy)

    assert quantities(event) == {"input_tokens": (3, _MEASURED), "output_tokens": (2, _MEASURED)}


@pytest.mark.parametrize("method", ["read", "metered", "__init__"])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_defect_of_the_meter_never_touches_the_bytes_and_is_never_a_zero(
    monkeypatch: pytest.MonkeyPatch, method: str, *, stream: bool
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a prompt, sk-canary")

    async def script(exchange: Exchange) -> None:
        if stream:
            await exchange.stream(*FRAMES, USAGE, DONE, b"")
        else:
            await exchange.answer(ANSWER)

    monkeypatch.setattr(ChatReader, method, broken)
    async with edge(script) as proxy:
        with capture_logs() as logs:
            answer = await (proxy.ask(STREAM) if stream else proxy.ask())
            event = await the_event(proxy)

    assert (answer.status, answer.whole) == (200, True)
    assert answer.body == (b"".join((*FRAMES, USAGE, DONE)) if stream else ANSWER)
    assert event.outcome == event_pb2.OUTCOME_ESTIMATED
    assert quantities(event)["output_tokens"] == (None, _UNKNOWN)
    assert quantities(event)["input_tokens"][1] == _ESTIMATED
    assert event.funding[0].retained_nanos == event.funding[0].bound_nanos > 0
    defects = [entry for entry in logs if entry["log_level"] == "error"]
    assert [(entry["event"], entry["kind"], entry["event_id"]) for entry in defects] == [
        ("meter_failed", "ZeroDivisionError", event.event_id)
    ]
    assert "canary" not in repr(logs)


async def test_a_large_answer_is_read_on_another_thread_and_still_reported_at_stop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads: list[int] = []
    closing = threading.Event()
    metered, close = ChatReader.metered, Forwarder.close

    def noting(self: ChatReader) -> object:
        threads.append(threading.get_ident())
        assert closing.wait(20)
        return metered(self)

    async def closed(self: Forwarder, *_: object) -> None:
        closing.set()
        await close(self)

    monkeypatch.setattr(ChatReader, "metered", noting)
    monkeypatch.setattr(Forwarder, "close", closed)
    body = ANSWER[:-1] + b',"x":"' + b"a" * INLINE_BYTES_MAX + b'"}'

    async def script(exchange: Exchange) -> None:
        await exchange.answer(body)

    async with edge(script) as proxy:
        answer = await proxy.ask()
        server = proxy.server
    (event,) = server.events

    assert answer.body == body
    assert quantities(event)["output_tokens"] == (2, _MEASURED)
    assert threads
    assert threading.get_ident() not in threads
