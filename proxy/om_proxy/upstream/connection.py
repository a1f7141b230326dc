"""One connection to a provider: one request at a time, and exactly one answer for each.

It is used for one tenant after another, so nothing may stay on it from the one before: what comes
unasked ends it.
"""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from om_proxy.callers.headers import RawHeaders
from om_proxy.upstream.answer import Answer
from om_proxy.upstream.upload import Upload

#: Interim answers (1xx) that one request may get.
INTERIM_MAX = 20
#: A line of a head, and of all that is no body in one go: heads, trailers, framing.
LINE_BYTES_MAX = 64 * 1024
FRAMING_BYTES_MAX = 256 * 1024
HEADERS_MAX = 128

_INTERIM = range(100, 200)
_SWITCHING_PROTOCOLS = 101
#: Up to here a head and a body are joined, to leave in one packet.
_JOINED_BYTES_MAX = 64 * 1024


class ConnectionBroken(Exception):
    """The connection ended, or what came over it was no answer."""


class Owner(Protocol):
    """Who keeps the connections that are not in use."""

    def free(self, connection: Connection) -> None:
        """Take back one that may be used again."""
        ...

    def lost(self, connection: Connection) -> None:
        """Forget one that ended, in use or not."""
        ...


class _Unacceptable(HttpParserError):
    """It is HTTP, and still nothing that is taken."""


class Connection(asyncio.Protocol):
    """HTTP/1.1, as a client. What begins with `on_` is called by the parser."""

    def __init__(self, owner: Owner) -> None:
        self.idle_since = 0.0
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._transport: asyncio.Transport | None = None
        self._parser = HttpResponseParser(self)
        # Both are written by servers that are in use, and read by every client.
        self._parser.set_dangerous_leniencies(
            lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )
        #: Who waits for the head of the answer.
        self._asking: asyncio.Future[Answer] | None = None
        self._answer: Answer | None = None
        self._reason = b""
        self._headers: RawHeaders = []
        self._framing_bytes = 0
        self._interim_count = 0
        self._interim = False
        self._complete = False
        self._keeps_alive = False

    async def ask(self, head: bytes, upload: Upload) -> Answer:
        """Send a request and give the answer once its head is there. ConnectionBroken."""
        if self._transport is None or self._transport.is_closing():
            raise ConnectionBroken
        self._framing_bytes = self._interim_count = 0
        self._complete = False
        self._asking = self._loop.create_future()
        try:
            upload.begins()
            self._send(self._transport, head, upload.body)
            return await self._asking
        except BaseException:
            self.drop()
            raise

    def _send(self, transport: asyncio.Transport, head: bytes, body: bytes) -> None:
        if len(body) <= _JOINED_BYTES_MAX:
            transport.write(head + body)
        else:
            transport.write(head)
            transport.write(body)

    def drop(self) -> None:
        """End it, and what is on its way with it."""
        if self._transport is None:
            return
        if self._asking is None:
            # Nobody may get it before it has ended.
            self._owner.lost(self)
            self._transport.close()
        else:
            # What is not sent yet shall not be sent.
            self._transport.abort()

    async def end(self) -> None:
        """End it at once, and wait until it has."""
        if self._transport is not None:
            self._transport.abort()
            await self._ended

    def pause(self) -> None:
        """Hold the provider back."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        """Let the provider go on."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)

    def eof_received(self) -> None:
        """Take in that nothing more comes; the loop closes the connection then."""
        if self._asking is None:
            self._owner.lost(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """End what was on its way."""
        self._transport = None
        if exc is None and self._answer is not None and _ends_with_connection(self._answer):
            self._answer.finish()
        self._break_off()
        self._owner.lost(self)
        self._ended.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Take in bytes; those that belong to no request end the connection."""
        if self._asking is None:
            self.drop()
            return
        self._framing_bytes += len(data)
        try:
            self._parser.feed_data(data)
            if self._framing_bytes > FRAMING_BYTES_MAX:
                raise _Unacceptable
        except (HttpParserError, HttpParserUpgrade):
            self._break_off()
            self.drop()
            return
        if self._answer is not None:
            self._answer.tell()
        if self._complete:
            self._end()

    def on_message_begin(self) -> None:
        """Take in the beginning of an answer, or of one more, for which nobody asked."""
        if self._complete:
            raise _Unacceptable
        self._reason, self._headers = b"", []

    def on_status(self, part: bytes) -> None:
        """Take in the phrase behind the status."""
        self._reason += part

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take in a header, or a trailer, which nobody is told."""
        headers = self._headers
        if len(headers) >= HEADERS_MAX or len(name) + len(value) > LINE_BYTES_MAX:
            raise _Unacceptable
        headers.append((name, value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        """Take in a head."""
        status = self._parser.get_status_code()
        self._interim = status in _INTERIM
        if self._interim:
            self._interim_count += 1
            # Nobody asked to switch, and what follows is no HTTP.
            if status == _SWITCHING_PROTOCOLS or self._interim_count > INTERIM_MAX:
                raise _Unacceptable
            return
        if len(self._reason) > LINE_BYTES_MAX:
            raise _Unacceptable
        self._answer = Answer(self, status, self._reason, self._headers)
        self._headers = []
        if self._asking is not None and not self._asking.done():
            self._asking.set_result(self._answer)

    def on_body(self, part: bytes) -> None:
        """Take in a part of the body."""
        self._framing_bytes = 0
        if self._answer is not None:
            self._answer.feed(part)

    def on_message_complete(self) -> None:
        """Take in the end of an answer."""
        if self._interim:
            return
        self._complete, self._keeps_alive = True, self._parser.should_keep_alive()
        if self._answer is not None:
            self._answer.finish()

    def _end(self) -> None:
        """Give the connection back, unless it is not fit to be used again."""
        self._asking = self._answer = None
        transport = self._transport
        if transport is None:
            return
        # The provider may have answered before it had the whole request.
        if not self._keeps_alive or transport.is_closing() or transport.get_write_buffer_size():
            self.drop()
            return
        transport.resume_reading()
        self._owner.free(self)

    def _break_off(self) -> None:
        """Tell whoever waits that nothing more comes."""
        if self._asking is not None and not self._asking.done():
            self._asking.set_exception(ConnectionBroken())
        if self._answer is not None:
            self._answer.fail()


def _ends_with_connection(answer: Answer) -> bool:
    """Whether the end of the connection is that of the body (RFC 9112, section 6.3)."""
    coding = answer.header(b"transfer-encoding").lower()
    return not coding.endswith("chunked") and not answer.header(b"content-length")
