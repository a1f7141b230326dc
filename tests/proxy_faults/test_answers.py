"""What a provider may do wrong in its answer: rows 7 to 10, 12 to 25 and 28 to 30 of the fault catalogue."""

from __future__ import annotations

import asyncio
import gzip
import resource
import zlib

import pytest

from om.type.v1 import event_pb2, usage_pb2
from tests.proxy.fake_servicer import LEASE_NANOS
from tests.proxy.one_edge import ANSWER, HEADERS, STREAM
from tests.proxy.raw_http import Exchange, head, request_bytes
from tests.proxy.upstream.test_forward import quantities
from tests.proxy.upstream.test_relay import DONE, FRAMES, USAGE
from tests.proxy_faults.scene import Scene, code, scene

_CHARGED, _ZERO = event_pb2.OUTCOME_CHARGED, event_pb2.OUTCOME_ZERO
_ESTIMATED = event_pb2.OUTCOME_ESTIMATED
_MEASURED = usage_pb2.CERTAINTY_MEASURED
_TRANSCRIPT = b"".join((*FRAMES, USAGE, DONE))


async def answered(running: Scene, body: bytes = b"", *, stream: bool = False) -> event_pb2.UsageEvent:
    """Make one call whose answer must come through unchanged, and give its outcome."""
    answer = await (running.proxy.ask(STREAM) if stream else running.proxy.ask())
    assert (answer.status, answer.body, answer.whole) == (200, body, True)
    return await running.outcome()


async def test_a_body_that_is_shorter_than_its_length_row_7() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(head("200 OK", "Content-Type: application/json", "Content-Length: 500") + ANSWER)
        exchange.reset()

    async with scene(script) as running:
        answer = await running.proxy.ask()
        event = await running.outcome()

    assert (answer.whole, answer.named("content-length")) == (False, ["500"])
    assert ANSWER.startswith(answer.body)
    assert event.outcome != _ZERO


async def test_a_stream_that_breaks_at_any_byte_row_8() -> None:
    cuts = iter(range(len(_TRANSCRIPT)))

    async def script(exchange: Exchange) -> None:
        cut = int(exchange.named("X-Cut")[0])
        await exchange.send(
            head("200 OK", "Content-Type: text/event-stream", "Transfer-Encoding: chunked")
            + b"%x\r\n" % len(_TRANSCRIPT)
            + _TRANSCRIPT[:cut]
        )
        # Until it has passed: a reset may overtake what is still on its way.
        await passed[cut].wait()
        exchange.reset()

    async def one(running: Scene) -> None:
        for cut in cuts:
            async with running.proxy.caller() as caller:
                await caller.send(request_bytes(STREAM, *HEADERS, f"X-Cut: {cut}"))
                await caller.read_head()
                got = b""
                while len(got) < cut:
                    got += await caller.read_chunk()
                passed[cut].set()
                rest = await caller.rest()
                assert got == _TRANSCRIPT[:cut]
                assert not rest.endswith(b"0\r\n\r\n")

    passed = {cut: asyncio.Event() for cut in range(len(_TRANSCRIPT))}
    async with scene(script) as running:
        await asyncio.gather(*(one(running) for _ in range(20)))
        events = await running.outcomes(len(_TRANSCRIPT))

    seen_whole = len(_TRANSCRIPT) - len(DONE)
    for event in events:
        assert event.outcome in {_CHARGED, _ESTIMATED}
        assert event.http_status == 200
    exact = [event for event in events if quantities(event)["output_tokens"][1] == _MEASURED]
    assert len(exact) in range(len(DONE), len(_TRANSCRIPT) - seen_whole + 4)


@pytest.mark.parametrize("how", ["no last chunk", "half a chunk", "half of the end"])
async def test_a_stream_that_is_closed_before_its_end_row_9(how: str) -> None:
    tail = {"no last chunk": b"", "half a chunk": b"20\r\ndata: {", "half of the end": b"0\r\n"}[how]

    async def script(exchange: Exchange) -> None:
        await exchange.stream(*FRAMES)
        await exchange.send(tail)
        exchange.writer.close()

    async with scene(script) as running:
        answer = await running.proxy.ask(STREAM)
        event = await running.outcome()

    assert not answer.whole
    assert answer.body.startswith(b"".join(FRAMES))
    assert event.outcome == _ESTIMATED


