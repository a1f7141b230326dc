"""Queues of every kind over every database, at a time that the test sets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from om_server.storage.inbox import SqlInbox
from om_server.storage.queue import Batch
from om_server.storage.redis_stream import RedisStream

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from om_server.storage.database import Database
    from om_server.storage.queue import Queue
    from tests.redis_server import RedisServer

SECOND = 1_000_000


def batch(batch_id: str, event_count: int = 1, *, organization_id: str = "org") -> Batch:
    return Batch(organization_id, batch_id, envelope="{}", event_count=event_count)


def numbered(count: int, event_count: int = 1) -> list[Batch]:
    return [batch(f"bat_{number:05}", event_count) for number in range(count)]


@dataclass
class Consumer:
    """A worker that settles nothing and remembers what it was given."""

    queue: Queue
    given: list[Batch] = field(default_factory=list)

    def take(self, event_count_max: int = 1000) -> list[str]:
        """Finish what the queue gives at once, and name it."""
        before = len(self.given)

        def settle(batches: Sequence[Batch]) -> None:
            self.given += batches
            self.queue.finish(batches)

        processed = self.queue.process(event_count_max, settle)
        assert processed is (len(self.given) > before)
        return [each.batch_id for each in self.given[before:]]

    def take_all(self, event_count_max: int = 1000) -> list[str]:
        found: list[str] = []
        while taken := self.take(event_count_max):
            found += taken
        return found

    def fail(self, error: BaseException, event_count_max: int = 1000) -> list[Batch]:
        """Be given batches, and fail when they are finished and before the commit."""
        seen: list[Batch] = []

        def settle(batches: Sequence[Batch]) -> None:
            seen.extend(batches)
            self.queue.finish(batches)
            raise error

        with pytest.raises(type(error)):
            self.queue.process(event_count_max, settle)
        return seen


@dataclass
class Workplace:
    """One queue that any number of workers look at."""

    make: Callable[[int], Queue]
    now: list[int]

    def worker(self, *, abandoned_after_us: int = 60 * SECOND) -> Consumer:
        """One more worker, which takes over after this time what others were given; in Redis, that is."""
        return Consumer(self.make(abandoned_after_us))


@pytest.fixture(params=["inbox", "redis"])
def workplace(request: pytest.FixtureRequest, database: Database) -> Workplace:
    now = [1_000 * SECOND]
    if request.param == "inbox":
        return Workplace(lambda _: SqlInbox(database, lambda: now[0]), now)
    server: RedisServer = request.getfixturevalue("redis_server")
    return Workplace(
        lambda after: RedisStream(server.client, database, lambda: now[0], abandoned_after_us=after), now
    )


@pytest.fixture
def worker(workplace: Workplace) -> Consumer:
    return workplace.worker()
