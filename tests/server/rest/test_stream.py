"""Streams over real sockets, in front of a gRPC server whose streams the test writes."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING

import httpx
import pytest
import pytest_asyncio

from om.analytics.v1 import analytics_service_pb2 as pb
from om_server.core.errors import InvalidArgument, Unauthenticated
from om_server.rest.app import RestSettings, create_app, serve
from om_server.rest.channel import Server
from om_server.rest.listener import listen
from tests.server.rest.fake_servicer import INGEST_KEY, KEY, Memory

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from om_server.core.errors import DomainError

pytestmark = pytest.mark.asyncio(loop_scope="session")

_PATIENCE_S = 30
_WATCH, _EXPORT = "/api/v1/events/watch", "/api/v1/events/export"


class Rest:
    """The running process."""

    def __init__(self, url: str, stop: asyncio.Event, running: asyncio.Task[None]) -> None:
        self.url = url
        self.stop = stop
        self.running = running

    def client(self, key: str = KEY) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, headers={"x-api-key": key}, timeout=_PATIENCE_S)


@contextlib.asynccontextmanager
async def running(grpc_address: str) -> AsyncIterator[Rest]:
    listeners, stop = listen("127.0.0.1", (0,)), asyncio.Event()
    url = f"http://127.0.0.1:{listeners[0].getsockname()[1]}"
    process = serve(RestSettings(grpc_target=grpc_address), listeners=listeners, stop=stop)
    task = asyncio.create_task(process)
    try:
        yield Rest(url, stop, task)
    finally:
        stop.set()
        await asyncio.wait_for(task, _PATIENCE_S)


@pytest_asyncio.fixture(scope="session", loop_scope="session", name="rest")
async def run_rest(grpc_address: str) -> AsyncIterator[Rest]:
    async with running(grpc_address) as rest:
        yield rest


def event(event_id: str, *, padding: int = 0) -> pb.Event:
    found = pb.Event(flags=["x" * padding] if padding else [])
    found.event.event_id = event_id
    return found


def told(*messages: tuple[str, str]) -> list[pb.WatchEventsResponse]:
    """Messages by event id and cursor; without an id a sign of life."""
    return [
        pb.WatchEventsResponse(event=event(event_id) if event_id else None, cursor=cursor)
        for event_id, cursor in messages
    ]


class Watched:
    """A stream of events that stays open when all is told, unless it fails; remembers what was asked."""

    def __init__(self, *messages: pb.WatchEventsResponse, failure: DomainError | None = None) -> None:
        self._messages = messages
        self._failure = failure
        self.requests: list[pb.WatchEventsRequest] = []
        self.begun, self.left = asyncio.Event(), asyncio.Event()

    async def __call__(self, request: pb.WatchEventsRequest) -> AsyncGenerator[pb.WatchEventsResponse, None]:
        self.requests.append(request)
        self.begun.set()
        try:
            for message in self._messages:
                yield message
            if self._failure is not None:
                raise self._failure
            await asyncio.Event().wait()
        finally:
            self.left.set()


async def blocks(answer: httpx.Response) -> AsyncGenerator[list[str], None]:
    """Blocks of a text/event-stream as lists of lines, as they arrive."""
    block: list[str] = []
    async for line in answer.aiter_lines():
        if line:
            block.append(line)
        elif block:
            yield block
            block = []


async def lines_until_it_breaks(answer: httpx.Response) -> list[str]:
    lines: list[str] = []
    try:
        async for line in answer.aiter_lines():
            lines.append(line)  # noqa: PERF401 - What came before it broke is kept.
    except httpx.RemoteProtocolError:
        return lines
    pytest.fail("it ended like a whole answer")


async def test_settled_events_arrive_as_they_come_with_cursors_and_signs_of_life(
    rest: Rest, memory: Memory
) -> None:
    memory.watching = watched = Watched(*told(("", "inc.1"), ("a", "inc.1"), ("", "inc.2")))

    async with rest.client() as client, client.stream("GET", _WATCH) as answer:
        reading = blocks(answer)
        sign, first, behind = [await anext(reading) for _ in range(3)]
        assert not watched.left.is_set()

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-request-id"]
    assert sign == [": alive", "id: inc.1"]
    assert behind == [": alive", "id: inc.2"]
    assert first[0] == "id: inc.1"
    assert json.loads(first[1].removeprefix("data: "))["event"]["event"]["eventId"] == "a"


async def test_it_goes_on_from_the_last_event_id(rest: Rest, memory: Memory) -> None:
    memory.watching = watched = Watched(*told(("", "inc.9")))
    filters = {"filter.userIds": "ada", "cursor": "inc.1"}

    async with rest.client() as client:
        for headers in ({}, {"last-event-id": "inc.5"}):
            async with client.stream("GET", _WATCH, params=filters, headers=headers) as answer:
                await anext(blocks(answer))

    assert [request.cursor for request in watched.requests] == ["inc.1", "inc.5"]
    assert [list(request.filter.user_ids) for request in watched.requests] == [["ada"], ["ada"]]


@pytest.mark.parametrize("path", [_WATCH, _EXPORT])
async def test_what_is_refused_before_the_first_message_is_an_error_like_any_other(
    rest: Rest, memory: Memory, path: str
) -> None:
    failure = InvalidArgument("cursor", "not a cursor of this stream")

    async def refused(request: object) -> AsyncGenerator[pb.ExportEventsResponse, None]:
        if request is not None:
            raise failure
        yield pb.ExportEventsResponse()

    memory.watching, memory.exporting = Watched(failure=failure), refused

    async with rest.client() as client, rest.client(INGEST_KEY) as reporter:
        answers = [
            await client.get(path),
            await client.get(path, params={"color": "blue"}),
            await reporter.get(path),
            await client.get(path, headers={"x-api-key": "om_live_wrong"}),
            await client.get(path, headers={"x-api-key": ""}),
        ]

    told = [(answer.status_code, answer.json()["error"]["reason"]) for answer in answers]
    assert told == [
        (400, "INVALID_ARGUMENT"),
        (400, "INVALID_ARGUMENT"),
        (403, "SCOPE_MISSING"),
        (401, "CREDENTIAL_INVALID"),
        (401, "CREDENTIAL_MISSING"),
    ]
    assert answers[0].headers["content-type"] == "application/json; charset=utf-8"
    assert answers[0].json()["error"]["requestId"] == answers[0].headers["x-request-id"]


async def test_events_that_end_with_an_error_end_with_an_event_that_says_so(
    rest: Rest, memory: Memory
) -> None:
    memory.watching = Watched(*told(("a", "inc.1")), failure=Unauthenticated())

    async with rest.client() as client, client.stream("GET", _WATCH) as answer:
        _, last = [block async for block in blocks(answer)]

    assert last[0] == "event: error"
    error = json.loads(last[1].removeprefix("data: "))["error"]
    assert (error["code"], error["reason"]) == ("UNAUTHENTICATED", "CREDENTIAL_INVALID")
    assert error["requestId"] == answer.headers["x-request-id"]


async def test_an_export_has_a_line_for_each_event(rest: Rest, memory: Memory) -> None:
    async def parts(request: pb.ExportEventsRequest) -> AsyncGenerator[pb.ExportEventsResponse, None]:
        assert list(request.filter.providers) == ["openai"]
        yield pb.ExportEventsResponse(events=[event("a"), event("b")])
        # Large enough to become JSON on a thread.
        yield pb.ExportEventsResponse(events=[event("c", padding=100_000)])

    memory.exporting = parts

    async with rest.client() as client:
        answer = await client.get(_EXPORT, params={"filter.providers": "openai"})

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/x-ndjson; charset=utf-8"
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["event"]["eventId"] for line in lines] == ["a", "b", "c"]
    assert lines[2]["flags"] == ["x" * 100_000]


async def test_an_export_of_nothing_is_empty_and_whole(rest: Rest, memory: Memory) -> None:
    async with rest.client() as client:
        answer = await client.get(_EXPORT)

    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"] == "application/x-ndjson; charset=utf-8"


async def test_an_export_that_fails_says_so_and_breaks_off(rest: Rest, memory: Memory) -> None:
    async def parts(_request: object) -> AsyncGenerator[pb.ExportEventsResponse, None]:
        yield pb.ExportEventsResponse(events=[event("a")])
        raise RuntimeError("a defect that names a secret place")

    memory.exporting = parts

    async with rest.client() as client, client.stream("GET", _EXPORT) as answer:
        lines = await lines_until_it_breaks(answer)

    first, last = map(json.loads, lines)
    assert first["event"]["eventId"] == "a"
    assert last["error"]["reason"] == "INTERNAL"
    assert "secret" not in lines[1]


async def test_the_call_ends_when_the_client_leaves(rest: Rest, memory: Memory) -> None:
    memory.watching = watched = Watched(*told(("", "inc.1")))

    async with rest.client() as client, client.stream("GET", _WATCH) as answer:
        await anext(blocks(answer))
    await asyncio.wait_for(watched.left.wait(), _PATIENCE_S)


async def test_the_call_ends_when_the_client_leaves_before_anything_was_told(
    rest: Rest, memory: Memory
) -> None:
    memory.watching = watched = Watched()
    host, port = rest.url.removeprefix("http://").split(":")

    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET {_WATCH} HTTP/1.1\r\nHost: rest\r\nX-API-Key: {KEY}\r\n\r\n".encode())
    await asyncio.wait_for(watched.begun.wait(), _PATIENCE_S)
    writer.close()

    await asyncio.wait_for(watched.left.wait(), _PATIENCE_S)


async def test_what_a_client_does_not_read_is_not_asked_for(rest: Rest, memory: Memory) -> None:
    """Between a store and a client that stops reading lie some buffers, and not the rest of the export."""
    given, part_size, parts_in_all = 0, 256 * 1024, 400

    async def parts(_request: object) -> AsyncGenerator[pb.ExportEventsResponse, None]:
        nonlocal given
        for number in range(parts_in_all):
            given += 1
            yield pb.ExportEventsResponse(events=[event(str(number), padding=part_size)])

    memory.exporting = parts
    host, port = rest.url.removeprefix("http://").split(":")

    reader, writer = await asyncio.open_connection(host, int(port), limit=part_size)
    writer.write(f"GET {_EXPORT} HTTP/1.1\r\nHost: rest\r\nX-API-Key: {KEY}\r\n\r\n".encode())
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    seen, quiet = 0, 0
    async with rest.client() as client:
        # Each round trip gives the stream its turn: it has stopped when many of them change nothing.
        while quiet < 50 and given < parts_in_all:
            assert (await client.get("/health")).status_code == 200
            seen, quiet = given, quiet + 1 if given == seen else 0
    writer.close()

    assert given < parts_in_all / 2


async def test_open_streams_end_with_the_process(grpc_address: str, memory: Memory) -> None:
    memory.watching = watched = Watched(*told(("a", "inc.1")))

    async with (
        running(grpc_address) as rest,
        rest.client() as client,
        client.stream("GET", _WATCH) as answer,
    ):
        reading = blocks(answer)
        await anext(reading)
        rest.stop.set()
        last = await anext(reading)
        assert [block async for block in reading] == []
        # The process would wait for them for twenty seconds.
        await asyncio.wait_for(rest.running, 10)

    assert last[0] == "event: error"
    assert json.loads(last[1].removeprefix("data: "))["error"]["code"] == "UNAVAILABLE"
    await asyncio.wait_for(watched.left.wait(), _PATIENCE_S)


async def test_a_server_that_falls_silent_is_not_waited_for(grpc_address: str, memory: Memory) -> None:
    silent, stops = Watched(), Watched(*told(("a", "inc.1")))
    server = Server(grpc_address, silence_timeout_s=0.05)
    transport = httpx.ASGITransport(create_app(server))
    async with httpx.AsyncClient(
        transport=transport, base_url="http://rest", headers={"x-api-key": KEY}
    ) as client:
        memory.watching = silent
        nothing = await client.get(_WATCH)
        memory.watching = stops
        some = await client.get(_WATCH)
    await server.close()

    assert (nothing.status_code, nothing.json()["error"]["code"]) == (504, "DEADLINE_EXCEEDED")
    assert some.status_code == 200
    assert "event: error" in some.text
    assert "DEADLINE_EXCEEDED" in some.text
    for watched in (silent, stops):
        await asyncio.wait_for(watched.left.wait(), _PATIENCE_S)
