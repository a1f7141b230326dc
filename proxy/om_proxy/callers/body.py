"""Takes in a request's body: plain, bounded in size, in time, and in what its framing may add."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from aiohttp import HttpVersion11, web

from om_proxy.callers.coded_body import request_coding
from om_proxy.callers.listener import wire_bytes
from om_proxy.refusals import problem
from om_proxy.refusals.refusal import Problem

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

#: What a body must bring in the long run, to be waited for.
_BYTES_PER_S_MIN = 1024
# Chunks of a single byte take five more for their framing. Above that it is extensions, which nobody reads.
_FRAMING_PER_BYTE = 5
_FRAMING_BYTES_MAX = 4 * 1024


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """How much is taken, and how long the next part, or a body that only drips, may be waited for."""

    bytes_max: int
    timeout_s: float


async def read_body(request: web.BaseRequest, limits: BodyLimits) -> bytes | Problem:
    """Read the whole body, or say why not."""
    headers = request.headers
    if request_coding(headers) is None:
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
    started = 0.0
    while not content.at_eof():
        # What is here already needs no timer; usually that is all of it.
        part = content.read_nowait()
        if not part:
            now = asyncio.get_running_loop().time()
            started = started or now
            dripping_s = started + limits.timeout_s + size / _BYTES_PER_S_MIN - now
            async with asyncio.timeout(min(limits.timeout_s, dripping_s)):
                part = await content.readany()
        size += len(part)
        if size > limits.bytes_max:
            return problem.body_too_large(limits.bytes_max)
        parts.append(part)
    if (
        request.content_length is None
        and _framing(request, size) > _FRAMING_BYTES_MAX + _FRAMING_PER_BYTE * size
    ):
        return problem.malformed_request()
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _framing(request: web.BaseRequest, size: int) -> int:
    """How many bytes came that are neither of the head nor of the body."""
    head = sum(len(name) + len(value) + 4 for name, value in request.raw_headers)
    return wire_bytes(request) - size - head - len(request.raw_path)
