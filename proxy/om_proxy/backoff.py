"""Pauses between attempts: each is drawn up to a limit that doubles, so that edges never return together."""

from __future__ import annotations

import asyncio
import random


class Backoff:
    """Full jitter for one thing that is tried again and again."""

    def __init__(self, first_s: float, *, most_s: float) -> None:
        """The first pause is at most `first_s`, none more than `most_s`."""
        self._first_s = self._limit_s = first_s
        self._most_s = most_s

    def next_s(self) -> float:
        """Draw the next pause."""
        pause_s = random.uniform(0, self._limit_s)  # noqa: S311 - spreads load, hides nothing
        self._limit_s = min(self._limit_s * 2, self._most_s)
        return pause_s

    async def pause(self) -> None:
        """Wait for the next pause."""
        await asyncio.sleep(self.next_s())

    def reset(self) -> None:
        """Begin again at the first pause: an attempt succeeded."""
        self._limit_s = self._first_s
