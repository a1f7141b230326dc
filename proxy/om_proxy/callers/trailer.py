"""Fields behind the body of a streamed answer. The library sends none, so its last chunk is written here."""

from __future__ import annotations

from aiohttp import HttpVersion11, web
from aiohttp.http import StreamWriter

from om_proxy.callers.headers import HeaderList


def may_follow(request: web.BaseRequest) -> bool:
    """Whether this connection's answers come in chunks, behind which alone a field can stand."""
    return request.version >= HttpVersion11 and request.method != "HEAD"


async def end_with(request: web.BaseRequest, response: web.StreamResponse, fields: HeaderList) -> None:
    """End a chunked answer with these fields."""
    writer = request.writer
    if not fields or not isinstance(writer, StreamWriter) or not writer.chunked:
        await response.write_eof()
        return
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
    # From here on it writes what it is given, without a frame of its own.
    writer.chunked = False
    await response.write_eof(f"0\r\n{lines}\r\n".encode("ascii"))
