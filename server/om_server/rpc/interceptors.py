"""The one wrapper around every call: request id, caller, access, shape, handler, and one exit for errors.

It builds method handlers instead of being a grpc interceptor: an async interceptor around a sync
handler would run it on the event loop and turn its abort into OK. Messages are read and written
here too, so that a stranger's bytes are not parsed and a large batch does not block the loop.
"""

import asyncio
import contextlib
import dataclasses
import re
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from typing import Protocol, TypeAlias, TypeVar

import grpc
import structlog
from google.protobuf.message import DecodeError, Message

from om_server.core.errors import Code, DomainError, InvalidArgument, Unimplemented
from om_server.rpc.access import Gate, permit
from om_server.rpc.blocking import blocking_on
from om_server.rpc.caller import Caller, Principal, acting_as
from om_server.rpc.contract import Rpc
from om_server.rpc.status import DETAILS_KEY, REQUEST_ID_KEY, Failure, Internal, failure_from_error
from om_server.rpc.tracing import TRACE_PARENT, Tracer
from om_server.rpc.validation import check
from om_server.storage.tenancy import seeing, seeing_everybody

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")

#: How calls of proxies end when nothing is wrong; a stream of theirs is cancelled where they end.
_ROUTINE = frozenset({"OK", "CANCELLED"})
_OURS = frozenset({Code.INTERNAL, Code.UNAVAILABLE, Code.DATA_LOSS})

Metadata: TypeAlias = Iterable[tuple[str, str | bytes]]
UnaryMethod: TypeAlias = Callable[[Message, grpc.ServicerContext], Message]
StreamContext: TypeAlias = grpc.aio.ServicerContext[bytes, bytes]
StreamMethod: TypeAlias = Callable[[Message, StreamContext], AsyncGenerator[Message, None]]

Method = TypeVar("Method")


class CallCounter(Protocol):
    """Counts calls for whoever watches the process."""

    def answered(self, rpc: str, code: str, *, reason: str, seconds: float | None) -> None:
        """Count a call that ended; a stream has no time."""

    def streaming(self, rpc: str, change: int) -> None:
        """Count a stream that begins (1) or has ended (-1)."""


class Uncounted:
    """Counts nothing."""

    def answered(self, rpc: str, code: str, *, reason: str, seconds: float | None) -> None: ...

    def streaming(self, rpc: str, change: int) -> None: ...


class CallWrapper:
    """Makes the handlers that the server registers. `method` is None where nobody has written the RPC yet."""

    def __init__(
        self,
        gate: Gate,
        *,
        new_request_id: Callable[[], str],
        pool: Executor,
        counter: CallCounter,
        tracer: Tracer,
    ) -> None:
        self._gate = gate
        self._new_request_id = new_request_id
        self._pool = pool
        self._counter = counter
        self._tracer = tracer

    def unary(self, rpc: Rpc, method: UnaryMethod | None) -> "grpc.RpcMethodHandler[bytes, bytes]":
        """Return a sync handler, which the server runs on its thread pool."""

        def answer(raw: bytes, context: grpc.ServicerContext) -> bytes:
            metadata = context.invocation_metadata()
            call = self._begin(rpc, metadata)
            try:
                self._admit(call, metadata)
                handle = _implemented(rpc, method)
                request = _read(rpc, raw)
                with acting_as(call.caller), _seeing_rows_of(call.caller), self._traced(call, metadata):
                    reply = _written(rpc, handle(request, context))
            except grpc.aio.AbortError:
                # A handler spoke to grpc itself; raised again, it stays an error on the wire.
                call.log("ABORTED_BY_HANDLER")
                raise
            except Exception as error:  # noqa: BLE001 - the one exit: any error becomes a status
                failure = call.failed(error)
                # A sync context has no abort_with_status, so the details go as trailing metadata.
                context.set_trailing_metadata(call.trailers(failure))
                context.abort(failure.code, failure.message)
            call.log("OK")
            context.set_trailing_metadata(call.trailers())
            return reply

        return grpc.unary_unary_rpc_method_handler(answer)

    def stream(self, rpc: Rpc, method: StreamMethod | None) -> "grpc.RpcMethodHandler[bytes, bytes]":
        """Return an async handler. Only the look-up of the caller blocks, so it alone uses the pool."""

        async def answer(raw: bytes, context: StreamContext) -> None:
            metadata = tuple(context.invocation_metadata() or ())
            call = self._begin(rpc, metadata)
            self._counter.streaming(rpc.path, 1)
            try:
                await asyncio.get_running_loop().run_in_executor(self._pool, self._admit, call, metadata)
                handle = _implemented(rpc, method)
                request = _read(rpc, raw)
                with acting_as(call.caller), _seeing_rows_of(call.caller), blocking_on(self._pool):
                    async with contextlib.aclosing(handle(request, context)) as replies:
                        async for reply in replies:
                            await context.write(_written(rpc, reply))
            except asyncio.CancelledError:
                call.log("CANCELLED")
                raise
            except grpc.aio.AbortError:
                call.log("ABORTED_BY_HANDLER")
                raise
            except Exception as error:  # noqa: BLE001 - the one exit: any error becomes a status
                failure = call.failed(error)
                await context.abort(failure.code, failure.message, call.trailers(failure))
            finally:
                self._counter.streaming(rpc.path, -1)
            call.log("OK")
            context.set_trailing_metadata(call.trailers())

        return grpc.unary_stream_rpc_method_handler(answer)

    def _begin(self, rpc: Rpc, metadata: Metadata) -> "_Call":
        sent = next((value for key, value in metadata if key == REQUEST_ID_KEY), "")
        usable = isinstance(sent, str) and _REQUEST_ID.fullmatch(sent) is not None
        return _Call(rpc, str(sent) if usable else self._new_request_id(), self._counter)

    def _traced(self, call: "_Call", metadata: Metadata) -> AbstractContextManager[str]:
        parent = next((str(value) for key, value in metadata if key == TRACE_PARENT), "")
        attributes = {"om.request_id": call.request_id, "om.organization_id": call.caller.organization_id}
        return self._tracer.span(call.rpc.path, parent, attributes=attributes)

    def _admit(self, call: "_Call", metadata: Metadata) -> None:
        """Find out who calls, then whether they may: a stranger learns of no rule."""
        with seeing_everybody():
            # The credential is what names the organization.
            caller = self._gate.identify(call.rpc, metadata)
        call.caller = dataclasses.replace(caller, request_id=call.request_id)
        permit(caller, call.rpc)


