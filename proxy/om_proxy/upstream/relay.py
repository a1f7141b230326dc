"""Passes a provider's answer on as it arrives, byte for byte, and shows the tally a copy."""

from __future__ import annotations

import socket
import struct
from collections.abc import Awaitable, Callable

import structlog
from aiohttp import HttpVersion11, web
from multidict import CIMultiDict

from om_proxy.callers import cost_headers, trailer
from om_proxy.callers.headers import HeaderList, as_sent, response_headers
from om_proxy.callers.listener import UNTYPED
from om_proxy.refusals.refusal import Problem
from om_proxy.upstream.answer import Answer, UpstreamBroken
from om_proxy.upstream.client import Upstream
from om_proxy.upstream.tally import Tally

_log = structlog.get_logger(__name__)

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)

#: A plain answer up to here waits for its cost, for a caller who asked for it; a larger one does not.
HELD_BYTES_MAX = 8 * 1024 * 1024
#: Of an answer whose grant grows with it: less than is asked for ahead.
_PIECE_BYTES = 1024


class _Short(Exception):
    """What was taken last cannot be paid for."""

    def __init__(self, why: Problem) -> None:
        super().__init__()
        self.why = why


#: Says what the call cost, once its whole answer was seen.
Told = Callable[[], Awaitable[HeaderList]]


async def relay(
    request: web.BaseRequest,
    answer: Answer,
    *,
    upstream: Upstream,
    tally: Tally,
    told: Told | None = None,
) -> web.StreamResponse:
    """Send the whole answer. One that breaks breaks the connection: a clean end would read as a success.

    `told` is there if the caller asked for the cost: in the headers of a plain answer, behind a stream.
    """
    if told is not None:
        return await _relay_told(request, answer, upstream=upstream, tally=tally, told=told)
    whole = tally.whole_events is None and answer.whole
    response = _whole(answer, tally) if whole else _head(answer, tally)
    try:
        await response.prepare(request)
        if not whole:
            await _stream(response, answer, upstream=upstream, tally=tally)
        await response.write_eof()
    except _Short as short:
        await _end(request, response, answer, tally=tally, why=short.why)
    except UpstreamBroken:
        _log.warning("upstream_broken", event_id=tally.intent.event_id)
        _break(request, answer)
    except ConnectionError:
        # Of the caller's side alone: those of the provider's are UpstreamBroken.
        _log.info("caller_left", event_id=tally.intent.event_id)
    return response


async def _relay_told(
    request: web.BaseRequest,
    answer: Answer,
    *,
    upstream: Upstream,
    tally: Tally,
    told: Told,
) -> web.StreamResponse:
    streams = tally.intent.call.stream
    held, whole = (b"", False) if streams else await _held(answer, upstream, tally)
    if whole:
        response = _with_body(answer, tally, held)
        response.headers.extend(await told())
    else:
        response = _head(answer, tally)
    trails = streams and trailer.may_follow(request)
    if trails:
        response.headers.popall("Content-Length", None)
        response.headers["Trailer"] = ", ".join(cost_headers.NAMES)
    try:
        await response.prepare(request)
        if not whole:
            await response.write(held)
            await _stream(response, answer, upstream=upstream, tally=tally)
        await trailer.end_with(request, response, await told() if trails else [])
    except _Short as short:
        await _end(request, response, answer, tally=tally, why=short.why)
    except UpstreamBroken:
        _log.warning("upstream_broken", event_id=tally.intent.event_id)
        _break(request, answer)
    except ConnectionError:
        _log.info("caller_left", event_id=tally.intent.event_id)
    return response


async def _held(answer: Answer, upstream: Upstream, tally: Tally) -> tuple[bytes, bool]:
    """Take in an answer, and say whether that is all of it. If it breaks, the next reader finds out."""
    parts: list[bytes] = []
    size = 0
    try:
        with upstream.chunks(answer) as chunks:
            async for chunk in chunks:
                parts.append(tally.take(chunk))
                size += len(chunk)
                if size > HELD_BYTES_MAX:
                    return b"".join(parts), False
    except UpstreamBroken:
        return b"".join(parts), False
    return b"".join((*parts, tally.rest())), True


def _whole(answer: Answer, tally: Tally) -> web.StreamResponse:
    """An answer that is here already goes out in one write."""
    return _with_body(answer, tally, tally.take(answer.take()) + tally.rest())


def _with_body(answer: Answer, tally: Tally, body: bytes) -> web.StreamResponse:
    return _typed(
        web.Response(
            status=answer.status,
            reason=answer.reason.decode("utf-8", "surrogateescape"),
            headers=_headers(answer, tally),
            body=body,
        )
    )


def _head(answer: Answer, tally: Tally) -> web.StreamResponse:
    return _typed(
        web.StreamResponse(
            status=answer.status,
            reason=answer.reason.decode("utf-8", "surrogateescape"),
            headers=_headers(answer, tally),
        )
    )


def _typed(response: web.StreamResponse) -> web.StreamResponse:
    if "Content-Type" not in response.headers:
        response[UNTYPED] = True
    return response


def _headers(answer: Answer, tally: Tally) -> CIMultiDict[str]:
    headers = CIMultiDict(response_headers(as_sent(answer.headers), body_changed=tally.edits))
    headers["x-om-request-id"] = tally.intent.event_id
    if (cap := tally.intent.call.output_clamped) is not None:
        headers["x-om-output-cap"] = str(cap)
    return headers


async def _stream(response: web.StreamResponse, answer: Answer, *, upstream: Upstream, tally: Tally) -> None:
    try:
        with upstream.chunks(answer) as chunks:
            async for chunk in chunks:
                if tally.whole_events is not None:
                    await _paid(response, chunk, tally)
                elif passed := tally.take(chunk):
                    await response.write(passed)
    except UpstreamBroken:
        # Also of a broken answer the caller gets every byte that came.
        await response.write(tally.rest())
        raise
    await response.write(tally.rest())


async def _paid(response: web.StreamResponse, chunk: bytes, tally: Tally) -> None:
    """Pass on what can be paid for, in pieces: what nobody is shown shall not be charged."""
    for start in range(0, len(chunk), _PIECE_BYTES):
        passed = tally.take(chunk[start : start + _PIECE_BYTES])
        if (why := await tally.short()) is not None:
            raise _Short(why)
        if passed:
            await response.write(passed)


async def _end(
    request: web.BaseRequest,
    response: web.StreamResponse,
    answer: Answer,
    *,
    tally: Tally,
    why: Problem,
) -> None:
    """End a stream that cannot be paid for any longer, and the call at the provider with it."""
    _log.warning("stream_ended", event_id=tally.intent.event_id, code=why.code)
    answer.close()
    event = tally.ending(why)
    if event is None:
        _break(request, answer)
        return
    response.force_close()
    try:
        await response.write(event)
        await response.write_eof()
    except ConnectionError:
        _log.info("caller_left", event_id=tally.intent.event_id)


def _break(request: web.BaseRequest, answer: Answer) -> None:
    """Cut the connection so that no client takes what it got for the whole."""
    answer.close()
    transport = request.transport
    if transport is None:
        return
    if request.version < HttpVersion11:
        # Here the end of the connection is the end of the body, so only a reset says that it broke.
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.abort()
