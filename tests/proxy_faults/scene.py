"""A proxy on a socket, with everything that it writes, and what must hold after whatever was done to it."""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson
import structlog

from om.type.v1 import event_pb2
from tests.proxy.one_edge import HEADERS, Edge, edge
from tests.proxy.raw_http import Received, Script, caller, request_bytes

PATIENCE_S = 10
#: gRPC opens more of its own when it likes.
_FDS_KEPT = 4

#: What no line may hold, wherever a test puts it. The keys of tests.proxy.one_edge hold it too.
CANARY = "canary"


@dataclass
class Scene:
    """A running proxy, and its log."""

    proxy: Edge
    log: io.StringIO
    _tasks: int = 0
    _fds: int = 0

    async def outcomes(self, count: int = 1) -> list[event_pb2.UsageEvent]:
        """Wait for so many outcomes; each is of another call."""
        events = await self.proxy.server.reported(count)
        assert len({event.event_id for event in events}) == count
        return events

    async def outcome(self) -> event_pb2.UsageEvent:
        """Wait for the only outcome."""
        return (await self.outcomes())[0]

    async def quiet(self) -> None:
        """Wait until nothing of what was done is left: no task, no socket; and nothing secret was written."""
        try:
            await until(lambda: tasks() <= self._tasks)
        except TimeoutError:
            raise AssertionError([repr(task.get_coro()) for task in asyncio.all_tasks()]) from None
        await until(lambda: fds() <= self._fds + _FDS_KEPT + 2 * self._pooled())
        lines = self.log.getvalue()
        assert CANARY not in lines.replace("canary_", "")
        assert "Traceback" not in lines, lines

    def _pooled(self) -> int:
        """Count the connections to the provider that are kept for the next call; both ends are here."""
        writers = {exchange.writer for exchange in self.proxy.provider.exchanges}
        return sum(not writer.is_closing() for writer in writers)

    def began(self) -> None:
        self._tasks, self._fds = tasks(), fds()


@asynccontextmanager
async def scene(script: Script, *, origin: str = "", **settings: object) -> AsyncIterator[Scene]:
    """Run a proxy before a scripted provider; when the block is left, nothing may be left of it."""
    with written() as log:
        async with edge(script, origin=origin, **settings) as proxy:
            await ready(proxy.url)
            running = Scene(proxy, log)
            running.began()
            yield running
            await running.quiet()
            assert not proxy.server.events or all(event.event_id for event in proxy.server.events)
        assert CANARY not in log.getvalue()


async def ready(url: str) -> None:
    """Wait until the proxy may admit calls."""
    async with asyncio.timeout(PATIENCE_S), caller(url) as connection:
        while True:
            await connection.send(b"GET /health/ready HTTP/1.1\r\nHost: a\r\n\r\n")
            if (await connection.read()).status == 200:
                return


async def until(reached: Callable[[], bool]) -> None:
    """Let everything else run until something is so."""
    async with asyncio.timeout(PATIENCE_S):
        while not reached():  # noqa: ASYNC110 - see below.
            await asyncio.sleep(0)  # Nobody tells when a task or a socket has gone.


def tasks() -> int:
    """Count the proxy's tasks. A scripted provider has its own, and so has gRPC, on both of its sides."""
    coroutines = (repr(task.get_coro()) for task in asyncio.all_tasks())
    return sum("provider.<locals>" not in text and "_cython_" not in text for text in coroutines)


def fds() -> int:
    """Count what this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def code(answer: Received) -> str:
    """Name the problem that an answer of the proxy tells."""
    told: str = orjson.loads(answer.body)["error"]["code"]
    return told


async def raw(proxy: Edge, data: bytes) -> Received:
    """Send exactly this and read one answer."""
    async with proxy.caller() as connection:
        await connection.send(data)
        return await connection.read()


def with_lines(body: bytes, *headers: str, path: str = "/v1/chat/completions") -> bytes:
    """Write a request with every header that it needs, and more."""
    return request_bytes(body, *HEADERS, *headers, path=path)


@contextmanager
def written() -> Iterator[io.StringIO]:
    """Catch every line of the proxy and its libraries, with the texts of errors, down to debug."""
    lines = io.StringIO()
    before = structlog.get_config()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(lines),
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(lines)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield lines
    finally:
        root.setLevel(level)
        root.removeHandler(handler)
        structlog.configure(**before)
