"""How long answers are waited for: one timer for all of them, because each may take equally long.

A timer for each call, made and taken away again, would cost more than the waiting.
"""

from __future__ import annotations

import asyncio
from types import TracebackType


class Patience:
    """Everybody who waits, in the order in which they began, which is that in which they give up."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._waiting: dict[Wait, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def wait(self) -> Wait:
        """Let the task that enters this block wait so long in it, and get a TimeoutError then."""
        return Wait(self)

    def begin(self, wait: Wait) -> float:
        """Take in one more, and tell until when."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + self._limit_s
        self._waiting[wait] = None
        if self._timer is None:
            self._timer = loop.call_at(ends_at, self._look)
        return ends_at

    def end(self, wait: Wait) -> None:
        """Let one go, who may have given up."""
        self._waiting.pop(wait, None)

    def _look(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        while self._waiting:
            oldest = next(iter(self._waiting))
            if oldest.ends_at > now:
                self._timer = loop.call_at(oldest.ends_at, self._look)
                return
            del self._waiting[oldest]
            oldest.give_up()


class Wait:
    """One task that waits. As a timeout of the library, it tells its own end from another's cancelling."""

    __slots__ = ("_cancelling", "_gave_up", "_patience", "_task", "ends_at")

    def __init__(self, patience: Patience) -> None:
        self.ends_at = 0.0
        self._patience = patience
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self._gave_up = False

    def give_up(self) -> None:
        """End the waiting."""
        self._gave_up = True
        if self._task is not None:
            self._task.cancel()

    def __enter__(self) -> None:
        self._task = asyncio.current_task()
        if self._task is None:
            raise RuntimeError("only a task can wait")
        self._cancelling = self._task.cancelling()
        self.ends_at = self._patience.begin(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._patience.end(self)
        if not self._gave_up or self._task is None:
            return
        if self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error
