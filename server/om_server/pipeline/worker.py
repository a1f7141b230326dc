"""Takes batches from the queue and settles them, until it is told to stop.

Batches are settled together in one transaction, and the queue forgets them with it. A batch that
fails is taken apart by halving, and the events that fail alone are set aside as dead letters.
"""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from om_server.core.clock import MICROS_PER_SECOND
from om_server.core.errors import DomainError
from om_server.ingestion import envelope
from om_server.ingestion.store import DeadLetter, IngestionStore
from om_server.pipeline.isolation import halves, is_transient, isolate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from om_server.core.clock import Clock
    from om_server.core.event import Event
    from om_server.core.ids import IdSource
    from om_server.pipeline.settle import Settler
    from om_server.storage.database import Database
    from om_server.storage.queue import Batch, Queue

_log = structlog.get_logger(__name__)

#: After which a batch that could not be read is tried again: any time between these.
_RETRY_DELAY_MIN, _RETRY_DELAY_MAX = 1 * MICROS_PER_SECOND, 3 * MICROS_PER_SECOND
#: How many times less often a worker looks that has met what only a newer one can read.
_STANDS_BACK = 5


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """How much a worker takes at once, and how often it looks while nothing wakes it."""

    #: Sized so that SQLite's one write lock is held for about ten milliseconds.
    event_count_max: int = 500
    poll_interval_s: float = 0.1


class Worker:
    """One settling loop. Any number may run against PostgreSQL; exactly one against SQLite."""

    def __init__(  # noqa: PLR0913 - the parts of one loop, named by the composition root
        self,
        database: Database,
        queue: Queue,
        settler: Settler,
        *,
        store: IngestionStore,
        ids: IdSource,
        clock: Clock,
        limits: WorkerLimits,
        chores: Sequence[Callable[[], object]] = (),
    ) -> None:
        """`chores` are done between batches; each is short, and has its own transactions."""
        self._database = database
        self._queue = queue
        self._settler = settler
        self._store = store
        self._ids = ids
        self._clock = clock
        self._limits = limits
        self._chores = chores
        #: Whether the last batch that it met is for a newer worker, to which it leaves the first look then.
        self._is_behind = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self.run, name="settle", daemon=True)

    def start(self) -> None:
        """Settle on a thread of this process."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the transaction that runs, and no more."""
        self._stopping.set()
        self._queue.wake()
        if self._thread.is_alive():
            self._thread.join()

    def run(self) -> None:
        """Settle on this thread until `stop` is called from another."""
        while not self._stopping.is_set():
            try:
                settled = self.settle_once()
            except Exception as error:  # noqa: BLE001 - the outermost loop lives on, and the log has the cause
                if is_transient(error):
                    _log.warning("settle_postponed", reason=str(error))
                else:
                    _log.exception("settle_failed")
                settled = False
            if not settled:
                interval_s = self._limits.poll_interval_s
                self._queue.wait(interval_s * _STANDS_BACK if self._is_behind else interval_s)

    def settle_once(self) -> bool:
        """Settle what is due, at most one transaction's worth; tell whether there was anything."""
        settled = self._settle_due()
        self._settler.count_dead_letters()
        for chore in self._chores:
            chore()
        return settled

    def _settle_due(self) -> bool:
        claimed: list[Batch] = []

        def settle(batches: Sequence[Batch]) -> None:
            claimed.extend(batches)
            self._settle(batches)

        try:
            return self._queue.process(self._limits.event_count_max, settle)
        except Exception as error:
            if is_transient(error):
                raise
            _log.warning("batch_taken_apart", batches=len(claimed), cause=type(error).__name__)
        if claimed:
            self._take_apart(claimed)
        return bool(claimed)

    def _settle(self, batches: Sequence[Batch]) -> None:
        read = [(batch, events) for batch in batches if (events := self._read(batch)) is not None]
        self._settler.settle([event for _, events in read for event in events])
        self._queue.finish([batch for batch, _ in read])

    def _read(self, batch: Batch) -> list[Event] | None:
        """Read a batch. One that cannot be read stays for a newer worker, and is tried again later."""
        try:
            events = envelope.unpack(batch.envelope)
        except envelope.EnvelopeUnreadable:
            _log.error("envelope_unreadable", organization_id=batch.organization_id, batch_id=batch.batch_id)
            self._is_behind = True
            # Two workers that look equally often would else come to it in the same order again and again.
            delay = random.randint(_RETRY_DELAY_MIN, _RETRY_DELAY_MAX)  # noqa: S311 - no secret.
            self._queue.postpone(batch, self._clock() + delay)
            return None
        self._is_behind = False
        return events

    def _take_apart(self, batches: Sequence[Batch]) -> None:
        """Settle events in fewer and fewer; the identities make a second attempt harmless."""
        read = [(batch, events) for batch in batches if (events := self._read(batch)) is not None]
        placed = [(batch, event) for batch, events in read for event in events]
        isolate(
            halves(placed),
            lambda part: self._settler.settle([event for _, event in part]),
            failed=self._set_aside,
        )
        self._queue.finish([batch for batch, _ in read])

    def _set_aside(self, placed: tuple[Batch, Event], error: Exception) -> None:
        batch, event = placed
        _log.warning("event_set_aside", event_id=event.event_id, cause=type(error).__name__)
        # The text of an unexpected error may hold anything, so only its kind is kept.
        known = error if isinstance(error, DomainError) else None
        letter = DeadLetter(
            organization_id=event.organization_id,
            dead_letter_id=self._ids.new("dlt"),
            source=event.source,
            event_id=event.event_id,
            reason=known.reason if known else "INTERNAL",
            message=known.message if known else type(error).__name__,
            attempt_count=batch.attempt_count + 2,
            envelope=envelope.pack([event]),
            receive_time=event.receive_time,
            create_time=self._clock(),
        )
        self._database.write(lambda: self._store.add_dead_letter(letter))


def drain(worker: Worker) -> int:
    """Settle until nothing is due and return the number of transactions, for commands and tests."""
    count = 0
    while worker.settle_once():
        count += 1
    return count
