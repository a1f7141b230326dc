"""One connection to a provider: one request at a time, and exactly one answer for each.

It is used for one tenant after another, so nothing may stay on it from the one before: what comes
unasked ends it.
"""

from __future__ import annotations

import asyncio
import select
from typing import Protocol, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from om_proxy.upstream.answer import Answer
from om_proxy.upstream.dialer import Securable
from om_proxy.upstream.headers import RawHeaders, pieces
from om_proxy.upstream.upload import Upload

#: Interim answers (1xx) that one request may get.
INTERIM_MAX = 20
#: Of one line of a head, and of what is read until a byte of a body comes: heads, trailers, framing.
LINE_BYTES_MAX = 64 * 1024
FRAMING_BYTES_MAX = 256 * 1024
HEADERS_MAX = 128

_INTERIM = range(100, 200)
_SWITCHING_PROTOCOLS = 101
_CONTROLS = bytes({*range(32), 127} - {9})


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


class Connection(Securable):
    """HTTP/1.1, as a client. What begins with `on_` is called by the parser."""

    def __init__(self, owner: Owner) -> None:
        self.idle_since = 0.0
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._transport: asyncio.Transport | None = None
        #: What the transport writes to: itself, or what lies under TLS.
        self._wire: asyncio.WriteTransport | None = None
        self._readable = select.poll()
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
        self._chunked = False
        self._framing_bytes = 0
        self._interim_count = 0
        self._interim = False
        self._complete = False
        self._keeps_alive = False

    async def ask(self, head: bytes, upload: Upload) -> Answer:
        """Send a request and give the answer once its head is there. ConnectionBroken."""
        if self._transport is None or self._transport.is_closing():
            # It may have ended before its owner knew that it is in use, who would count it for ever.
            self._owner.lost(self)
            raise ConnectionBroken
        self._framing_bytes = self._interim_count = 0
        self._complete = False
        asking: asyncio.Future[Answer] = self._loop.create_future()
        self._asking = asking
        try:
            upload.begins()
            for piece in pieces(head, upload.body):
                self._transport.write(piece)
            return await asking
        except BaseException:
            # The answer may be whole, and the connection somebody else's by now.
            if self._asking is asking:
                self.drop()
            raise

    def drop(self) -> None:
        """End it, and what is on its way with it."""
        if self._transport is None:
            return
        if self._asking is None:
            # Nobody may get it before it has ended.
            self._owner.lost(self)
        if self._asking is None and not self._unsent:
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

    @property
    def quiet(self) -> bool:
        """Whether nothing has come that the loop has not read yet: it would be taken for the next answer."""
        return not self._readable.poll(0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = self._wire = cast("asyncio.Transport", transport)
        connected = transport.get_extra_info("socket")
        if connected is not None:
            self._readable.register(connected.fileno(), select.POLLIN)

    def secured(self, transport: asyncio.Transport) -> None:
        """Go on over TLS. How much is unsent, only the transport underneath knows."""
        # One that ended with its handshake is over: the loop tells of that before this.
        if self._transport is not None:
            self._transport = transport

    def eof_received(self) -> None:
        """Take in that nothing more comes: the end of a body that has no other (RFC 9112, section 6.3)."""
        answer = self._answer
        if answer is not None and not self._chunked and not answer.header(b"content-length"):
            answer.finish()
        self._break_off()
        self.drop()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - how it ended tells nothing.
        """End what was on its way."""
        self._transport = None
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
        self._reason, self._headers, self._chunked = b"", [], False

    def on_status(self, part: bytes) -> None:
        """Take in the phrase behind the status."""
        self._reason += part

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take in a header, or a trailer, which nobody is told."""
        headers = self._headers
        if len(headers) >= HEADERS_MAX or len(name) + len(value) > LINE_BYTES_MAX:
            raise _Unacceptable
        value = value.strip(b" \t")
        if name.lower() == b"transfer-encoding":
            # Any other coding is of this hop too, and nobody here could undo it.
            if self._chunked or value.lower() != b"chunked":
                raise _Unacceptable
            self._chunked = True
        headers.append((name, value))

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
        reason = self._reason
        if (
            status < _INTERIM.start
            or len(reason) > LINE_BYTES_MAX
            or reason.translate(None, _CONTROLS) != reason
        ):
            raise _Unacceptable
        self._answer = Answer(self, status, reason, self._headers)
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
        if not self._keeps_alive or transport.is_closing() or self._unsent:
            self.drop()
            return
        transport.resume_reading()
        self._owner.free(self)

    @property
    def _unsent(self) -> int:
        return self._wire.get_write_buffer_size() if self._wire is not None else 0

    def _break_off(self) -> None:
        """Tell whoever waits that nothing more comes."""
        if self._asking is not None and not self._asking.done():
            self._asking.set_exception(ConnectionBroken())
        if self._answer is not None:
            self._answer.fail()
