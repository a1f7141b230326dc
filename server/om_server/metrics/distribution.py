"""How often something took how long: plain numbers, because a batch notes many at once."""

from __future__ import annotations

import bisect
import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class Distribution:
    """Counts by upper bound. One thread writes, or all do under a lock of their own; any thread reads."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self.total = 0.0

    def note(self, value: float, *, times: int = 1) -> None:
        """Count a value."""
        self._counts[bisect.bisect_left(self._bounds, value)] += times
        self.total += value * times

    def buckets(self) -> list[tuple[str, float]]:
        """Give upper bounds and how many were at most so large, as Prometheus has them."""
        names = [*map(str, self._bounds), "+Inf"]
        return list(zip(names, itertools.accumulate(map(float, self._counts)), strict=True))
