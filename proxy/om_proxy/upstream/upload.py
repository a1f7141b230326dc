"""A request body on its way to a provider: when its first byte leaves, and whether one did."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import BytesIOPayload, BytesPayload, Payload

# Above it the library warns against plain bytes, which it writes at once.
_PLAIN_BYTES_MAX = 1024 * 1024


def _nothing() -> None:
    """Nobody wants to know."""


class Upload:
    """One request on its way, also for whoever asks after it was given up."""

    def __init__(self, on_send: Callable[[], None] = _nothing) -> None:
        """`on_send` is called just before the first byte of the request leaves."""
        #: What the library counts with.
        self.tracker = aiohttp.UploadTracker()
        self._on_send = on_send

    @property
    def sent(self) -> bool:
        """Whether a byte of the body has left; without one no provider can have worked."""
        return self.tracker.bytes_written > 0

    def payload(self, body: bytes) -> Payload:
        """Dress a body so that its sending is noticed: headers leave together with the first of its bytes."""
        if len(body) <= _PLAIN_BYTES_MAX:
            return _Small(body, self._on_send)
        return _Large(body, self._on_send)


class _Small(BytesPayload):
    def __init__(self, body: bytes, on_send: Callable[[], None]) -> None:
        super().__init__(body)
        self._on_send = on_send

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        self._on_send()
        await super().write_with_length(writer, content_length)


class _Large(BytesIOPayload):
    def __init__(self, body: bytes, on_send: Callable[[], None]) -> None:
        super().__init__(BytesIO(body))
        self._on_send = on_send

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        self._on_send()
        await super().write_with_length(writer, content_length)
