"""Which life the store is in, as every answer says. A store that was restored has forgotten leases."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Incarnation:
    """The last one that was seen. Whoever must know of a change says so first."""

    def __init__(self) -> None:
        self.current = ""
        #: Set as soon as any answer has said it.
        self.known = asyncio.Event()
        self._listeners: list[Callable[[], None]] = []

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call it whenever the store is another one than it was; those that say so first, first."""
        self._listeners.append(listener)

    def note(self, seen: str) -> None:
        """Take in what an answer says; nothing is no news."""
        if not seen or seen == self.current:
            return
        before, self.current = self.current, seen
        self.known.set()
        if before:
            self._changed()

    def forget(self) -> None:
        """Take in that the store is another one, before any answer has said which."""
        self.current = ""
        self._changed()

    def _changed(self) -> None:
        for listener in self._listeners:
            listener()