async def test_a_stream_that_stands_still_row_10() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.stream(*FRAMES, USAGE)
        await exchange.gone()

    async with scene(script, OM_UPSTREAM_IDLE_TIMEOUT_S=0.1) as running:
        answer = await running.proxy.ask(STREAM)
        event = await running.outcome()

    assert (answer.whole, answer.body) == (False, b"".join((*FRAMES, USAGE)))
    assert quantities(event) == {"input_tokens": (3, _MEASURED), "output_tokens": (2, _MEASURED)}


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":',
        b"",
        b"[]",
        b"null",
        b'{"choices":[{"message":{"content":"Hello"}}]}',
        b'{"usage":null}',
        b'{"usage":[]}',
        b'{"usage":{}}',
        b'{"usage":{"prompt_tokens":-3,"completion_tokens":-2}}',
        b'{"usage":{"prompt_tokens":1e300,"completion_tokens":2.5}}',
        b'{"usage":{"prompt_tokens":99999999999999999999999999,"completion_tokens":9223372036854775808}}',
        b'{"usage":{"prompt_tokens":"3","completion_tokens":"2"}}',
        b'{"usage":{"prompt_tokens":null,"completion_tokens":true}}',
        b"\xff\xfe\x00",
        b"[" * 100_000,
    ],
)
async def test_usage_that_is_none_is_unknown_and_never_a_zero_rows_12_to_14(body: bytes) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.answer(body)

    async with scene(script) as running:
        event = await answered(running, body)

    assert event.outcome != _ZERO
    for item in event.lines[0].usage.quantities:
        assert not item.HasField("amount") or 0 <= item.amount < 2**62
        assert item.certainty != _MEASURED
    assert event.funding[0].retained_nanos > 0


async def test_usage_over_the_bound_keeps_the_whole_bound_row_15() -> None:
    body = ANSWER.replace(b'"completion_tokens":2', b'"completion_tokens":2000000')

    async def script(exchange: Exchange) -> None:
        await exchange.answer(body)

    async with scene(script) as running:
        event = await answered(running, body)

    assert quantities(event)["output_tokens"] == (2_000_000, _MEASURED)
    assert event.funding[0].retained_nanos == event.funding[0].bound_nanos


async def test_an_error_in_mid_stream_passes_and_costs_what_was_seen_row_16() -> None:
    error = b'data: {"error":{"message":"overloaded","type":"server_error","code":null}}\n\n'

    async def script(exchange: Exchange) -> None:
        await exchange.stream(*FRAMES, error, DONE, b"")

    async with scene(script) as running:
        event = await answered(running, b"".join((*FRAMES, error, DONE)), stream=True)

    assert event.outcome == _ESTIMATED
    assert (quantities(event)["output_tokens"][0] or 0) >= 1


async def test_a_line_of_64_mebibytes_passes_in_little_memory_row_19() -> None:
    piece, count = b"x" * 1024 * 1024, 64

    async def script(exchange: Exchange) -> None:
        await exchange.stream(b'data: {"choices":[{"delta":{"content":"')
        for _ in range(count):
            await exchange.chunk(piece)
        for chunk in (b'"}}]}\n\n', USAGE, DONE, b""):
            await exchange.chunk(chunk)

    async with scene(script) as running, running.proxy.caller() as caller:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        await caller.send(request_bytes(STREAM, *HEADERS))
        await caller.read_head()
        size = 0
        while chunk := await caller.read_chunk():
            size += len(chunk)
        event = await running.outcome()
        grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before

    assert size > count * len(piece)
    assert grown_kib < 32 * 1024
    assert event.outcome in {_CHARGED, _ESTIMATED}


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_a_bomb_passes_as_it_is_and_is_not_unpacked_row_21(coding: str) -> None:
    plain = b" " * 1024 * 1024
    squeeze = zlib.compressobj(9, zlib.DEFLATED, 31 if coding == "gzip" else 15)
    body = b"".join(squeeze.compress(plain) for _ in range(300)) + squeeze.flush()

    async def script(exchange: Exchange) -> None:
        await exchange.answer(body, f"Content-Encoding: {coding}")

    async with scene(script) as running:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        event = await answered(running, body)
        grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before

    # 300 MiB would come out. Up to 16 are looked at, for which the parser needs a copy and room to grow.
    assert grown_kib < 64 * 1024
    assert event.outcome == _ESTIMATED


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "compress", "gzip, gzip", "\u00e9"])
async def test_a_coding_that_the_body_does_not_have_row_22(coding: str) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.answer(ANSWER, f"Content-Encoding: {coding}")

    async with scene(script) as running:
        event = await answered(running, ANSWER)

    assert event.outcome == _ESTIMATED
    assert event.funding[0].retained_nanos > 0


_LONG = "a" * 70_000


