"""A way between an edge and its server that a test can cut and mend."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_PIECE_BYTES = 65_536


class CutLink:
    """Passes bytes on both ways. Cut, it closes every connection and refuses new ones."""

    def __init__(self, target: str) -> None:
        self._host, _, port = target.rpartition(":")
        self._port = int(port)
        self._is_cut = False
        self._open: set[asyncio.StreamWriter] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """Listen until the block is left; gives host and port."""
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        try:
            yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()
            self._close_all()

    def cut(self) -> None:
        """Cut it; from any thread."""
        self._is_cut = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._close_all)

    def mend(self) -> None:
        """Let connections through again."""
        self._is_cut = False

    def _close_all(self) -> None:
        for writer in self._open:
            writer.close()
        self._open.clear()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.close()
            return
        beyond, onward = await asyncio.open_connection(self._host, self._port)
        self._open |= {writer, onward}
        await asyncio.gather(_pass_on(reader, onward), _pass_on(beyond, writer))
        self._open -= {writer, onward}


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await reader.read(_PIECE_BYTES):
            writer.write(piece)
            await writer.drain()
    writer.close()
