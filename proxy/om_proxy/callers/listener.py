"""The HTTP/1.1 side towards callers: no pages, headers or log lines of the library's own.

The library answers a malformed request by quoting it, and logs it; what it quotes can be a key. It also waits
for callers without end, who neither finish a request nor take their answer.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

import structlog
from aiohttp import HttpVersion10, HttpVersion11, web
from aiohttp.http import SERVER_SOFTWARE, RawRequestMessage
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDict

from om_proxy.defect import log_defect
from om_proxy.refusals import problem
from om_proxy.refusals.refusal import Problem, Shape, render
from om_proxy.server.identity import new_event_id

_log = structlog.get_logger(__name__)

HEADER_BYTES_MAX = 64 * 1024
#: Of a request line and its headers together, whatever each of them has.
HEAD_BYTES_MAX = 256 * 1024
#: Longer than the load balancers' usual minute, so that they do not write into a connection that just closed.
IDLE_S = 120.0

_VERSIONS = (HttpVersion10, HttpVersion11)

Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Listener(web.Server):
    """Makes a connection for each caller. It has no routes: one function answers everything."""

    def __init__(
        self, answer: Answer, *, head_timeout_s: float = 10.0, write_timeout_s: float = 60.0
    ) -> None:
        """`head_timeout_s` is for a request's head, `write_timeout_s` for a caller who takes nothing."""
        loop = asyncio.get_running_loop()
        self.head_timeout_s = head_timeout_s
        self.write_timeout_s = write_timeout_s
        self._answer = answer
        self._answering: set[asyncio.Task[object]] = set()
        super().__init__(
            self._answer_strictly,
            request_factory=lambda message, payload, protocol, writer, task: _Request(
                message, payload, protocol, writer, task, loop
            ),
            # A caller who leaves ends the call at the provider too, as a direct connection would.
            handler_cancellation=True,
        )

    async def finish(self, grace_s: float) -> None:
        """Let what is being answered go on for so long, then cut it. All of it has ended when this returns.

        The library would wait twice as long, and for no end of what it cuts.
        """
        self.pre_shutdown()
        if self._answering:
            await asyncio.wait(self._answering, timeout=grace_s)
        if cut := list(self._answering):
            _log.warning("calls_cut", count=len(cut))
        for task in cut:
            task.cancel()
        await asyncio.gather(*cut, return_exceptions=True)

    async def _answer_strictly(self, request: web.BaseRequest) -> web.StreamResponse:
        task = asyncio.current_task()
        if task is not None:
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)
        if not _is_plain(request):
            response = refusal_response(problem.malformed_request(), Shape.OPENAI, event_id=new_event_id())
            response.force_close()
            return response
        return await self._answer(request)

    def __call__(self) -> web.RequestHandler:
        """Make the protocol of a new connection."""
        return _Connection(
            self,
            loop=asyncio.get_running_loop(),
            # The access log would write `?key=`.
            access_log=None,  # None is how it is turned off.
            keepalive_timeout=IDLE_S,
            max_line_size=HEADER_BYTES_MAX,
            max_field_size=HEADER_BYTES_MAX,
            # A request body is passed on as it came, and refused where it is compressed.
            auto_decompress=False,
        )


def refusal_response(refused: Problem, shape: Shape, *, event_id: str) -> web.Response:
    """Dress a problem as an answer, and log that it was given."""
    rendered = render(refused, shape, request_id=event_id)
    _log.info("request_refused", event_id=event_id, status=rendered.status, code=refused.code)
    return web.Response(status=rendered.status, body=rendered.body, headers=CIMultiDict(rendered.headers))


def wire_bytes(request: web.BaseRequest) -> int:
    """Count what came on the connection for this request, its head and the framing of its body included."""
    connection = request.protocol
    return connection.received if isinstance(connection, _Connection) else 0


def _is_plain(request: web.BaseRequest) -> bool:
    """Whether no other parser would take the request for another one; the library's is lenient here.

    It also takes targets that name a host, which no SDK sends, and answers them as if they named this one.
    """
    if request.version not in _VERSIONS or not request.raw_path.startswith("/"):
        return False
    codings = request.headers.getall("Transfer-Encoding", ())
    return not codings or (
        request.version >= HttpVersion11 and [text.lower() for text in codings] == ["chunked"]
    )


