"""A request's body on its way to a provider: when its first byte leaves, and whether one did."""

from __future__ import annotations

from collections.abc import Callable


def _nothing() -> None:
    """Nobody wants to know."""


class Upload:
    """One request, also for whoever asks after it was given up."""

    __slots__ = ("_on_send", "body", "sent")

    def __init__(self, body: bytes, on_send: Callable[[], None] = _nothing) -> None:
        """`on_send` is called just before the first byte leaves; if it fails, none does."""
        self.body = body
        #: Whether a byte has left; without one no provider can have worked.
        self.sent = False
        self._on_send = on_send

    def begins(self) -> None:
        """Note that the first byte leaves now."""
        self._on_send()
        self.sent = True
