"""The way of a provider's answer to its caller: its head as the provider wrote it, and a body of any framing.

The library would read each header, set some, and write all of them anew.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Sequence
from email.utils import formatdate
from functools import lru_cache

from aiohttp import HttpVersion11, web
from aiohttp.http import StreamWriter

from om_proxy.upstream.headers import HeaderList, RawHeaders, head_of, pieces, value_of

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_NO_CONTENT = 204
_NOT_MODIFIED = 304


@lru_cache(1)
def _date(second: int) -> bytes:
    return formatdate(second, usegmt=True).encode()


def _without_length(headers: RawHeaders) -> RawHeaders:
    return [header for header in headers if header[0].lower() != b"content-length"]


class Passed(web.StreamResponse):
    """What the library is told of an answer that is written without it."""

    def __init__(self, status: int, *, keep_alive: bool) -> None:
        super().__init__(status=status)
        self._stays_open = keep_alive

    @property
    def keep_alive(self) -> bool:
        """Whether the connection may be used again."""
        return self._stays_open

    async def prepare(self, request: web.BaseRequest) -> None:
        """Nothing is left to begin."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing is left to end."""


class Outlet:
    """One answer on its way. ConnectionError wherever the caller has left."""

    def __init__(self, request: web.BaseRequest, *, status: int, reason: bytes, headers: RawHeaders) -> None:
        self._request = request
        self._status = status
        self._reason = reason
        self._headers = headers
        self._keep_alive = request.keep_alive
        writer = request.writer
        if not isinstance(writer, StreamWriter):
            raise TypeError("the library writes answers in another way")
        self._writer = writer

    @property
    def done(self) -> Passed:
        """What the library is told."""
        return Passed(self._status, keep_alive=self._keep_alive)

    def add(self, fields: HeaderList) -> None:
        """Add headers of our own, before the head is sent."""
        self._headers += [(name.encode(), value.encode()) for name, value in fields]

    async def send(self, body: bytes) -> None:
        """Send all of an answer that is here."""
        if not self._bodiless and not self._has(b"content-length"):
            self._headers.append((b"Content-Length", b"%d" % len(body)))
        for piece in pieces(self._head(), body):
            await self._writer.write(piece, drain=False)
        await self._writer.drain()

    async def begin(self, trailers: Sequence[str] = ()) -> None:
        """Send the head of an answer whose body follows. `trailers` names what may stand behind it."""
        if trailers and self.may_trail:
            self._headers = _without_length(self._headers)
            self._headers.append((b"Trailer", ", ".join(trailers).encode()))
        framed = self._bodiless or self._has(b"content-length")
        chunked = not framed and self._request.version >= HttpVersion11
        if chunked:
            self._headers.append((b"Transfer-Encoding", b"chunked"))
        elif not framed:
            # The end of the connection is the end of the body.
            self._keep_alive = False
        await self._writer.write(self._head())
        if chunked:
            self._writer.enable_chunking()

    async def write(self, part: bytes) -> None:
        """Send a part of the body."""
        if part:
            await self._writer.write(part)

    async def end(self, trailers: Sequence[tuple[str, str]] = ()) -> None:
        """End the body, with these fields behind it where they can stand."""
        if not trailers or not self._writer.chunked:
            await self._writer.write_eof()
            return
        lines = "".join(f"{name}: {value}\r\n" for name, value in trailers)
        # From here on it writes what it is given, without a frame of its own.
        self._writer.chunked = False
        await self._writer.write_eof(f"0\r\n{lines}\r\n".encode("ascii"))

    def close_after(self) -> None:
        """Use the connection for nothing else."""
        self._keep_alive = False

    def break_off(self) -> None:
        """Cut the connection, so that no client takes what it got for the whole."""
        self._keep_alive = False
        transport = self._request.transport
        if transport is None:
            return
        if self._request.version < HttpVersion11:
            # Here the end of the connection is the end of the body, so only a reset says that it broke.
            connection = transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        transport.abort()

    @property
    def may_trail(self) -> bool:
        """Whether fields can stand behind the body: only behind chunks."""
        return self._request.version >= HttpVersion11 and not self._bodiless

    @property
    def _bodiless(self) -> bool:
        return self._status in {_NO_CONTENT, _NOT_MODIFIED}

    def _has(self, name: bytes) -> bool:
        return value_of(self._headers, name) is not None

    def _head(self) -> bytes:
        version = self._request.version
        headers = self._headers
        if self._status == _NO_CONTENT:
            # RFC 9110, section 8.6.
            headers = _without_length(headers)
        if not self._has(b"date"):
            headers.append((b"Date", _date(int(time.time()))))
        if self._keep_alive and version < HttpVersion11:
            headers.append((b"Connection", b"keep-alive"))
        elif not self._keep_alive and version >= HttpVersion11:
            headers.append((b"Connection", b"close"))
        return head_of(b"HTTP/%d.%d %d %b" % (*version, self._status, self._reason), headers)
