from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import orjson
import pytest
import pytest_asyncio
from yarl import URL

from om_proxy.providers.sandbox import RECEIVED, Simulator, create_app, running, server
from tests.proxy.providers.sandbox.asking import ANSWER, CHAT, HEADERS, QUESTION

BODY = {"model": "gpt-4o", "messages": [{"role": "user", "content": QUESTION}]}
PATIENCE_S = 20


@pytest_asyncio.fixture
async def client(simulator: Simulator) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(simulator.url, headers=HEADERS, auto_decompress=False) as session:
        yield session


def asked(client: aiohttp.ClientSession, sim: str = "", *, stream: bool = False) -> Any:
    """Post a chat; the result is awaited or entered."""
    return client.post(CHAT, json=BODY | {"stream": stream}, headers={"X-Sim": sim})


async def read_until_cut(response: aiohttp.ClientResponse) -> bytes:
    received = bytearray()

    async def read() -> None:
        async for part in response.content.iter_any():
            received.extend(part)

    with pytest.raises(aiohttp.ClientPayloadError):
        await read()
    return bytes(received)


async def test_a_plain_answer_has_a_length(client: aiohttp.ClientSession) -> None:
    async with asked(client) as response:
        assert response.status == 200
        assert response.content_length == len(await response.read())


@pytest.mark.parametrize("stream", [False, True])
async def test_the_socket_carries_what_was_decided(client: aiohttp.ClientSession, *, stream: bool) -> None:
    async with asked(client, "chunk=1", stream=stream) as small, asked(client, stream=stream) as normal:
        small_body, body = await small.read(), await normal.read()

    # Only ids differ.
    assert len(small_body) == len(body)
    assert normal.headers.getall("set-cookie") == list(small.headers.getall("set-cookie"))
    assert len(normal.headers.getall("set-cookie")) == 2
    assert normal.headers["server"] == "cloudflare"


async def test_a_compressed_answer_says_so(client: aiohttp.ClientSession) -> None:
    async with asked(client, "gzip=1", stream=True) as response:
        assert response.headers["content-encoding"] == "gzip"
        assert (await response.read()).startswith(b"\x1f\x8b")


async def test_ids_differ_from_answer_to_answer_and_from_run_to_run(client: aiohttp.ClientSession) -> None:
    ids = set()
    for _ in range(2):
        async with asked(client) as response:
            ids.add((await response.json())["id"])
    async with (
        running() as other,
        aiohttp.ClientSession(other.url, headers=HEADERS) as session,
        asked(session) as response,
    ):
        ids.add((await response.json())["id"])

    assert len(ids) == 3


async def test_an_abort_leaves_the_pieces_before_it(client: aiohttp.ClientSession) -> None:
    async with asked(client, "abort_after=3", stream=True) as response:
        received = await read_until_cut(response)

    assert received.count(b"data: ") == received.count(b"\n\n") == 3


async def test_an_abort_can_cut_a_plain_answer(client: aiohttp.ClientSession) -> None:
    async with asked(client, "chunk=10; abort_after=2") as response:
        assert len(await read_until_cut(response)) == 20


async def test_an_abort_can_come_after_the_last_piece(client: aiohttp.ClientSession) -> None:
    async with asked(client, stream=True) as response:
        frames = (await response.read()).count(b"\n\n")
    async with asked(client, f"abort_after={frames}", stream=True) as response:
        assert (await read_until_cut(response)).endswith(b"data: [DONE]\n\n")


async def test_a_clean_early_end_is_no_error(client: aiohttp.ClientSession) -> None:
    async with asked(client, "clean_end_after=3", stream=True) as response:
        assert (await response.read()).count(b"data: ") == 3


@pytest.mark.parametrize("stream", [False, True])
async def test_a_dropped_request_gets_no_answer(
    client: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture, *, stream: bool
) -> None:
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await asked(client, "drop=1", stream=stream)

    assert caplog.messages == []


async def test_a_hanging_stream_is_silent(client: aiohttp.ClientSession) -> None:
    async with asked(client, "hang_after=1", stream=True) as response:
        assert (await response.content.readuntil(b"\n\n")).startswith(b"data: ")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await response.content.readany()


async def test_a_request_is_given_up_when_its_client_goes(
    client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, given_up = asyncio.Event(), asyncio.Event()

    async def pause(milliseconds: int) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            given_up.set()

    monkeypatch.setattr(server, "_pause", pause)
    asking = asyncio.create_task(asked(client).__aenter__())
    async with asyncio.timeout(PATIENCE_S):
        await begun.wait()
        asking.cancel()
        await given_up.wait()


async def test_a_simulator_closes_though_requests_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_SHUTDOWN_TIMEOUT_S", 10 * PATIENCE_S)
    async with asyncio.timeout(PATIENCE_S), aiohttp.ClientSession(headers=HEADERS) as client:
        async with running() as simulator:
            response = await client.post(
                simulator.url + CHAT, json=BODY | {"stream": True}, headers={"X-Sim": "hang_after=0"}
            )
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()


async def test_pauses_fall_where_they_were_asked_for(
    client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[int] = []

    async def pause(milliseconds: int) -> None:
        pauses.append(milliseconds)

    monkeypatch.setattr(server, "_pause", pause)
    sim = "delay_ms=1; ttft_ms=2; interval_ms=3; clean_end_after=4"
    async with asked(client, sim, stream=True) as response:
        await response.read()

    assert pauses == [1, 2, 3, 3, 3]


async def test_requests_are_kept_as_they_arrived(client: aiohttp.ClientSession, simulator: Simulator) -> None:
    target = "/v1beta/models/gemini-x%3AgenerateContent?a=%20b"
    body = orjson.dumps({"contents": [{"parts": [{"text": QUESTION}]}]})
    async with client.post(
        URL(simulator.url + target, encoded=True), data=body, headers={"X-Odd": "1"}
    ) as response:
        # An encoded colon is a colon.
        assert (await response.json())["candidates"][0]["content"]["parts"] == [{"text": ANSWER}]

    [received] = simulator.received
    assert (received.method, received.path) == ("POST", "/v1beta/models/gemini-x:generateContent")
    assert received.target == target
    assert (received.headers["x-odd"], received.body) == ("1", body)
    assert HEADERS["x-api-key"] not in repr(received)


async def test_nothing_is_kept_unless_asked_for() -> None:
    async with (
        running() as simulator,
        aiohttp.ClientSession(simulator.url, headers=HEADERS) as client,
        asked(client) as response,
    ):
        assert response.status == 200

    assert simulator.received == []
    assert create_app()[RECEIVED] == []


async def test_a_large_request_is_taken(client: aiohttp.ClientSession) -> None:
    text = "x" * 8_000_000
    body = orjson.dumps({"model": "m", "messages": [{"role": "user", "content": text}]})

    async with client.post(CHAT, data=io.BytesIO(body)) as response:
        assert (await response.json())["usage"]["prompt_tokens"] == 2_000_000
