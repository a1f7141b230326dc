"""From the queue in the database to the one in Redis, while events wait in the first.

New batches go to Redis. What a server without Redis left in the database, or another one that does
not know of Redis yet still puts there, is settled as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from om_server.storage.inbox import SqlInbox
    from om_server.storage.queue import Batch, Settle
    from om_server.storage.redis_stream import RedisStream


class Handover:
    """A queue that appends to the stream and works off both."""

    def __init__(self, inbox: SqlInbox, stream: RedisStream) -> None:
        self._inbox = inbox
        self._stream = stream

    def append(self, batches: Sequence[Batch]) -> None:
        self._stream.append(batches)

    def process(self, event_count_max: int, settle: Settle) -> bool:
        """Settle what waits in the database first: it is older, and usually nothing."""
        return self._inbox.process(event_count_max, settle) or self._stream.process(event_count_max, settle)

    def finish(self, batches: Sequence[Batch]) -> None:
        """Tell each queue of its own batches. Only those of the stream have a receipt."""
        self._inbox.finish([batch for batch in batches if not batch.receipt])
        self._stream.finish([batch for batch in batches if batch.receipt])

    def postpone(self, batch: Batch, retry_time: int) -> None:
        queue = self._stream if batch.receipt else self._inbox
        queue.postpone(batch, retry_time)

    def status(self, organization_id: str) -> tuple[int, int | None]:
        """Both together."""
        return _together(*[queue.status(organization_id) for queue in (self._inbox, self._stream)])

    def backlog(self) -> tuple[int, int | None]:
        """Both together."""
        return _together(self._inbox.backlog(), self._stream.backlog())

    def search(self, organization_id: str, text: str) -> Sequence[str]:
        """Both together."""
        return [*self._inbox.search(organization_id, text), *self._stream.search(organization_id, text)]

    def incarnation(self) -> str:
        """Name the stream's: the other shares the life of the database."""
        return self._stream.incarnation()

    def wait(self, timeout_s: float) -> None:
        self._stream.wait(timeout_s)

    def wake(self) -> None:
        self._stream.wake()


def _together(*both: tuple[int, int | None]) -> tuple[int, int | None]:
    oldest = min((time for _, time in both if time is not None), default=None)
    return sum(count for count, _ in both), oldest
