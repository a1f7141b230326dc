"""HTTP as bytes: a provider that sends exactly what a test scripts, and a caller that sends exactly that."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from socket import SO_LINGER, SOL_SOCKET
from urllib.parse import urlsplit

_PATIENCE_S = 20


@dataclass
class Exchange:
    """One request as it arrived at the provider, and the way to answer it."""

    line: str
    headers: list[tuple[str, str]]
    body: bytes
    reader: asyncio.StreamReader = field(repr=False)
    writer: asyncio.StreamWriter = field(repr=False)

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(
        self, body: bytes = b"{}", *headers: str, status: str = "200 OK", kind: str = "application/json"
    ) -> None:
        """Send a whole response with a length."""
        await self.send(
            head(status, f"Content-Type: {kind}", f"Content-Length: {len(body)}", *headers) + body
        )

    async def stream(self, *chunks: bytes, kind: str = "text/event-stream") -> None:
        """Send a head and some chunks, and not yet the end."""
        await self.send(head("200 OK", f"Content-Type: {kind}", "Transfer-Encoding: chunked"))
        for chunk in chunks:
            await self.chunk(chunk)

    async def chunk(self, data: bytes) -> None:
        """Send one chunk; the empty one is the end."""
        await self.send(b"%x\r\n%b\r\n" % (len(data), data))

    async def gone(self) -> None:
        """Wait until the proxy has closed its side."""
        async with asyncio.timeout(_PATIENCE_S):
            with suppress(ConnectionError):
                while await self.reader.read(65_536):
                    pass

    def reset(self) -> None:
        """Break the connection off without a goodbye."""
        connection = self.writer.get_extra_info("socket")
        connection.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    def named(self, name: str) -> list[str]:
        """Every value of a header."""
        return [value for found, value in self.headers if found.lower() == name.lower()]


Script = Callable[[Exchange], Awaitable[None]]


@dataclass
class ScriptedProvider:
    """A provider on a socket, with every exchange that it had."""

    url: str
    exchanges: list[Exchange] = field(default_factory=list)

    @property
    def last(self) -> Exchange:
        return self.exchanges[-1]


def head(status: str, *headers: str) -> bytes:
    """Write the head of a response."""
    return "\r\n".join((f"HTTP/1.1 {status}", *headers, "", "")).encode("latin-1")


@asynccontextmanager
async def provider(script: Script) -> AsyncIterator[ScriptedProvider]:
    """Serve every request by the script until the block is left."""
    scripted = ScriptedProvider("")
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                while not writer.is_closing():
                    line, headers, body = await _message(reader)
                    exchange = Exchange(line, headers, body, reader, writer)
                    scripted.exchanges.append(exchange)
                    await script(exchange)
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(serve(reader, writer))
        tasks.add(task)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    scripted.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield scripted
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result


async def _message(reader: asyncio.StreamReader) -> tuple[str, list[tuple[str, str]], bytes]:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = [
        (name, value.strip()) for name, _, value in (line.partition(":") for line in lines[1:] if line)
    ]
    length = next((int(value) for name, value in headers if name.lower() == "content-length"), 0)
    return lines[0], headers, await reader.readexactly(length)


@dataclass(frozen=True)
class Received:
    """A response as it arrived; a chunked body is joined."""

    line: str
    headers: list[tuple[str, str]]
    body: bytes
    whole: bool  # Ended as HTTP says that it must.

    @property
    def status(self) -> int:
        return int(self.line.split(" ")[1])

    def named(self, name: str) -> list[str]:
        return [value for found, value in self.headers if found.lower() == name.lower()]


class Caller:
    """A connection to the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def read_head(self) -> tuple[str, list[tuple[str, str]]]:
        async with asyncio.timeout(_PATIENCE_S):
            lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        return lines[0], [
            (name, value.strip()) for name, _, value in (line.partition(":") for line in lines[1:] if line)
        ]

    async def read_chunk(self) -> bytes:
        """Read one chunk; empty is the end."""
        async with asyncio.timeout(_PATIENCE_S):
            size = int(await self.reader.readuntil(b"\r\n"), 16)
            return (await self.reader.readexactly(size + 2))[:-2]

    async def read(self) -> Received:
        """Read one response to its end, or to where the connection broke."""
        line, headers = await self.read_head()
        fields = {name.lower(): value for name, value in headers}
        body, whole = bytearray(), True
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await self._read_body(line, fields, body)
        except asyncio.IncompleteReadError as error:
            body += error.partial
            whole = False
        except ConnectionError:
            whole = False
        return Received(line, headers, bytes(body), whole)

    async def _read_body(self, line: str, fields: dict[str, str], body: bytearray) -> None:
        if fields.get("transfer-encoding") == "chunked":
            while chunk := await self.read_chunk():
                body += chunk
        elif "content-length" in fields and " 304 " not in line:
            body += await self.reader.readexactly(int(fields["content-length"]))

    async def rest(self) -> bytes:
        """Read until the connection ends."""
        async with asyncio.timeout(_PATIENCE_S):
            return await self.reader.read()

    def leave(self) -> None:
        self.writer.transport.abort()


@asynccontextmanager
async def caller(url: str) -> AsyncIterator[Caller]:
    """Connect until the block is left."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        yield Caller(reader, writer)
    finally:
        writer.transport.abort()
        with suppress(ConnectionError):
            await writer.wait_closed()


def request_bytes(
    body: bytes, *headers: str, path: str = "/v1/chat/completions", length: bool = True, version: str = "1.1"
) -> bytes:
    """Write a request."""
    lines = [f"POST {path} HTTP/{version}", "Host: proxy.example", *headers]
    if length:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join((*lines, "", "")).encode("latin-1") + body
