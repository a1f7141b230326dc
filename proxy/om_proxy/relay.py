"""Passes a provider's answer on as it arrives, byte for byte, and shows the tally a copy."""

from __future__ import annotations

import socket
import struct

import aiohttp
import structlog
from aiohttp import HttpVersion11, web
from multidict import CIMultiDict

from om_proxy.headers import as_sent, response_headers
from om_proxy.listener import UNTYPED
from om_proxy.tally import Tally
from om_proxy.upstream import Upstream, UpstreamBroken

_log = structlog.get_logger(__name__)

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


async def relay(
    request: web.BaseRequest, answer: aiohttp.ClientResponse, *, upstream: Upstream, tally: Tally
) -> web.StreamResponse:
    """Send the whole answer. One that breaks breaks the connection: a clean end would read as a success."""
    whole = answer.content.is_eof() and answer.content.exception() is None
    response = _whole(answer, tally) if whole else _head(answer, tally)
    try:
        await response.prepare(request)
        if not whole:
            await _stream(response, answer, upstream=upstream, tally=tally)
        await response.write_eof()
    except UpstreamBroken:
        _log.warning("upstream_broken", event_id=tally.intent.event_id)
        _break(request)
    except ConnectionError:
        # Of the caller's side alone: those of the provider's are UpstreamBroken.
        _log.info("caller_left", event_id=tally.intent.event_id)
    return response


def _whole(answer: aiohttp.ClientResponse, tally: Tally) -> web.StreamResponse:
    """An answer that is here already goes out in one write."""
    body = tally.take(answer.content.read_nowait()) + tally.rest()
    return _typed(
        web.Response(status=answer.status, reason=answer.reason, headers=_headers(answer, tally), body=body)
    )


def _head(answer: aiohttp.ClientResponse, tally: Tally) -> web.StreamResponse:
    return _typed(
        web.StreamResponse(status=answer.status, reason=answer.reason, headers=_headers(answer, tally))
    )


def _typed(response: web.StreamResponse) -> web.StreamResponse:
    if "Content-Type" not in response.headers:
        response[UNTYPED] = True
    return response


def _headers(answer: aiohttp.ClientResponse, tally: Tally) -> CIMultiDict[str]:
    headers = CIMultiDict(response_headers(as_sent(answer.raw_headers), body_changed=tally.edits))
    headers["x-om-request-id"] = tally.intent.event_id
    return headers


async def _stream(
    response: web.StreamResponse, answer: aiohttp.ClientResponse, *, upstream: Upstream, tally: Tally
) -> None:
    try:
        async for chunk in upstream.chunks(answer):
            if passed := tally.take(chunk):
                await response.write(passed)
    except UpstreamBroken:
        # Also of a broken answer the caller gets every byte that came.
        await response.write(tally.rest())
        raise
    await response.write(tally.rest())


def _break(request: web.BaseRequest) -> None:
    """Cut the connection so that no client takes what it got for the whole."""
    transport = request.transport
    if transport is None:
        return
    if request.version < HttpVersion11:
        # Here the end of the connection is the end of the body, so only a reset says that it broke.
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.abort()
