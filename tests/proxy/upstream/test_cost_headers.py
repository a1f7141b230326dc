"""What a caller is told with an answer because it asked: what it cost, and the cap that was lowered."""

from __future__ import annotations

import asyncio
import gzip
from dataclasses import dataclass, replace

import orjson
import pytest
from structlog.testing import capture_logs

from om.type.v1 import event_pb2
from om_proxy.upstream.relay import TOLD_BYTES_MAX
from tests.proxy.gate import ANSWER, PLATFORM_KEY, PROVIDER_KEY, Gate, error_of, gate, rated
from tests.proxy.raw_http import Caller, Exchange, Received, Script, head

CHAT_PATH = "/v1/chat/completions"
CHAT = b'{"model":"gpt-4o","max_tokens":900,"messages":[{"role":"user","content":"Hi there"}]}'
STREAM = CHAT[:-1] + b',"stream":true,"stream_options":{"include_usage":true}}'
BASIC = (
    f"X-OM-Api-Key: {PLATFORM_KEY}",
    "X-OM-Customer-Id: acme",
    "X-OM-User-Id: user_1",
    "X-OM-Feature-Id: chat",
    f"Authorization: Bearer {PROVIDER_KEY}",
    "Content-Type: application/json",
)
TELL = "X-OM-Include-Cost: true"
TOLD = [
    ("x-om-cost", "0.000165"),
    ("x-om-cost-currency", "USD"),
    ("x-om-credits", "0.165"),
    ("x-om-balance", "9.835"),
]
FRAMES = (
    b'data: {"id":"c1","model":"gpt-4o","choices":[{"delta":{"content":"Hel"}}],"usage":null}\n\n',
    b'data: {"id":"c1","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}\n\n',
    b"data: [DONE]\n\n",
)


async def answers(exchange: Exchange) -> None:
    await exchange.answer(ANSWER)


async def streams(exchange: Exchange) -> None:
    await exchange.stream(*FRAMES)
    await exchange.chunk(b"")


