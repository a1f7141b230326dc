"""The client: keep-alive connections that cost far less than what they measure."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_END_OF_CHUNKS = b"0\r\n\r\n"


class AnswerWrong(Exception):
    """An answer that is no success would make a wrong figure, so it ends the measurement."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How long it took from writing the request: to the body's first byte, and to its last."""

    first_byte_s: float
    total_s: float


class Connection(asyncio.Protocol):
    """One connection that asks one thing at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Answer] | None = None
        self._begun: asyncio.Future[None] | None = None
        self._received = bytearray()
        self._body_start = 0
        self._body_length = -1
        self._started = self._first_byte = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # The loop's own class, which only looks like a transport.
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._fail(AnswerWrong(f"connection lost: {exc}"))

    async def ask(self, request: bytes) -> Answer:
        """Send one request and wait for its whole answer; `AnswerWrong` unless it is a 200 or a 202."""
        if self._transport is None:
            raise AnswerWrong("not connected")
        self._received.clear()
        self._body_start, self._body_length, self._first_byte = 0, -1, 0.0
        self._answer = asyncio.get_running_loop().create_future()
        self._started = time.perf_counter()
        self._transport.write(request)
        return await self._answer

    async def begin(self, request: bytes) -> None:
        """Send a request and wait for the beginning of its answer's body alone."""
        self._begun = asyncio.get_running_loop().create_future()
        whole = asyncio.create_task(self.ask(request))
        try:
            await self._begun
        finally:
            whole.cancel()
            await asyncio.gather(whole, return_exceptions=True)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        self._received += data
        if not self._body_start and not self._read_head():
            return
        size = len(self._received) - self._body_start
        if size and not self._first_byte:
            self._first_byte = now
            if self._begun is not None and not self._begun.done():
                self._begun.set_result(None)
        if self._answer is None or self._answer.done():
            return
        whole = (
            size >= self._body_length if self._body_length >= 0 else self._received.endswith(_END_OF_CHUNKS)
        )
        if whole:
            self._answer.set_result(Answer(self._first_byte - self._started, now - self._started))

    def _fail(self, error: AnswerWrong) -> None:
        for waiting in (self._answer, self._begun):
            if waiting is not None and not waiting.done():
                waiting.set_exception(error)

    def _read_head(self) -> bool:
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = bytes(self._received[:end]).lower()
        if b" 200 " not in head[:20] and b" 202 " not in head[:20]:
            self._fail(AnswerWrong(bytes(self._received).decode(errors="replace")))
        self._body_start = end + 4
        _, found, rest = head.partition(b"\r\ncontent-length:")
        self._body_length = int(rest.split(b"\r\n", 1)[0]) if found else -1
        return True


@asynccontextmanager
async def connected(port: int, count: int) -> AsyncIterator[list[Connection]]:
    """Open connections to a port of this machine."""
    loop = asyncio.get_running_loop()
    opened = [(await loop.create_connection(Connection, "127.0.0.1", port))[1] for _ in range(count)]
    try:
        yield opened
    finally:
        for connection in opened:
            connection.close()


@dataclass(frozen=True, slots=True)
class Run:
    """What a closed loop got done."""

    answers: int
    elapsed_s: float

    @property
    def per_second(self) -> float:
        return self.answers / self.elapsed_s


async def closed_loop(port: int, request: bytes, *, concurrency: int, seconds: float) -> Run:
    """Keep `concurrency` requests under way for a time; each is followed by the next."""
    async with connected(port, concurrency) as connections:
        started = time.perf_counter()
        end = started + seconds
        counts = await asyncio.gather(*(_repeat(connection, request, end=end) for connection in connections))
        return Run(sum(counts), time.perf_counter() - started)


async def _repeat(connection: Connection, request: bytes, *, end: float) -> int:
    count = 0
    while time.perf_counter() < end:
        await connection.ask(request)
        count += 1
    return count
