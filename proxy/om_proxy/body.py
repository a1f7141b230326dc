"""Takes in a request's body: plain, bounded in size, and not waited for without end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from aiohttp import HttpVersion11, web

from om_proxy import problem
from om_proxy.refusal import Problem

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """How much is taken, and how long the next part may be waited for."""

    bytes_max: int
    timeout_s: float


async def read_body(request: web.BaseRequest, limits: BodyLimits) -> bytes | Problem:
    """Read the whole body. On a malformed chunk the library leaves its reader waiting: hence the limit."""
    headers = request.headers
    if any(coding.strip().lower() != "identity" for coding in headers.getall("Content-Encoding", ())):
        return problem.encoded_body()
    if (request.content_length or 0) > limits.bytes_max:
        return problem.body_too_large(limits.bytes_max)
    if "Expect" in headers and request.version >= HttpVersion11:
        # Only now: a body that is refused anyway is never sent.
        await request.writer.write(_CONTINUE)
        request.writer.output_size = 0
    try:
        return await _read(request, limits)
    except TimeoutError:
        return problem.request_timeout()
    except web.RequestPayloadError:
        return problem.malformed_request()


async def _read(request: web.BaseRequest, limits: BodyLimits) -> bytes | Problem:
    content = request.content
    parts: list[bytes] = []
    size = 0
    while not content.at_eof():
        # What is here already needs no timer; usually that is all of it.
        part = content.read_nowait()
        if not part:
            async with asyncio.timeout(limits.timeout_s):
                part = await content.readany()
        size += len(part)
        if size > limits.bytes_max:
            return problem.body_too_large(limits.bytes_max)
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