class _Request(web.BaseRequest):
    """A request whose answer gets no header from the library but `Date`, which RFC 9110 asks for."""

    async def _prepare_hook(self, response: web.StreamResponse) -> None:
        if response.headers.get("Server") == SERVER_SOFTWARE:
            del response.headers["Server"]


class _Connection(web.RequestHandler):
    """One connection; its errors are answered in JSON and logged by their kind alone."""

    __slots__ = ("_head_timer", "_listener", "received")

    def __init__(self, listener: Listener, **settings: object) -> None:
        super().__init__(listener, **settings)  # type: ignore[arg-type]  # Passed on as they came.
        self._listener = listener
        self._head_timer: asyncio.TimerHandle | None = None
        self.received = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for the first request, and let the system end what a caller does not take."""
        super().connection_made(transport)
        connection = transport.get_extra_info("socket")
        if connection is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
            # It counts from the last byte that the caller's side took, also for what is left after a close.
            limit_ms = max(1, int(self._listener.write_timeout_s * 1000))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, limit_ms)
        self._await_head()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Stop waiting."""
        self._head_came()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take in bytes: of a head, which must be complete in time, or of a body."""
        idle = self._is_idle()
        begins = idle and self._head_timer is None
        if begins:
            self.received = 0
        self.received += len(data)
        super().data_received(data)
        if self._messages:
            self._head_came()
            self._break_body()
        elif idle and self.received > HEAD_BYTES_MAX:
            self._refuse_head()
        elif begins and self.transport is not None:
            # Nearly every head comes in one piece, which no timer is made for.
            self._await_head()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is no HTTP, or a defect that nobody caught. `message` quotes the caller: unused."""
        if request.writer.output_size > 0:
            # A part is sent: the only thing left to say is that the rest will not come.
            raise ConnectionError
        del status, message
        if isinstance(exc, HttpProcessingError):
            refused = problem.malformed_request()
        else:
            refused = problem.proxy_error()
            if exc is not None:
                log_defect("request_failed", exc)
        response = refusal_response(refused, Shape.OPENAI, event_id=new_event_id())
        response.force_close()
        return response

    def log_exception(self, *args: object, **kw: object) -> None:
        """Log the kind of an error that ended the connection."""
        del args
        error = kw.get("exc_info")
        # A body that was no HTTP is answered already; the library meets it again when it looks for the rest.
        if isinstance(error, BaseException) and not isinstance(error, web.RequestPayloadError):
            log_defect("connection_failed", error)

    def _is_idle(self) -> bool:
        """Whether whatever comes next is of a head.

        The library waits for nothing else. That no request is current says less: none is for the turn of the
        loop between a head and its handler, nor while the rest of a refused body is taken.
        """
        return self._waiter is not None and not self._messages

    def _await_head(self) -> None:
        self._head_timer = self._loop.call_later(self._listener.head_timeout_s, self._give_up)

    def _head_came(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _give_up(self) -> None:
        self._head_timer = None
        if self._is_idle():
            self.force_close()

    def _refuse_head(self) -> None:
        """Answer a head without end by hand: there is no request yet that the library could answer."""
        refused = render(problem.malformed_request(), Shape.OPENAI, request_id=new_event_id())
        lines = ["HTTP/1.1 400 Bad Request", f"Content-Length: {len(refused.body)}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in refused.headers]
        if self.transport is not None:
            self.transport.write("\r\n".join((*lines, "", "")).encode() + refused.body)
        self.force_close()

    def _break_body(self) -> None:
        """Tell whoever reads a body that the rest of it is no HTTP; the library leaves them waiting."""
        request = self._current_request
        if (
            request is None
            or request.content.is_eof()
            or isinstance(self._messages[-1][0], RawRequestMessage)
        ):
            return
        # Its own answer tells the caller; a second one for the same bytes would be one too many.
        self._messages.pop()
        request.content.set_exception(web.RequestPayloadError())
        self._close = True
