"""Positions of a journal that are settled: explicit ranges, between which nothing is implied."""

from __future__ import annotations

import bisect


class Ranges:
    """A set of positive integers that arrive in runs, kept as few disjoint runs in order."""

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []

    def add(self, first: int, last: int) -> None:
        """Add a run, both ends included. Runs may overlap and may come in any order."""
        # Every run that touches this one, also from next door, becomes part of it.
        low = bisect.bisect_left(self._lasts, first - 1)
        high = bisect.bisect_right(self._firsts, last + 1)
        if low < high:
            first, last = min(first, self._firsts[low]), max(last, self._lasts[high - 1])
        self._firsts[low:high] = [first]
        self._lasts[low:high] = [last]

    def cover(self, first: int, last: int) -> bool:
        """Whether every number of the run is there. An empty run always is."""
        if first > last:
            return True
        index = bisect.bisect_right(self._firsts, first) - 1
        return index >= 0 and last <= self._lasts[index]

    def count(self, first: int, last: int) -> int:
        """How many numbers of a run are there."""
        runs = zip(self._firsts, self._lasts, strict=True)
        return sum(max(0, min(last, high) - max(first, low) + 1) for low, high in runs)

    def __contains__(self, number: int) -> bool:
        return self.cover(number, number)
