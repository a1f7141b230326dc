"""Ends an answer of which nothing comes for too long: one timer for a stream, however many parts it has."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Silence:
    """Whoever waits for the next part says so before and after. At the end it has to be stopped."""

    def __init__(self, give_up: Callable[[], None], limit_s: float) -> None:
        """`give_up` is called once nothing has come for so long."""
        self._give_up = give_up
        self._limit_s = limit_s
        self._loop = asyncio.get_running_loop()
        self._since: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def begins(self) -> None:
        """Say that from now on the next part is waited for."""
        self._since = self._loop.time()
        if self._timer is None:
            self._timer = self._loop.call_at(self._since + self._limit_s, self._look)

    def ends(self) -> None:
        """Say that it came. What the caller takes its time for is no silence."""
        self._since = None

    def stop(self) -> None:
        """Watch no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        """Moving the timer at each part would cost more than passing the part on."""
        self._timer = None
        if self._since is None:
            return
        ends_at = self._since + self._limit_s
        if self._loop.time() >= ends_at:
            self._give_up()
        else:
            self._timer = self._loop.call_at(ends_at, self._look)
