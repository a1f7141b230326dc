"""Bounded caches of answers with a time to live, for one event loop."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from om_proxy.defect import log_defect
from om_proxy.server.server_client import ServerAway, ServerRefused

#: An answer is asked for again when so much of its time is over, so that no call has to wait for it.
_REFRESH_SHARE = 1 / 3
#: What could not be asked ahead is tried again so much later.
_RETRY_S = 1.0

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


@dataclass(slots=True)
class Entry(Generic[V]):
    """An answer and how long it is believed. It stays behind that time, for while the server is away."""

    value: V
    told_at: float
    good_until: float
    refresh_at: float


@dataclass(frozen=True, slots=True)
class Told(Generic[V]):
    """An answer as it came, with how long it holds."""

    value: V
    good_for_s: float


#: Asks the server. ServerAway or ServerRefused where there is no answer.
Question = Callable[[], Awaitable[Told[V]]]


class AnswerCache(Generic[K, V]):
    """Answers of the server: asked for by one at a time, again ahead of their end, and dropped on its word.

    What was asked before something was dropped may have been answered before the change: it is given to
    who asked, and not kept.
    """

    def __init__(self, size_max: int, clock: Callable[[], float]) -> None:
        self._entries: OrderedDict[K, Entry[V]] = OrderedDict()
        self._size_max = size_max
        self._clock = clock
        self._flights: dict[K, asyncio.Task[V]] = {}
        self._generation = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def generation(self) -> int:
        """Changes whenever something is dropped."""
        return self._generation

    def get(self, key: K) -> Entry[V] | None:
        """Give what is known, also where it is not good any more."""
        return self._entries.get(key)

    def put(self, key: K, told: Told[V], *, generation: int) -> None:
        """Keep an answer, unless something was dropped since it was asked for."""
        if generation != self._generation:
            return
        now = self._clock()
        refresh_at = now + told.good_for_s * _REFRESH_SHARE
        self._entries[key] = Entry(told.value, now, now + told.good_for_s, refresh_at)
        self._entries.move_to_end(key)
        if len(self._entries) > self._size_max:
            self._entries.popitem(last=False)

    def drop(self, doomed: Callable[[K, V], bool]) -> None:
        """Forget every answer of which that is true."""
        self._generation += 1
        for key in [key for key, entry in self._entries.items() if doomed(key, entry.value)]:
            del self._entries[key]

    def renew(self, doubtful: Callable[[K, V], bool]) -> None:
        """Ask again at the next use of every answer of which that is true; until then it holds."""
        self._generation += 1
        now = self._clock()
        for key, entry in self._entries.items():
            if doubtful(key, entry.value):
                entry.refresh_at = now

    def doubt(self, doubtful: Callable[[K, V], bool]) -> None:
        """Ask again before the next use of every answer of which that is true; it holds if nobody answers."""
        self._generation += 1
        now = self._clock()
        for key, entry in self._entries.items():
            if doubtful(key, entry.value):
                entry.good_until = entry.refresh_at = now

    def clear(self) -> None:
        """Forget everything."""
        self._generation += 1
        self._entries.clear()

    async def ask(self, key: K, question: Question[V]) -> V:
        """Ask, or wait for who is asking already. A caller who leaves does not take the answer along."""
        return await asyncio.shield(self._flight(key, question))

    def ask_behind(self, key: K, question: Question[V]) -> None:
        """Ask without waiting for it, unless somebody is asking already."""
        _ = self._flight(key, question)

    async def close(self) -> None:
        """Give up what is being asked."""
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)

    def _flight(self, key: K, question: Question[V]) -> asyncio.Task[V]:
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = asyncio.create_task(self._run(key, question))
            flight.add_done_callback(lambda done: self._landed(key, done))
        return flight

    async def _run(self, key: K, question: Question[V]) -> V:
        generation = self._generation
        told = await question()
        self.put(key, told, generation=generation)
        return told.value

    def _landed(self, key: K, flight: asyncio.Task[V]) -> None:
        self._flights.pop(key, None)
        if flight.cancelled() or (error := flight.exception()) is None:
            return
        if isinstance(error, Exception) and not isinstance(error, ServerAway | ServerRefused):
            log_defect("question_failed", error)
        entry = self._entries.get(key)
        if entry is not None:
            entry.refresh_at = self._clock() + _RETRY_S
