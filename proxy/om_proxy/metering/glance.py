"""Whole events of a stream in which nothing is to be read are passed over together.

Nearly all events of a stream are text, and splitting them costs more than passing them on.
"""

from __future__ import annotations

from collections.abc import Callable

#: Ends an event, whatever ends its lines; other ways to end one are read line by line.
_END = b"\n\n"


class Glance:
    """Takes a stream's bytes and gives those that have to be split into events."""

    def __init__(self, nothing_in: Callable[[bytes], bool]) -> None:
        """`nothing_in` sees whole events, and takes them where none has to be read."""
        self._nothing_in = nothing_in
        self._inside = True  # Of an event whose beginning was given already, or was not seen.

    def feed(self, piece: bytes) -> bytes:
        """Give what has to be split: the ends of events that were begun, and events that say something."""
        start = 0
        if self._inside:
            found = piece.find(_END)
            if found < 0:
                return piece
            start = found + len(_END)
        found = piece.rfind(_END, start)
        end = start if found < 0 else found + len(_END)
        self._inside = end < len(piece)
        if end > start and self._nothing_in(piece[start:end]):
            return piece[:start] + piece[end:]
        return piece
