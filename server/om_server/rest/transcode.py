"""Any unary RPC with a google.api.http annotation as an HTTP operation: one handler for all of them.

Shape is checked here, because a message cannot hold what has none; values are checked by the server.
"""

import asyncio
from collections.abc import Callable

import grpc
from google.protobuf import json_format
from google.protobuf.message import Message
from starlette.responses import Response

from om_server.core.errors import DomainError
from om_server.rest.binding import Binding
from om_server.rest.channel import Server
from om_server.rest.errors import (
    Problem,
    RequestMalformed,
    problem_from_error,
    problem_from_rpc,
    transcoded_body,
)
from om_server.rest.request import LARGE_BODY_BYTES, MediaTypeUnsupported, Request
from om_server.rest.response import json_response
from om_server.rpc.caller import Principal

#: Makes the answer out of the reply.
Presenter = Callable[[Message, Request], Response]


def message_document(message: Message) -> dict[str, object]:
    """A message as proto3 JSON."""
    document: dict[str, object] = json_format.MessageToDict(
        message, always_print_fields_with_no_presence=True
    )
    return document


def present_plainly(reply: Message, _request: Request) -> Response:
    """The reply as it is."""
    return json_response(200, message_document(reply))


class MessageReader:
    """Reads the request message of one RPC, in the order in which a request is judged."""

    def __init__(self, binding: Binding, server: Server) -> None:
        self._binding = binding
        self._server = server
        self._anonymous = Principal.ANONYMOUS in binding.rpc.access.allow

    async def read(self, request: Request) -> Message:
        """Return the message; a DomainError or AioRpcError says what is wrong, a credential first."""
        context = request.context
        if not self._anonymous:
            context.require_credential()
        try:
            return await self._message(request)
        except (RequestMalformed, MediaTypeUnsupported):
            if not self._anonymous:
                await self._server.confirm_credential(context)
            raise

    async def _message(self, request: Request) -> Message:
        raw = await request.body() if self._binding.has_body else b""
        query, path = request.query, request.path_parameters
        if len(raw) > LARGE_BODY_BYTES:
            return await asyncio.to_thread(self._binding.read, raw, query=query, path=path)
        return self._binding.read(raw, query=query, path=path)


class Transcoded:
    """The HTTP operation of one RPC."""

    def __init__(self, binding: Binding, server: Server, *, present: Presenter = present_plainly) -> None:
        self._reader = MessageReader(binding, server)
        self._server = server
        self._present = present
        self._method = server.method(binding.rpc)

    async def __call__(self, request: Request) -> Response:
        """Answer; the one place where this family's errors leave."""
        try:
            message = await self._reader.read(request)
            reply = await self._server.ask(self._method, message, context=request.context)
        except DomainError as error:
            return problem_response(problem_from_error(error), request.context.request_id)
        except grpc.aio.AioRpcError as error:
            return problem_response(problem_from_rpc(error), request.context.request_id)
        return self._present(reply, request)


def problem_response(problem: Problem, request_id: str) -> Response:
    """The answer of every operation of this family that was refused or failed."""
    return json_response(problem.status, transcoded_body(problem, request_id), headers=problem.headers)
