"""A caller who leaves: at every frame, before the head, during a plain answer; one charge each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from structlog.testing import capture_logs

from om.account.v1 import account_service_pb2 as account_pb
from om.type.v1 import event_pb2, usage_pb2
from om_proxy.admission.outcome import Intent
from om_proxy.edge.call_book import CallBook
from om_proxy.upstream.departure import Drains
from tests.proxy.exchange import MESSAGES_PATH
from tests.proxy.exchange import events as written
from tests.proxy.one_edge import ANSWER, CHAT, HEADERS, STREAM, Edge, edge
from tests.proxy.raw_http import Exchange, head, request_bytes
from tests.proxy.upstream.test_relay import DONE, FRAMES, USAGE

_MODES = ("cancel", "drain")


@dataclass(frozen=True)
class Conversation:
    """A stream of a provider, frame by frame, and what it says was used."""

    path: str
    body: bytes
    frames: tuple[bytes, ...]
    usage: tuple[int, int]
    exact_from: int  # Behind so many frames nothing is left to be estimated.


_RESPONSE = {"id": "r1", "model": "gpt-4o", "status": "in_progress", "usage": None}
_USED = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
_SAID = {"candidates": [{"content": {"parts": [{"text": "Hel"}], "role": "model"}}], "modelVersion": "g"}
_ENDED = {
    "candidates": [{"content": {"parts": [{"text": "lo"}]}, "finishReason": "STOP"}],
    "modelVersion": "g",
}
_GEMINI_USAGE = {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5}

CONVERSATIONS = {
    "openai chat": Conversation("/v1/chat/completions", STREAM, (*FRAMES, USAGE, DONE), (3, 2), 3),
    "openai responses": Conversation(
        "/v1/responses",
        b'{"model":"gpt-4o","input":"Hi","max_output_tokens":9,"stream":true}',
        (
            written([{"type": "response.created", "response": _RESPONSE}]),
            written([{"type": "response.output_text.delta", "delta": "Hel"}]),
            written([{"type": "response.output_text.delta", "delta": "lo"}]),
            written([{"type": "response.completed", "response": {**_RESPONSE, "usage": _USED}}]),
        ),
        (3, 2),
        4,
    ),
    "anthropic": Conversation(
        MESSAGES_PATH,
        b'{"model":"claude-sonnet-4-5","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"Hi"}]}',
        (
            written(
                [
                    {
                        "type": "message_start",
                        "message": {
                            "id": "m1",
                            "model": "claude-sonnet-4-5",
                            "usage": {"input_tokens": 3, "output_tokens": 1},
                        },
                    }
                ]
            ),
            written(
                [{"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}]
            ),
            written(
                [{"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}}]
            ),
            written([{"type": "content_block_stop", "index": 0}]),
            written([{"type": "message_delta", "delta": {}, "usage": {"output_tokens": 2}}]),
            written([{"type": "message_stop"}]),
        ),
        (3, 2),
        5,
    ),
    "gemini": Conversation(
        "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
        b'{"contents":[{"parts":[{"text":"Hi"}]}],"generationConfig":{"maxOutputTokens":9}}',
        (
            written([_SAID], b"\r\n"),
            written([{**_ENDED, "usageMetadata": _GEMINI_USAGE}], b"\r\n"),
        ),
        (3, 2),
        2,
    ),
}

LEAVINGS = [
    pytest.param(talk, count, id=f"{name} behind {count} of {len(talk.frames)}")
    for name, talk in CONVERSATIONS.items()
    for count in range(len(talk.frames) + 1)
]


def used(event: event_pb2.UsageEvent) -> dict[str, tuple[int, bool]]:
    (line,) = event.lines
    measured = usage_pb2.CERTAINTY_MEASURED
    return {item.unit: (item.amount, item.certainty == measured) for item in line.usage.quantities}


@asynccontextmanager
async def nothing_left() -> AsyncIterator[None]:
    """No task may be left that was not there."""
    before = asyncio.all_tasks()
    yield
    async with asyncio.timeout(20):
        while asyncio.all_tasks() - before:
            await asyncio.wait(asyncio.all_tasks() - before)


async def the_end(proxy: Edge) -> event_pb2.UsageEvent:
    """The one outcome; nothing is open in the book behind it, and the lease has back what was not kept."""
    (event,) = await proxy.server.reported()
    (funding,) = event.funding
    assert 0 <= funding.retained_nanos <= funding.bound_nanos
    return event


def keys(*headers: str) -> tuple[str, ...]:
    return (*HEADERS, "x-api-key: k", "x-goog-api-key: k", *headers)


@pytest.mark.parametrize(("talk", "count"), LEAVINGS)
@pytest.mark.parametrize("mode", _MODES)
async def test_a_caller_leaves_a_stream_at_every_frame(talk: Conversation, count: int, mode: str) -> None:
    left, closed = asyncio.Event(), asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await exchange.stream(*talk.frames[:count])
        await left.wait()
        if mode == "drain":
            for frame in (*talk.frames[count:], b""):
                await exchange.chunk(frame)
        else:
            await exchange.gone()
        closed.set()

    async with nothing_left(), edge(script) as proxy:
        async with proxy.caller() as caller:
            await caller.send(request_bytes(talk.body, *keys(f"X-OM-On-Disconnect: {mode}"), path=talk.path))
            await caller.read_head()
            seen = b"".join(talk.frames[:count])
            got = b""
            while len(got) < len(seen):
                got += await caller.read_chunk()
            assert got == seen
        left.set()
        event = await the_end(proxy)
        async with asyncio.timeout(20):
            await closed.wait()
        assert len(proxy.provider.exchanges) == 1

    exact = {"input_tokens": (talk.usage[0], True), "output_tokens": (talk.usage[1], True)}
    if mode == "drain" or count >= talk.exact_from:
        assert (event.outcome, used(event)) == (event_pb2.OUTCOME_CHARGED, exact)
    else:
        assert event.outcome == event_pb2.OUTCOME_ESTIMATED
        assert used(event)["output_tokens"][1] is False


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("mode", _MODES)
async def test_a_caller_leaves_before_the_head(mode: str, *, stream: bool) -> None:
    asked, left, closed = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def script(exchange: Exchange) -> None:
        asked.set()
        await left.wait()
        if mode == "cancel":
            await exchange.gone()
        elif stream:
            await exchange.stream(*FRAMES, USAGE, DONE, b"")
        else:
            await exchange.answer(ANSWER)
        closed.set()

    async with nothing_left(), edge(script, OM_ON_DISCONNECT=mode) as proxy:
        async with proxy.caller() as caller:
            await caller.send(request_bytes(STREAM if stream else CHAT, *HEADERS))
            await asked.wait()
        left.set()
        event = await the_end(proxy)
        async with asyncio.timeout(20):
            await closed.wait()

    if mode == "drain":
        assert used(event) == {"input_tokens": (3, True), "output_tokens": (2, True)}
    else:
        assert event.outcome == event_pb2.OUTCOME_ESTIMATED


@pytest.mark.parametrize("told", [(), ("X-OM-Include-Cost: true",)])
@pytest.mark.parametrize("mode", _MODES)
async def test_a_caller_leaves_during_a_plain_answer(mode: str, told: tuple[str, ...]) -> None:
    begun, left = asyncio.Event(), asyncio.Event()

    async def script(exchange: Exchange) -> None:
        length = f"Content-Length: {len(ANSWER)}"
        await exchange.send(head("200 OK", "Content-Type: application/json", length) + ANSWER[:20])
        begun.set()
        await left.wait()
        await (exchange.gone() if mode == "cancel" else exchange.send(ANSWER[20:]))

    async with nothing_left(), edge(script) as proxy:
        async with proxy.caller() as caller:
            await caller.send(request_bytes(CHAT, *HEADERS, f"X-OM-On-Disconnect: {mode}", *told))
            await begun.wait()
            if not told:
                await caller.read_head()
        left.set()
        event = await the_end(proxy)

    if mode == "drain":
        assert used(event) == {"input_tokens": (3, True), "output_tokens": (2, True)}
    else:
        assert event.outcome == event_pb2.OUTCOME_ESTIMATED


@pytest.mark.parametrize(
    ("policies", "headers", "drained"),
    [
        ({}, (), True),
        ({"messages": account_pb.ON_DISCONNECT_CANCEL}, (), True),
        ({"chat": account_pb.ON_DISCONNECT_CANCEL}, (), False),
        ({}, ("X-OM-On-Disconnect: cancel",), False),
    ],
)
async def test_a_key_says_what_becomes_of_its_calls_by_operation_unless_the_request_does(
    policies: dict[str, account_pb.OnDisconnect.ValueType], headers: tuple[str, ...], *, drained: bool
) -> None:
    left = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await exchange.stream(FRAMES[0])
        await left.wait()
        if drained:
            for frame in (*FRAMES[1:], USAGE, DONE, b""):
                await exchange.chunk(frame)
        else:
            await exchange.gone()

    async with edge(script) as proxy:
        proxy.server.calls = account_pb.AuthenticateKeyResponse(
            on_disconnect=account_pb.ON_DISCONNECT_DRAIN, on_disconnect_by_operation=policies
        )
        async with proxy.caller() as caller:
            await caller.send(request_bytes(STREAM, *HEADERS, *headers))
            await caller.read_head()
        left.set()
        event = await the_end(proxy)

    assert (event.outcome == event_pb2.OUTCOME_ESTIMATED) is not drained


async def test_what_the_request_says_counts_before_the_setting() -> None:
    left, gone = asyncio.Event(), asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await exchange.stream(FRAMES[0])
        await left.wait()
        await exchange.gone()
        gone.set()

    async with edge(script, OM_ON_DISCONNECT="drain") as proxy:
        async with proxy.caller() as caller:
            await caller.send(request_bytes(STREAM, *HEADERS, "X-OM-On-Disconnect: cancel"))
            await caller.read_head()
        left.set()
        async with asyncio.timeout(20):
            await gone.wait()
        event = await the_end(proxy)

    assert event.outcome == event_pb2.OUTCOME_ESTIMATED


@pytest.mark.parametrize("limit", ["time", "bytes"])
async def test_an_answer_without_end_is_not_read_for_ever(limit: str) -> None:
    left = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await exchange.stream(FRAMES[0])
        await left.wait()
        if limit == "time":
            await exchange.gone()
            return
        while not exchange.writer.is_closing():
            await exchange.chunk(FRAMES[1])

    bounds: dict[str, Any] = {"OM_DRAIN_S": 0.1} if limit == "time" else {"OM_DRAIN_BYTES_MAX": 50_000}
    async with nothing_left(), edge(script, OM_ON_DISCONNECT="drain", **bounds) as proxy:
        async with proxy.caller() as caller:
            await caller.send(request_bytes(STREAM, *HEADERS))
            await caller.read_head()
        left.set()
        event = await the_end(proxy)

    assert event.outcome == event_pb2.OUTCOME_ESTIMATED


async def test_a_call_that_waits_for_a_connection_is_not_made_for_nobody(
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

    async with nothing_left(), edge(script, OM_UPSTREAM_CONNECTIONS_MAX=1, OM_DRAIN_S=0.1) as proxy:
        proxy_drains = "X-OM-On-Disconnect: drain"
        async with proxy.caller() as first:
            await first.send(request_bytes(STREAM, *HEADERS, proxy_drains))
            await first_asked.wait()
            async with proxy.caller() as second:
                await second.send(request_bytes(STREAM, *HEADERS, proxy_drains))
                await second_began.wait()
            (unsent,) = await proxy.server.reported()

    assert unsent.outcome == event_pb2.OUTCOME_ZERO
    assert len(proxy.provider.exchanges) == 1


async def test_work_that_is_cancelled_before_its_first_step_still_ends() -> None:
    ended: list[bool] = []

    async def work() -> None:
        await asyncio.Event().wait()

    drains = Drains(20)
    caller = asyncio.create_task(drains.outlive(work(), sent=lambda: False, ended=lambda: ended.append(True)))
    # One step of the caller, none of the work.
    asyncio.get_running_loop().call_soon(caller.cancel)
    with pytest.raises(asyncio.CancelledError):
        await caller
    await drains.close(0)

    assert ended == [True]


async def test_an_unknown_choice_is_refused() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.answer(ANSWER)

    async with edge(script) as proxy:
        answer = await proxy.ask(CHAT, "X-OM-On-Disconnect: linger")

    assert (answer.status, b"X-OM-On-Disconnect" in answer.body) == (400, True)
    assert proxy.provider.exchanges == []


async def test_the_end_of_the_process_cuts_what_is_read_for_nobody_and_charges_it() -> None:
    left = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await exchange.stream(FRAMES[0])
        left.set()
        await exchange.gone()

    with capture_logs() as logs:
        async with nothing_left(), edge(script, OM_ON_DISCONNECT="drain", OM_STOP_GRACE_S=0) as proxy:
            async with proxy.caller() as caller:
                await caller.send(request_bytes(STREAM, *HEADERS))
                await caller.read_head()
            await left.wait()
            server = proxy.server
    (event,) = server.events

    assert event.outcome == event_pb2.OUTCOME_ESTIMATED
    assert [entry for entry in logs if entry["log_level"] == "error"] == []
