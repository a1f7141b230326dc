"""Waiting for other processes, with the patience of a busy machine."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

PATIENCE_S = 30.0
_PAUSE_S = 0.02


def awaited(read: Callable[[], T]) -> T:
    """Read again and again until there is something."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := read()):
        assert time.monotonic() < deadline, f"{found!r} after {PATIENCE_S} s"
        time.sleep(_PAUSE_S)
    return found
