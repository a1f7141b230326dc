"""Any streaming RPC with a google.api.http annotation as an HTTP operation, answered as messages come.

What is asked for is read once the client has taken what was before it, so a slow client costs no memory.
The call ends with the client, and the answer with the process.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator

import grpc
import structlog
from google.protobuf.message import Message
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from om_server.core.errors import DomainError
from om_server.rest.binding import Binding
from om_server.rest.channel import Server
from om_server.rest.errors import Problem, library_problem, problem_from_error, problem_from_rpc
from om_server.rest.framing import Framing
from om_server.rest.request import CallContext, Request
from om_server.rest.transcode import MessageReader, problem_response

_log = structlog.get_logger(__name__)

#: A message above this becomes JSON on a thread, so that other requests go on meanwhile.
_LARGE_MESSAGE_BYTES = 16 * 1024
#: How long a client may take to hear that the process ends.
_FAREWELL_S = 1.0
_HEADERS = (
    (b"cache-control", b"no-store"),
    # A reverse proxy that collects an answer would keep events back.
    (b"x-accel-buffering", b"no"),
)


class Streamed:
    """The HTTP operation of one RPC that answers with a stream."""

    def __init__(self, binding: Binding, server: Server, *, framing: Framing, ending: asyncio.Event) -> None:
        """`ending` is set when the process ends: a stream has no end of its own to wait for."""
        self._reader = MessageReader(binding, server)
        self._server = server
        self._framing = framing
        self._ending = ending
        self._method = server.stream(binding.rpc)

    async def __call__(self, request: Request) -> Response:
        """Read the request; nothing is called before the answer is sent."""
        context = request.context
        try:
            message = await self._reader.read(request)
        except DomainError as error:
            return problem_response(problem_from_error(error), context.request_id)
        except grpc.aio.AioRpcError as error:
            return problem_response(problem_from_rpc(error), context.request_id)
        self._framing.resume(message, request.headers)
        replies = self._server.replies(self._method, message, context=context)
        return _StreamResponse(replies, self._framing, context=context, ending=self._ending)


class _StreamResponse(Response):
    """Sends what a call answers. Until the first message there may still be an error instead."""

    def __init__(
        self,
        replies: AsyncGenerator[Message, None],
        framing: Framing,
        *,
        context: CallContext,
        ending: asyncio.Event,
    ) -> None:
        super().__init__()
        self._replies = replies
        self._framing = framing
        self._context = context
        self._ending = ending
        self._started = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer until the stream, the client or the process ends."""
        writing = asyncio.create_task(self._write(scope, receive, send))
        others = asyncio.create_task(_left(receive)), asyncio.create_task(self._ending.wait())
        try:
            await asyncio.wait({writing, *others}, return_when=asyncio.FIRST_COMPLETED)
            ended = self._ending.is_set() and not writing.done()
        finally:
            for task in (writing, *others):
                task.cancel()
            await asyncio.wait({writing, *others})
            await self._replies.aclose()
        if ended:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_FAREWELL_S):
                    await self._fail(library_problem("UNAVAILABLE"), scope, receive, send)
        elif not writing.cancelled():
            writing.result()

    async def _write(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async for message in self._replies:
                frame = await self._frame(message)
                await self._start(send)
                await send({"type": "http.response.body", "body": frame, "more_body": True})
        except grpc.aio.AioRpcError as error:
            await self._fail(problem_from_rpc(error), scope, receive, send)
        except TimeoutError:
            await self._fail(library_problem("DEADLINE_EXCEEDED"), scope, receive, send)
        else:
            await self._start(send)
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _frame(self, message: Message) -> bytes:
        if message.ByteSize() > _LARGE_MESSAGE_BYTES:
            return await asyncio.to_thread(self._framing.message, message)
        return self._framing.message(message)

    async def _start(self, send: Send) -> None:
        if self._started:
            return
        self._started = True
        headers = [(b"content-type", f"{self._framing.media_type}; charset=utf-8".encode()), *_HEADERS]
        await send({"type": "http.response.start", "status": 200, "headers": headers})

    async def _fail(self, problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = self._context.request_id
        if not self._started:
            await problem_response(problem, request_id)(scope, receive, send)
            return
        _log.info("stream_broken_off", request_id=request_id, code=problem.code, reason=problem.reason)
        # Without an end, the server closes the connection, and no client takes what it has for the whole.
        more = not self._framing.tells_failure
        body = self._framing.failure(problem, request_id)
        await send({"type": "http.response.body", "body": body, "more_body": more})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
