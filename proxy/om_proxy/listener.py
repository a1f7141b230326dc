"""The HTTP/1.1 side towards callers: no pages, headers or log lines of the library's own.

The library answers a malformed request by quoting it, and logs it; what it quotes can be a key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from aiohttp import web
from aiohttp.http import SERVER_SOFTWARE
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDict

from om_proxy import problem
from om_proxy.defect import log_defect
from om_proxy.identity import new_event_id
from om_proxy.refusal import Problem, Shape, render

_log = structlog.get_logger(__name__)

HEADER_BYTES_MAX = 64 * 1024

#: Set on a response that must go out without a content type, because the provider sent none.
UNTYPED = web.ResponseKey("untyped", bool)

Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Listener(web.Server):
    """Makes a connection for each caller. It has no routes: one function answers everything."""

    def __init__(self, answer: Answer) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(
            answer,
            request_factory=lambda message, payload, protocol, writer, task: _Request(
                message, payload, protocol, writer, task, loop
            ),
            # A caller who leaves ends the call at the provider too, as a direct connection would.
            handler_cancellation=True,
        )

    def __call__(self) -> web.RequestHandler:
        """Make the protocol of a new connection."""
        return _Connection(
            self,
            loop=asyncio.get_running_loop(),
            # The access log would write `?key=`.
            access_log=None,  # type: ignore[arg-type]  # None is how it is turned off.
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


class _Request(web.BaseRequest):
    """A request whose answer gets no header from the library but `Date`, which RFC 9110 asks for."""

    async def _prepare_hook(self, response: web.StreamResponse) -> None:
        headers = response.headers
        if headers.get("Server") == SERVER_SOFTWARE:
            del headers["Server"]
        if UNTYPED in response:
            headers.pop("Content-Type", None)


class _Connection(web.RequestHandler):
    """One connection; its errors are answered in JSON and logged by their kind alone."""

    __slots__ = ()

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
        if isinstance(error, BaseException):
            log_defect("connection_failed", error)
