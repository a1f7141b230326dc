"""Passes a provider's answer on as it arrives, byte for byte, and shows the tally a copy."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog
from aiohttp import web

from om_proxy.refusals.refusal import Problem
from om_proxy.upstream import cost_headers
from om_proxy.upstream.answer import Answer, UpstreamBroken
from om_proxy.upstream.client import Upstream
from om_proxy.upstream.headers import HeaderList, response_headers
from om_proxy.upstream.outlet import Outlet
from om_proxy.upstream.tally import Tally

_log = structlog.get_logger(__name__)

#: A plain answer up to here waits for its cost, for a caller who asked for it; a larger one does not.
TOLD_BYTES_MAX = 8 * 1024 * 1024
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
    headers = response_headers(answer.headers, body_changed=tally.edits)
    outlet = Outlet(request, status=answer.status, reason=answer.reason, headers=headers)
    outlet.add(_own_headers(tally))
    try:
        if told is not None:
            await _tell(outlet, answer, upstream=upstream, tally=tally, told=told)
        elif tally.whole_events is None and answer.whole:
            await outlet.send(tally.take(answer.take()) + tally.rest())
        else:
            await outlet.begin()
            await _stream(outlet, answer, upstream=upstream, tally=tally)
            await outlet.end()
    except _Short as short:
        await _end(outlet, answer, tally=tally, why=short.why)
    except UpstreamBroken:
        _log.warning("upstream_broken", event_id=tally.intent.event_id)
        outlet.break_off()
    except ConnectionError:
        # Of the caller's side alone: those of the provider's are UpstreamBroken.
        _log.info("caller_left", event_id=tally.intent.event_id)
    return outlet.done


def _own_headers(tally: Tally) -> HeaderList:
    own = [("x-om-request-id", tally.intent.event_id)]
    if (cap := tally.intent.call.output_clamped) is not None:
        own.append(("x-om-output-cap", str(cap)))
    if limits := tally.intent.limit_warnings:
        own.append(("x-om-limit-warning", ", ".join(limits)))
    return own


async def _tell(outlet: Outlet, answer: Answer, *, upstream: Upstream, tally: Tally, told: Told) -> None:
    """Send an answer and its cost: a plain one once that is known, a stream before."""
    if tally.intent.call.stream:
        await outlet.begin(trailers=cost_headers.NAMES)
        await _stream(outlet, answer, upstream=upstream, tally=tally)
        await outlet.end(await told() if outlet.may_trail else [])
        return
    held, whole = await _held(answer, upstream, tally)
    if whole:
        outlet.add(await told())
        await outlet.send(held)
        return
    await outlet.begin()
    await outlet.write(held)
    await _stream(outlet, answer, upstream=upstream, tally=tally)
    await outlet.end()


async def _held(answer: Answer, upstream: Upstream, tally: Tally) -> tuple[bytes, bool]:
    """Take in an answer, and say whether that is all of it. If it breaks, the next reader finds out."""
    parts: list[bytes] = []
    size = 0
    try:
        with upstream.chunks(answer) as chunks:
            async for chunk in chunks:
                parts.append(tally.take(chunk))
                size += len(chunk)
                if size > TOLD_BYTES_MAX:
                    return b"".join(parts), False
    except UpstreamBroken:
        return b"".join(parts), False
    return b"".join((*parts, tally.rest())), True


async def _stream(outlet: Outlet, answer: Answer, *, upstream: Upstream, tally: Tally) -> None:
    try:
        with upstream.chunks(answer) as chunks:
            async for chunk in chunks:
                if tally.whole_events is None:
                    await outlet.write(tally.take(chunk))
                else:
                    await _paid(outlet, chunk, tally)
    except UpstreamBroken:
        # Also of a broken answer the caller gets every byte that came.
        await outlet.write(tally.rest())
        raise
    await outlet.write(tally.rest())


async def _paid(outlet: Outlet, chunk: bytes, tally: Tally) -> None:
    """Pass on what can be paid for, in pieces: what nobody is shown shall not be charged."""
    for start in range(0, len(chunk), _PIECE_BYTES):
        passed = tally.take(chunk[start : start + _PIECE_BYTES])
        if (why := await tally.short()) is not None:
            raise _Short(why)
        await outlet.write(passed)


async def _end(outlet: Outlet, answer: Answer, *, tally: Tally, why: Problem) -> None:
    """End a stream that cannot be paid for any longer, and the call at the provider with it."""
    _log.warning("stream_ended", event_id=tally.intent.event_id, code=why.code)
    answer.close()
    event = tally.ending(why)
    if event is None:
        outlet.break_off()
        return
    outlet.close_after()
    try:
        await outlet.write(event)
        await outlet.end()
    except ConnectionError:
        _log.info("caller_left", event_id=tally.intent.event_id)