def told(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """What is said of money, in order."""
    names = {name for name, _ in TOLD}
    return [(name, value) for name, value in headers if name in names]


async def ask(front: Gate, body: bytes = CHAT, *headers: str) -> Received:
    return await front.ask(CHAT_PATH, body, *BASIC, *headers)


@dataclass
class Chunked:
    headers: list[tuple[str, str]]
    body: bytes
    trailer: list[tuple[str, str]]


async def read_chunked(caller: Caller) -> Chunked:
    """Read a chunked answer and the fields behind it."""
    _, headers = await caller.read_head()
    body = b""
    async with asyncio.timeout(20):
        while size := int(await caller.reader.readuntil(b"\r\n"), 16):
            body += (await caller.reader.readexactly(size + 2))[:-2]
        trailer = []
        while (line := await caller.reader.readuntil(b"\r\n")) != b"\r\n":
            name, _, value = line.decode().strip().partition(": ")
            trailer.append((name, value))
    return Chunked(headers, body, trailer)


def request(body: bytes, *headers: str, version: str = "1.1") -> bytes:
    lines = [f"POST {CHAT_PATH} HTTP/{version}", "Host: h", *BASIC, *headers, f"Content-Length: {len(body)}"]
    return "\r\n".join((*lines, "", "")).encode() + body


async def test_a_plain_answer_says_what_it_cost_and_what_is_left() -> None:
    async with gate(answers) as front:
        answer = await ask(front, CHAT, TELL)

    assert told(answer.headers) == TOLD
    assert answer.body == ANSWER
    assert answer.named("content-length") == [str(len(ANSWER))]
    # Asked with the caller's own key, so that it learns nothing that it may not read.
    assert set(front.credentials) == {f"Bearer {PLATFORM_KEY}"}
    assert len(front.events) == 1


@pytest.mark.parametrize("path", ["/api/proxy/v1/openai/chat/completions", CHAT_PATH])
@pytest.mark.parametrize("headers", [(), ("X-OM-Include-Cost: false",), ("X-OM-Include-Cost: 1",)])
async def test_nobody_is_told_or_asked_unasked(path: str, headers: tuple[str, ...]) -> None:
    own = (f"Authorization: Bearer {PLATFORM_KEY}", f"X-Provider-Key: {PROVIDER_KEY}")
    async with gate(answers) as front:
        answer = await front.ask(path, CHAT, *(own if path.startswith("/api") else BASIC), *headers)

    assert answer.status == 200
    assert told(answer.headers) == []
    assert front.credentials == []


async def test_the_path_dialect_is_told_too() -> None:
    own = (f"Authorization: Bearer {PLATFORM_KEY}", f"X-Provider-Key: {PROVIDER_KEY}")
    async with gate(answers) as front:
        answer = await front.ask("/api/proxy/v1/openai/chat/completions", CHAT, *own, TELL)

    assert told(answer.headers) == TOLD


async def test_an_answer_in_pieces_waits_for_its_cost_and_stays_the_same_bytes() -> None:
    packed = gzip.compress(ANSWER)

    async def slow(exchange: Exchange) -> None:
        kind = ("Content-Type: application/json", "Content-Encoding: gzip", f"Content-Length: {len(packed)}")
        await exchange.send(head("200 OK", *kind) + packed[:9])
        await asyncio.sleep(0)
        await exchange.send(packed[9:])

    async with gate(slow) as front:
        answer = await ask(front, CHAT, TELL, "Accept-Encoding: gzip")

    assert answer.body == packed
    assert told(answer.headers) == TOLD


async def test_a_stream_says_it_behind_its_body_and_the_connection_goes_on() -> None:
    async with gate(streams) as front, front.caller() as caller:
        await caller.send(request(STREAM, TELL) * 2)
        first, second = await read_chunked(caller), await read_chunked(caller)

    assert first.body == second.body == b"".join(FRAMES)
    assert first.trailer == second.trailer == TOLD
    assert told(first.headers) == []
    assert ("Trailer", "x-om-cost, x-om-cost-currency, x-om-credits, x-om-balance") in first.headers
    assert len(front.events) == 2


async def test_a_stream_that_was_not_asked_for_has_nothing_behind_it() -> None:
    async with gate(streams) as front:
        answer = await ask(front, STREAM)

    assert answer.body == b"".join(FRAMES)
    assert answer.whole
    assert answer.named("trailer") == []
    assert front.credentials == []


async def test_a_stream_of_known_length_becomes_one_in_chunks() -> None:
    async def sized(exchange: Exchange) -> None:
        await exchange.answer(b"".join(FRAMES), kind="text/event-stream")

    async with gate(sized) as front, front.caller() as caller:
        await caller.send(request(STREAM, TELL))
        answer = await read_chunked(caller)

    assert (answer.body, answer.trailer) == (b"".join(FRAMES), TOLD)
    assert not any(name.lower() == "content-length" for name, _ in answer.headers)


async def test_an_old_connection_has_no_room_behind_a_stream() -> None:
    async with gate(streams) as front, front.caller() as caller:
        await caller.send(request(STREAM, TELL, version="1.0"))
        answer = await caller.rest()

    assert answer.endswith(b"".join(FRAMES))
    assert b"Trailer" not in answer
    assert front.credentials == []


@pytest.mark.parametrize("stream", [False, True])
async def test_a_server_that_is_too_slow_does_not_keep_the_answer(*, stream: bool) -> None:
    held = asyncio.Event()

    async def never() -> None:
        await held.wait()

    async with gate(streams if stream else answers, cost_deadline_s=0.05) as front:
        front.before_answer = never
        async with front.caller() as caller:
            await caller.send(request(STREAM if stream else CHAT, TELL))
            if stream:
                chunked = await read_chunked(caller)
                assert (chunked.body, chunked.trailer) == (b"".join(FRAMES), [])
            else:
                answer = await caller.read()
                assert (answer.body, told(answer.headers)) == (ANSWER, [])
        held.set()
    assert front.deadlines == {0.05}


async def test_a_defect_on_the_way_to_the_figures_does_not_keep_the_answer() -> None:
    async def broken() -> None:
        raise ZeroDivisionError("canary")

    async with gate(answers) as front:
        front.before_answer = broken
        with capture_logs() as logs:
            answer = await ask(front, CHAT, TELL)

    assert (answer.status, answer.body, told(answer.headers)) == (200, ANSWER, [])
    assert any(entry["event"] == "cost_headers_failed" for entry in logs)
    assert "canary" not in repr(logs)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_caller_who_leaves_before_the_figures_are_there_has_used_what_came(*, stream: bool) -> None:
    asked = asyncio.Event()

    async def never() -> None:
        asked.set()
        await asyncio.Event().wait()

    async with gate(streams if stream else answers) as front:
        front.before_answer = never
        async with front.caller() as caller:
            await caller.send(request(STREAM if stream else CHAT, TELL))
            async with asyncio.timeout(20):
                await asked.wait()
            caller.leave()
        async with asyncio.timeout(20):
            await front.concluded.wait()

    assert front.event.outcome == event_pb2.OUTCOME_CHARGED
    assert front.event.lines[0].usage.quantities[0].amount == 3


async def test_what_has_no_price_is_not_said_to_cost_nothing() -> None:
    async with gate(answers) as front:
        assert front.rating is not None
        front.rating.ClearField("charge")
        without_charge = await ask(front, CHAT, TELL)
        front.rating.ClearField("cost")
        without_both = await ask(front, CHAT, TELL)

    assert told(without_charge.headers) == TOLD[:2]
    assert told(without_both.headers) == []


async def test_exact_figures_are_written_exactly() -> None:
    async with gate(answers) as front:
        front.rating, front.posted_nanos = rated(1, 2**62), 2**62 - 1
        answer = await ask(front, CHAT, TELL)

    assert [value for _, value in told(answer.headers)] == [
        "0.000000001",
        "USD",
        "4611686018.427387904",
        "-0.000000001",
    ]


async def test_what_the_provider_refused_cost_nothing() -> None:
    async def refuses(exchange: Exchange) -> None:
        await exchange.answer(b"{}", status="429 Too Many")

    async with gate(refuses) as front:
        answer = await ask(front, CHAT, TELL)

    assert told(answer.headers) == [("x-om-cost", "0"), ("x-om-credits", "0"), ("x-om-balance", "10")]


async def test_the_sandbox_costs_nothing() -> None:
    async with gate(answers) as front:
        answer = await ask(front, CHAT, TELL, "X-Sandbox: true")

    assert told(answer.headers)[:2] == [("x-om-cost", "0"), ("x-om-credits", "0")]


async def test_a_provider_cannot_speak_in_our_name() -> None:
    async def forges(exchange: Exchange) -> None:
        await exchange.answer(ANSWER, "X-OM-Balance: 1000000", "X-OM-Request-Id: evt_forged")

    async with gate(forges) as front:
        answer = await ask(front)

    assert told([(name.lower(), value) for name, value in answer.headers]) == []
    assert answer.named("x-om-request-id") == [front.event.event_id]


@pytest.mark.parametrize(("size", "is_told"), [(TOLD_BYTES_MAX - 400, True), (TOLD_BYTES_MAX + 1, False)])
async def test_an_answer_that_is_too_large_to_keep_is_passed_on_untold(size: int, *, is_told: bool) -> None:
    body = ANSWER[:-1] + b',"x":"' + b"a" * size + b'"}'

    async def large(exchange: Exchange) -> None:
        await exchange.answer(body)

    async with gate(large) as front:
        answer = await ask(front, CHAT, TELL)

    assert answer.body == body
    assert bool(told(answer.headers)) is is_told


async def breaks(exchange: Exchange) -> None:
    await exchange.send(head("200 OK", "Content-Type: application/json", "Content-Length: 900") + ANSWER)
    exchange.reset()


async def breaks_in_stream(exchange: Exchange) -> None:
    await exchange.stream(FRAMES[0])
    exchange.reset()


@pytest.mark.parametrize(("script", "body"), [(breaks, CHAT), (breaks_in_stream, STREAM)])
async def test_an_answer_that_breaks_is_broken_and_told_nothing(script: Script, body: bytes) -> None:
    async with gate(script) as front:
        answer = await ask(front, body, TELL)

    assert not answer.whole
    assert answer.body in {ANSWER, FRAMES[0]}
    assert told(answer.headers) == []
    assert front.credentials == []


async def test_a_cap_is_lowered_to_what_is_affordable_where_the_caller_lets_us() -> None:
    async with gate(answers) as front:
        front.output_tokens_max = 40
        answer = await ask(front, CHAT, "X-OM-Clamp-Output: true")

    assert answer.status == 200
    assert answer.named("x-om-output-cap") == ["40"]
    assert front.provider.last.body == CHAT.replace(b"900", b"40")
    assert [call.demand.output_max for call, _ in front.asked] == [900, 40]
    assert front.event.lines[0].model == "gpt-4o"


async def test_a_stream_that_is_clamped_is_still_asked_for_its_usage() -> None:
    body = CHAT[:-1] + b',"stream":true}'
    async with gate(streams) as front:
        front.output_tokens_max = 40
        answer = await ask(front, body, "X-OM-Clamp-Output: true")

    sent = orjson.loads(front.provider.last.body)
    assert (sent["max_tokens"], sent["stream_options"]) == (40, {"include_usage": True})
    # The event that only we asked for stays here.
    assert answer.body == FRAMES[0] + FRAMES[2]


@pytest.mark.parametrize("headers", [(), ("X-OM-Clamp-Output: false",)])
async def test_otherwise_the_refusal_says_what_would_be_affordable(headers: tuple[str, ...]) -> None:
    async with gate(answers) as front:
        front.output_tokens_max = 40
        answer = await ask(front, CHAT, *headers)

    error = error_of(answer)
    assert (answer.status, error["code"]) == (402, "insufficient_credits")
    assert error["details"] == {
        "error_code": "insufficient_credits",
        "needed": "0.000000002",
        "available": "0.000000001",
        "output_tokens_max": "40",
    }
    assert "40 output tokens" in error["message"]
    assert front.provider.exchanges == []
    assert len(front.asked) == 1


@pytest.mark.parametrize(("headers", "status"), [((), 200), (("X-OM-Clamp-Output: false",), 402)])
async def test_a_key_lets_us_lower_caps_unless_the_call_says_otherwise(
    headers: tuple[str, ...], status: int
) -> None:
    async with gate(answers) as front:
        front.output_tokens_max = 40
        front.key = replace(front.key, clamp_output=True)
        answer = await ask(front, CHAT, *headers)

    assert answer.status == status
    assert answer.named("x-om-output-cap") == (["40"] if status == 200 else [])


async def test_a_call_that_is_affordable_is_not_touched() -> None:
    async with gate(answers) as front:
        front.output_tokens_max = 900
        answer = await ask(front, CHAT, "X-OM-Clamp-Output: true")

    assert answer.named("x-om-output-cap") == []
    assert front.provider.last.body == CHAT
