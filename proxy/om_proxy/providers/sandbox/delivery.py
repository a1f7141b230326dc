"""From frames to the pieces that are written one by one: line ends, compression, sizes. No I/O, no clock."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from om_proxy.providers.sandbox.exchange import Headers, Reply

# zlib's way of asking for a gzip wrapper.
_GZIP_WINDOW_BITS = 31


def pieces(reply: Reply) -> Sequence[bytes]:
    """Cut the answer into what each write puts on the wire."""
    switches = reply.switches
    parts: Sequence[bytes] = reply.frames
    if switches.crlf and reply.streamed:
        parts = [part.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") for part in parts]
    if switches.gzip:
        parts = _compress(parts)
    if switches.chunk:
        whole = b"".join(parts)
        parts = [whole[start : start + switches.chunk] for start in range(0, len(whole), switches.chunk)]
    return parts


def headers(reply: Reply) -> Headers:
    """Add what the pieces need to be understood."""
    return (*reply.headers, ("content-encoding", "gzip")) if reply.switches.gzip else reply.headers


def whole(reply: Reply) -> bool:
    """Say whether the answer goes out in one write, with a content-length."""
    switches = reply.switches
    return not (
        reply.streamed
        or switches.chunk
        or switches.ttft_ms
        or switches.interval_ms
        or switches.abort_after is not None
        or switches.hang_after is not None
    )


def _compress(parts: Sequence[bytes]) -> list[bytes]:
    """Compress each part so that it can be read before the next one comes."""
    deflater = zlib.compressobj(wbits=_GZIP_WINDOW_BITS)
    compressed = [deflater.compress(part) + deflater.flush(zlib.Z_SYNC_FLUSH) for part in parts]
    return [*compressed, deflater.flush()]
