"""Between connexion's routing and the endpoints, and around both: ids, paths, and the last answers."""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import unquote

import structlog
from connexion.middleware.abstract import ROUTING_CONTEXT
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import BaseRoute, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from om_server.rest.documented.endpoint import route_not_found
from om_server.rest.errors import Problem, http_status, internal_problem, transcoded_body
from om_server.rest.request import (
    REQUEST_ID_SCOPE,
    SLASH_IN_SEGMENT,
    TRACE_SCOPE,
    Endpoint,
    Request,
    request_id,
)
from om_server.rest.response import json_response
from om_server.rest.tracing import RequestSpan, RequestTracer, Untraced
from om_server.rpc.status import REQUEST_ID_KEY
from om_server.rpc.tracing import TRACE_PARENT

_log = structlog.get_logger(__name__)

_TRANSCODED_PREFIX = "/api/v1/"
_ENCODED_SLASH = re.compile("%2f", re.IGNORECASE)


#: Where the ASGI scope has what is counted of a request.
RECORD_SCOPE = "openmonetize.record"


class Answered(Protocol):
    """Counts a request that ended; "" is a path without an operation."""

    def __call__(self, operation: str, status: int, /, *, seconds: float) -> None: ...


def uncounted(_operation: str, _status: int, /, *, seconds: float) -> None:
    """Count nothing."""
    del seconds


@dataclass(slots=True)
class Record:
    """What is counted and traced of one request. The route is a template of the document, never a path."""

    operation: str = ""
    route: str = ""
    status: int = 0


class Operations:
    """Calls the endpoint that connexion routed to; what it knows no operation for may be a page."""

    def __init__(
        self,
        endpoints: Mapping[str, Endpoint],
        pages: Sequence[BaseRoute],
        *,
        templates: Mapping[str, str],
    ) -> None:
        """`templates` are the paths of the operations as the document writes them."""
        self._endpoints = endpoints
        self._templates = templates
        self._pages = Router(pages, redirect_slashes=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        routing = scope.get("extensions", {}).get(ROUTING_CONTEXT, {})
        operation = routing.get("operation_id") or ""
        endpoint = self._endpoints.get(operation)
        if record := scope.get(RECORD_SCOPE):
            record.operation, record.route = operation, self._templates.get(operation, "")
        if endpoint is None:
            await self._pages(scope, receive, send)
            return
        response = await endpoint(Request(scope, receive))
        await response(scope, receive, send)


class Outermost:
    """Gives every request an id and every answer that id, and answers where nothing else could."""

    def __init__(
        self, routes: ASGIApp, *, answered: Answered = uncounted, tracer: RequestTracer | None = None
    ) -> None:
        self._routes = routes
        self._answered = answered
        self._tracer = tracer or Untraced()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._routes(scope, receive, send)
            return
        begun, record, headers = time.perf_counter(), Record(), Headers(scope=scope)
        identity = request_id(headers)
        with self._tracer.request(headers.get(TRACE_PARENT, ""), request_id=identity) as span:
            noted = {RECORD_SCOPE: record, REQUEST_ID_SCOPE: identity, TRACE_SCOPE: span.trace_parent}
            try:
                await self._answer({**scope, **noted}, receive, send)
            finally:
                _note(record, span)
                # Nothing was answered to a caller who left.
                if record.status:
                    seconds = time.perf_counter() - begun
                    self._answered(record.operation, record.status, seconds=seconds)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        identity = scope[REQUEST_ID_SCOPE]
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                scope[RECORD_SCOPE].status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID_KEY] = identity
            await send(message)

        # Nothing is routed under a final slash, and the router would redirect to what the Host header says.
        routes = _raise_not_found if _ends_in_slash(scope["path"]) else self._routes
        routed = {**scope, "path": _routed_path(scope)}
        try:
            await routes(routed, receive, send_with_id)
        except HTTPException:
            await _not_found(scope, identity)(scope, receive, send_with_id)
        except ClientDisconnect:
            return
        except Exception:
            # The process goes on, whatever one request met.
            _log.exception("request_failed", request_id=identity, path=scope["path"])
            if started:
                raise
            await _failed(scope, identity)(scope, receive, send_with_id)


def _note(record: Record, span: RequestSpan) -> None:
    if record.route:
        span.note("http.route", record.route)
    if record.status:
        span.note("http.response.status_code", record.status)


async def _raise_not_found(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise HTTPException(404)


def _ends_in_slash(path: str) -> bool:
    return path.endswith("/") and path != "/docs/"


def _routed_path(scope: Scope) -> str:
    """The decoded path, in which an encoded slash is still no separator."""
    text = (scope.get("raw_path") or b"").decode("ascii", "replace")
    if not _ENCODED_SLASH.search(text):
        path: str = scope["path"]
        return path
    return unquote(_ENCODED_SLASH.sub(SLASH_IN_SEGMENT, text))


def _not_found(scope: Scope, identity: str) -> Response:
    """404 for an unknown path and, as published, for a wrong method."""
    method, path = scope["method"], scope["path"]
    if not path.startswith(_TRANSCODED_PREFIX):
        return json_response(404, route_not_found(method, path))
    message = f"there is no operation {method} {path}"
    problem = Problem("NOT_FOUND", reason="NOT_FOUND", message=message, status=http_status("NOT_FOUND", ""))
    return json_response(problem.status, transcoded_body(problem, identity))


def _failed(scope: Scope, identity: str) -> Response:
    problem = internal_problem()
    if scope["path"].startswith(_TRANSCODED_PREFIX):
        return json_response(problem.status, transcoded_body(problem, identity))
    message = "An unexpected error occurred"
    return json_response(problem.status, {"error": "Internal Server Error", "message": message})
