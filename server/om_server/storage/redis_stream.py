"""The queue in Redis, for more appends than a database takes.

A batch is acknowledged only after the settling transaction has committed. A crash between the two
brings it back, and settlement finds every identity taken. What a dead worker had is claimed after a
minute by any other. Redis may lose everything: the group is made again, and edges send again.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from om_server.core.errors import DependencyUnavailable
from om_server.storage.queue import Batch, batches_wanted, fitting
from om_server.storage.stream_group import ABANDONED_AFTER_US, StreamGroup

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import redis

    from om_server.core.clock import Clock
    from om_server.storage.database import Database
    from om_server.storage.queue import Settle

#: Shorter than Redis may take to answer, and than anybody minds at a stop.
_BLOCK_MAX_S = 0.5


@dataclass(frozen=True, slots=True)
class _Taken:
    """A batch that was delivered to this process and is neither finished nor postponed."""

    batch: Batch
    take_time: int


class RedisStream:
    """A queue over one stream. Each worker has an instance of its own; any thread may append."""

    def __init__(
        self,
        client: redis.Redis,
        database: Database,
        clock: Clock,
        *,
        abandoned_after_us: int = ABANDONED_AFTER_US,
    ) -> None:
        self._group = StreamGroup(client, abandoned_after_us=abandoned_after_us)
        self._database = database
        self._clock = clock
        self._abandoned_after_us = abandoned_after_us
        self._taken: dict[str, _Taken] = {}
        self._after_commit: list[Callable[[], None]] | None = None
        self._woken = threading.Event()

    def append(self, batches: Sequence[Batch]) -> None:
        """Add one entry for each batch; `Overloaded` if Redis is full."""
        if batches:
            self._group.append(batches, self._clock())

    def process(self, event_count_max: int, settle: Settle) -> bool:
        """Claim, settle in a transaction, and acknowledge once it has committed.

        Redis is never asked while the transaction is open: on SQLite that would hold up every writer.
        """
        batches = self._claim(event_count_max)
        if not batches:
            return False
        changes = self._after_commit = []
        try:
            self._database.write(lambda: settle(batches))
        finally:
            self._after_commit = None
        for change in changes:
            change()
        return True

    def finish(self, batches: Sequence[Batch]) -> None:
        """Acknowledge and delete; inside `process`, when the transaction has committed."""
        if batches:
            self._change(lambda: self._finish(batches))

    def postpone(self, batch: Batch, retry_time: int) -> None:
        """Set the batch aside until it is due; inside `process`, when the transaction has committed."""
        self._change(lambda: self._postpone(batch, retry_time))

    def status(self, organization_id: str) -> tuple[int, int | None]:
        """Read the organization's own set of batches.

        It changes in the same Redis transactions as the stream, so it is exact unless keys are deleted
        by hand. An append that was done twice because its answer got lost counts once.
        """
        return self._group.waiting(organization_id)

    def backlog(self) -> tuple[int, int | None]:
        """Count the stream, from which what is settled is deleted; what is postponed is in it."""
        return self._group.backlog()

    def search(self, organization_id: str, text: str) -> Sequence[str]:
        """Find nothing: a stream is of all organizations, and can only be read from end to end."""
        del organization_id, text
        return ()

    def incarnation(self) -> str:
        """Read what is kept beside the stream."""
        return self._group.incarnation()

    def wait(self, timeout_s: float) -> None:
        """Block on the stream, which an append by any process ends."""
        # What is taken already has just failed, and must not be joined by more.
        if not self._taken and not self._woken.is_set():
            try:
                self._take(self._group.read(1, block_s=min(timeout_s, _BLOCK_MAX_S)))
            except DependencyUnavailable:
                pass  # It may have said so at once, and the caller would come back at once.
            else:
                return
        if self._woken.wait(timeout_s):
            self._woken.clear()

    def wake(self) -> None:
        """End the next `wait`; one that blocks ends by itself soon."""
        self._woken.set()

    def _change(self, change: Callable[[], None]) -> None:
        if self._after_commit is None:
            change()
        else:
            self._after_commit.append(change)

    def _finish(self, batches: Sequence[Batch]) -> None:
        self._group.acknowledge(batches)
        self._release(batches)

    def _postpone(self, batch: Batch, retry_time: int) -> None:
        self._group.set_aside(batch, retry_time)
        self._release([batch])

    def _claim(self, event_count_max: int) -> list[Batch]:
        """Choose from what was taken before, what is due again, what was abandoned, and what is new."""
        now = self._clock()
        # Of these Redis thinks that they were abandoned, so they are for whoever claims them.
        stale = [
            each.batch for each in self._taken.values() if now - each.take_time > self._abandoned_after_us
        ]
        self._release(stale)
        if self._held_events() < event_count_max:
            self._take(self._group.claim_due(now))
            self._take(self._group.claim_abandoned())
        while self._held_events() < event_count_max:
            wanted = batches_wanted(event_count_max, self._held())
            found = self._group.read(wanted)
            self._take(found)
            if len(found) < wanted:
                break
        return fitting(event_count_max, self._held())

    def _take(self, batches: Iterable[Batch]) -> None:
        now = self._clock()
        for batch in batches:
            known = self._taken.get(batch.receipt)
            # What we have claimed from ourselves did not come to nothing.
            self._taken[batch.receipt] = _Taken(known.batch if known else batch, now)

    def _release(self, batches: Iterable[Batch]) -> None:
        for batch in batches:
            self._taken.pop(batch.receipt, None)

    def _held(self) -> list[Batch]:
        return [taken.batch for taken in self._taken.values()]

    def _held_events(self) -> int:
        return sum(batch.event_count for batch in self._held())
