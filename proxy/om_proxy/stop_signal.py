"""How a process of the proxy is told to end, and to end at once."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable

#: What a shell says of a process that was interrupted.
_INTERRUPTED = 130


class Grace:
    """How long calls may still go on, from when the process began to end."""

    def __init__(self, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._until: float | None = None

    def left_s(self) -> float:
        """Say what is left of it; the first question begins it."""
        if self._until is None:
            self._until = self._clock() + self._seconds
        return max(0.0, self._until - self._clock())


async def stop_signal(*, again: Callable[[], None] | None = None) -> None:
    """Wait for SIGINT or SIGTERM. From then on a further one calls `again`; without it, it does nothing."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        if stopped.is_set() and again is not None:
            again()
        stopped.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal)
    await stopped.wait()


def leave_at_once() -> None:
    """End without letting calls end: what is journalled tells the next start of them."""
    os._exit(_INTERRUPTED)