class _Call:
    """One call on its way: what its log line and its trailing metadata need."""

    def __init__(self, rpc: Rpc, request_id: str, counter: CallCounter) -> None:
        self.rpc = rpc
        self.request_id = request_id
        self._counter = counter
        self.caller = Caller(Principal.ANONYMOUS)
        self._start = time.perf_counter()

    def failed(self, error: Exception) -> Failure:
        """Log an error and return what the caller learns. Only our own faults are logged with their cause."""
        known = error if isinstance(error, DomainError) else Internal()
        failure = failure_from_error(known)
        self.log(failure.code.name, reason=known.reason)
        if known.code in _OURS:
            _log.error("rpc_failed", rpc=self.rpc.path, request_id=self.request_id, exc_info=error)
        return failure

    def log(self, code: str, *, reason: str = "") -> None:
        """Count the call and write its line; what our own processes ask all day is no news."""
        seconds = time.perf_counter() - self._start
        self._counter.answered(
            self.rpc.path, code, reason=reason, seconds=None if self.rpc.streaming else seconds
        )
        routine = code in _ROUTINE and self.caller.principal is Principal.SERVICE
        (_log.debug if routine else _log.info)(
            "rpc_answered",
            rpc=self.rpc.path,
            code=code,
            duration_ms=round(seconds * 1000, 3),
            request_id=self.request_id,
            principal=self.caller.principal.value,
            organization_id=self.caller.organization_id,
            **({"reason": reason} if reason else {}),
        )

    def trailers(self, failure: Failure | None = None) -> tuple[tuple[str, str | bytes], ...]:
        request_id = (REQUEST_ID_KEY, self.request_id)
        return (request_id, (DETAILS_KEY, failure.details)) if failure else (request_id,)


def _seeing_rows_of(caller: Caller) -> AbstractContextManager[None]:
    """Our own processes work for everybody, and nobody has no organization to be held to yet."""
    return seeing(caller.organization_id) if caller.organization_id else seeing_everybody()


def _implemented(rpc: Rpc, method: Method | None) -> Method:
    """Refuse before the shape is judged: nobody should mend a request that cannot be answered."""
    if method is None:
        raise Unimplemented(rpc.path)
    return method


def _read(rpc: Rpc, raw: bytes) -> Message:
    try:
        request = rpc.request_type.FromString(raw)
    except DecodeError as error:
        raise InvalidArgument("request", f"not a {rpc.request_type.DESCRIPTOR.name}") from error
    check(request)
    return request


def _written(rpc: Rpc, reply: object) -> bytes:
    if not isinstance(reply, rpc.response_type):
        raise TypeError(f"{rpc.path} answers with {type(reply).__name__}")
    return reply.SerializeToString()
