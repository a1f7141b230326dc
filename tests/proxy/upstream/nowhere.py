"""What an answer comes over that comes over nothing."""

from __future__ import annotations


class Nowhere:
    """Notes what is wanted of it."""

    def __init__(self) -> None:
        self.wanted: list[str] = []

    def pause(self) -> None:
        self.wanted.append("pause")

    def resume(self) -> None:
        self.wanted.append("resume")

    def drop(self) -> None:
        self.wanted.append("drop")
