"""Takes batches from the queue and settles them, until it is told to stop.

A batch is claimed, settled and deleted in one transaction. A batch that fails is taken apart: its
events are settled one by one, and those that fail alone are set aside as dead letters.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from om_server.core.clock import MICROS_PER_SECOND
from om_server.core.errors import DependencyUnavailable, DomainError
from om_server.ingestion import envelope
from om_server.ingestion.store import DeadLetter, IngestionStore

if TYPE_CHECKING:
    from om_server.core.clock import Clock
    from om_server.core.event import Event
    from om_server.core.ids import IdSource
    from om_server.pipeline.settle import Settler
    from om_server.storage.database import Database
    from om_server.storage.queue import Batch, SqlInbox

_log = structlog.get_logger(__name__)

_RETRY_DELAY = 2 * MICROS_PER_SECOND


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
        inbox: SqlInbox,
        settler: Settler,
        *,
        store: IngestionStore,
        ids: IdSource,
        clock: Clock,
        limits: WorkerLimits,
    ) -> None:
        self._database = database
        self._inbox = inbox
        self._settler = settler
        self._store = store
        self._ids = ids
        self._clock = clock
        self._limits = limits
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self.run, name="settle", daemon=True)

    def start(self) -> None:
        """Settle on a thread of this process."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the transaction that runs, and no more."""
        self._stopping.set()
        self._inbox.arrived.set()
        if self._thread.is_alive():
            self._thread.join()

    def run(self) -> None:
        """Settle on this thread until `stop` is called from another."""
        while not self._stopping.is_set():
            self._inbox.arrived.clear()
            try:
                settled = self.settle_once()
            except DependencyUnavailable:
                _log.warning("settle_postponed", reason="database unavailable")
                settled = False
            except Exception:  # noqa: BLE001 - the outermost loop lives on
                # The outermost loop of the process: it lives on, and the log has the cause.
                _log.exception("settle_failed")
                settled = False
            if not settled:
                self._inbox.arrived.wait(self._limits.poll_interval_s)

    def settle_once(self) -> bool:
        """Settle what is due, at most one transaction's worth; tell whether there was anything."""
        claimed: list[Batch] = []
        try:
            return self._database.write(lambda: self._settle_claimed(claimed))
        except DependencyUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not stop the neighbours
            _log.warning("batch_taken_apart", batches=len(claimed), cause=type(error).__name__)
        for batch in claimed:
            self._take_apart(batch)
        return bool(claimed)

    def _settle_claimed(self, claimed: list[Batch]) -> bool:
        claimed.extend(self._inbox.claim(self._limits.event_count_max))
        if not claimed:
            return False
        read = [(batch, events) for batch in claimed if (events := self._read(batch)) is not None]
        self._settler.settle([event for _, events in read for event in events])
        self._inbox.finish([batch for batch, _ in read])
        return True

    def _read(self, batch: Batch) -> list[Event] | None:
        """Read a batch. One that cannot be read stays for a newer worker, and is tried again later."""
        try:
            return envelope.unpack(batch.envelope)
        except envelope.EnvelopeUnreadable:
            _log.error("envelope_unreadable", organization_id=batch.organization_id, batch_id=batch.batch_id)
            self._inbox.postpone(batch, self._clock() + _RETRY_DELAY)
            return None

    def _take_apart(self, batch: Batch) -> None:
        """Settle each event in its own transaction; the identities make a second attempt harmless."""
        events = self._read(batch)
        if events is None:
            return
        for event in events:
            try:
                self._settler.settle([event])
            except DependencyUnavailable:
                raise
            except Exception as error:  # noqa: BLE001 - one event must not stop its neighbours
                _log.warning("event_set_aside", event_id=event.event_id, cause=type(error).__name__)
                self._set_aside(event, batch, error)
        self._database.write(lambda: self._inbox.finish([batch]))

    def _set_aside(self, event: Event, batch: Batch, error: Exception) -> None:
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
