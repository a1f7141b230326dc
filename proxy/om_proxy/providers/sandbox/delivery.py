"""From frames to the pieces that are written one by one: line ends, compression, sizes. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Sequence

from om_proxy.providers.sandbox.coding import encode
from om_proxy.providers.sandbox.exchange import Headers, Reply

# A caller could ask for a large answer byte by byte.
_PIECES_MAX = 200_000


def pieces(reply: Reply) -> Sequence[bytes]:
    """Cut the answer into what each write puts on the wire."""
    switches = reply.switches
    parts: Sequence[bytes] = reply.frames
    if switches.crlf and reply.streamed:
        parts = [part.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") for part in parts]
    if switches.content_coding is not None:
        parts = encode(parts, switches.content_coding)
    if switches.chunk:
        whole = b"".join(parts)
        size = max(switches.chunk, -(-len(whole) // _PIECES_MAX))
        parts = [whole[start : start + size] for start in range(0, len(whole), size)]
    return parts


def headers(reply: Reply) -> Headers:
    """Add what the pieces need to be understood."""
    coding = reply.switches.content_coding
    return reply.headers if coding is None else (*reply.headers, ("content-encoding", coding))


def whole(reply: Reply) -> bool:
    """Say whether the answer goes out in one write, with a content-length."""
    switches = reply.switches
    return not (
        reply.streamed
        or reply.chunked
        or switches.chunk
        or switches.ttft_ms
        or switches.interval_ms
        or switches.abort_after is not None
        or switches.hang_after is not None
    )
