"""A provider's answer: its head, and its body as it arrives, held back where nobody takes it."""

from __future__ import annotations

import asyncio
from typing import Protocol

from om_proxy.upstream.headers import RawHeaders, value_of

#: Of a body that nobody takes: above it the provider is held back.
HELD_BYTES_MAX = 128 * 1024


class UpstreamBroken(Exception):
    """The answer ended before its end, or stood still for too long."""


class Flow(Protocol):
    """What an answer comes over."""

    def pause(self) -> None:
        """Read nothing more for now."""
        ...

    def resume(self) -> None:
        """Read on."""
        ...

    def drop(self) -> None:
        """End the connection: the rest of the answer is not wanted."""
        ...


class Answer:
    """One answer. Its connection feeds it, one reader takes from it."""

    __slots__ = ("_failed", "_flow", "_held", "_parts", "_waiter", "closed", "headers", "reason", "status")

    def __init__(self, flow: Flow, status: int, reason: bytes, headers: RawHeaders) -> None:
        self.status = status
        self.reason = reason
        #: As they were written, in their order.
        self.headers = headers
        #: Whether nobody here wants more of it.
        self.closed = False
        #: None once nothing more can come.
        self._flow: Flow | None = flow
        self._failed = False
        self._parts: list[bytes] = []
        #: Bytes that wait; not counted any more once nothing can come.
        self._held = 0
        self._waiter: asyncio.Future[None] | None = None

    @property
    def whole(self) -> bool:
        """Whether all of it is here, and nothing has to be waited for."""
        return self._flow is None and not self._failed

    def header(self, name: bytes) -> str:
        """Give a header by its name in small letters, the first where there are several; empty is none."""
        return (value_of(self.headers, name) or b"").decode("latin-1")

    def take(self) -> bytes:
        """Take what is here."""
        parts, self._parts = self._parts, []
        if self._held > HELD_BYTES_MAX and self._flow is not None:
            self._flow.resume()
        self._held = 0
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def part(self) -> bytes:
        """Wait for the next bytes; none at the end. UpstreamBroken."""
        while not self._parts:
            if self._flow is None:
                if self._failed:
                    raise UpstreamBroken
                return b""
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self.take()

    def close(self) -> None:
        """Want no more of it. After the end this changes nothing."""
        flow, self.closed = self._flow, True
        if flow is not None:
            self.fail()
            flow.drop()

    def feed(self, part: bytes) -> None:
        """Take in bytes of the body; `tell` follows once all that came together is in."""
        self._parts.append(part)
        before, self._held = self._held, self._held + len(part)
        if before <= HELD_BYTES_MAX < self._held and self._flow is not None:
            self._flow.pause()

    def tell(self) -> None:
        """Wake the reader."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def finish(self) -> None:
        """Note that this was all."""
        self._flow = None
        self.tell()

    def fail(self) -> None:
        """Note that the rest will not come. After the end this changes nothing."""
        if self._flow is not None:
            self._failed = True
            self.finish()