@pytest.mark.parametrize(
    "reply",
    [
        head("200 OK", f"X-Long: sk-canary{_LONG}", "Content-Length: 0"),
        head(f"200 sk-canary{_LONG}", "Content-Length: 0"),
        head("200 OK", *(f"X-{number}: sk-canary" for number in range(300)), "Content-Length: 0"),
        head("200 OK", "Content-Length: 3", "Content-Length: 4") + b"abcd",
        head("200 OK", "Content-Length: 3, 4") + b"abcd",
        head("200 OK", "Content-Length: -1"),
        head("200 OK", "Content-Length: +2") + b"{}",
        head("200 OK", "Content-Length: sk-canary"),
        head("200 OK", "Content-Length: 2", "Transfer-Encoding: chunked") + b"2\r\n{}\r\n0\r\n\r\n",
        head("200 OK", "X-Bad\x00: sk-canary", "Content-Length: 2") + b"{}",
        head("200 OK", "X Bad: sk-canary", "Content-Length: 2") + b"{}",
        b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 OK sk-canary\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/9.9 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"SSH-2.0-sk-canary\r\n\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46 sk-canary",
        head("103 Early Hints", "Link: <sk-canary>") * 21 + head("200 OK", "Content-Length: 2") + b"{}",
        head("101 Switching Protocols", "Upgrade: sk-canary", "Connection: upgrade"),
    ],
)
async def test_an_answer_that_is_no_http_rows_23_to_25(reply: bytes) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(reply)
        await exchange.gone()

    async with scene(script, OM_UPSTREAM_TIMEOUT_S=5) as running:
        answer = await running.proxy.ask()
        event = await running.outcome()
        again = await running.proxy.ask()
        await running.outcomes(2)

    assert (answer.status, code(answer)) == (502, "upstream_unreachable")
    assert answer.named("x-should-retry") == ["false"]
    assert (event.outcome, again.status) == (_ESTIMATED, 502)
    # The second call had a connection of its own.
    first, second = running.proxy.provider.exchanges
    assert first.writer is not second.writer


@pytest.mark.parametrize("end", [b"0\r\nX: sk-canary\r\n", b"0\r\n" + b"X: y\r\n" * 5_000 + b"\r\n"])
async def test_trailers_without_end_row_23(end: bytes) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.stream(FRAMES[0])
        await exchange.send(end)
        await exchange.gone()

    async with scene(script, OM_UPSTREAM_IDLE_TIMEOUT_S=0.2) as running:
        answer = await running.proxy.ask(STREAM)
        await running.outcome()

    # Trailers that come together with the head are seen before anything is passed on.
    assert answer.status == 502 or (answer.body, answer.whole) == (FRAMES[0], False)
    assert b"canary" not in answer.body


async def test_twenty_interim_answers_are_none_too_many_row_25() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(head("103 Early Hints", "Link: <x>") * 20)
        await exchange.answer(ANSWER)

    async with scene(script) as running:
        assert (await answered(running, ANSWER)).outcome == _CHARGED


async def test_interim_answers_without_end_row_25() -> None:
    async def script(exchange: Exchange) -> None:
        while not exchange.writer.is_closing():
            await exchange.send(head("102 Processing"))

    async with scene(script) as running:
        answer = await running.proxy.ask()
        event = await running.outcome()

    assert (answer.status, event.outcome) == (502, _ESTIMATED)


@pytest.mark.parametrize(
    ("status", "more"),
    [
        ("400 Bad Request", ()),
        ("401 Unauthorized", ("WWW-Authenticate: Bearer",)),
        ("403 Forbidden", ()),
        ("404 Not Found", ()),
        ("429 Too Many Requests", ("Retry-After: 7", "retry-after-ms: 7000", "x-should-retry: true")),
        ("500 Internal Server Error", ()),
        ("503 Service Unavailable", ("Retry-After: 1",)),
        ("529 Overloaded", ()),
        ("302 Found", ("Location: http://127.0.0.1:9/",)),
    ],
)
async def test_a_refusal_of_the_provider_passes_and_costs_nothing_rows_28_to_31(
    status: str, more: tuple[str, ...]
) -> None:
    body = b'{"error":{"message":"Incorrect API key provided: sk-canary"}}'

    async def script(exchange: Exchange) -> None:
        await exchange.answer(body, *more, status=status)

    async with scene(script) as running:
        answer = await running.proxy.ask()
        event = await running.outcome()

    assert (answer.line, answer.body) == (f"HTTP/1.1 {status}", body)
    for line in more:
        name, _, value = line.partition(": ")
        assert answer.named(name) == [value]
    assert (event.outcome, event.funding[0].retained_nanos) == (_ZERO, 0)
    assert len(running.proxy.provider.exchanges) == 1


async def test_a_gzipped_stream_one_byte_at_a_time_row_20() -> None:
    body = gzip.compress(_TRANSCRIPT)

    async def script(exchange: Exchange) -> None:
        await exchange.send(
            head(
                "200 OK",
                "Content-Type: text/event-stream",
                "Content-Encoding: gzip",
                "Transfer-Encoding: chunked",
            )
        )
        for byte in body:
            await exchange.chunk(bytes((byte,)))
        await exchange.chunk(b"")

    async with scene(script) as running:
        event = await answered(running, body, stream=True)

    assert quantities(event) == {"input_tokens": (3, _MEASURED), "output_tokens": (2, _MEASURED)}
    assert event.funding[0].retained_nanos <= LEASE_NANOS
