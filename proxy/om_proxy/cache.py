"""A bounded cache of answers with a time to live, for one event loop."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class ExpiringCache(Generic[K, V]):
    """Keeps the newest entries; each ends at a time of its own on the monotonic clock."""

    def __init__(self, size_max: int, clock: Callable[[], float]) -> None:
        self._entries: OrderedDict[K, tuple[float, V]] = OrderedDict()
        self._size_max = size_max
        self._clock = clock

    def get(self, key: K) -> V | None:
        """Give what is known and still holds."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry[0] <= self._clock():
            del self._entries[key]
            return None
        return entry[1]

    def put(self, key: K, value: V, *, time_to_live_s: float) -> None:
        """Keep an answer, and drop the oldest where there are too many."""
        self._entries[key] = (self._clock() + time_to_live_s, value)
        self._entries.move_to_end(key)
        if len(self._entries) > self._size_max:
            self._entries.popitem(last=False)
