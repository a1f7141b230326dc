"""How much lies in the stores, of all organizations together: for whoever runs the installation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from om_server.core.clock import MICROS_PER_SECOND
from om_server.storage.tenancy import seeing_everybody

if TYPE_CHECKING:
    from om_server.core.clock import Clock
    from om_server.ingestion.store import IngestionStore
    from om_server.storage.database import Database
    from om_server.storage.queue import Queue
    from om_server.wallet.operations import WalletOperations


@dataclass(frozen=True, slots=True)
class StoreFigures:
    """What waits, and what is set aside."""

    queued_batches: int
    oldest_wait_s: float
    dead_letters: int
    leases: int
    #: Nano-credits; a sum over all wallets may be beyond an amount, so it is no exact one.
    held_nanos: float


class StoreReader:
    """Reads the figures, each with a statement that is bounded by what is open and not by what ever was."""

    def __init__(
        self,
        database: Database,
        queue: Queue,
        *,
        ingestion: IngestionStore,
        wallet: WalletOperations,
        clock: Clock,
    ) -> None:
        self._database = database
        self._queue = queue
        self._ingestion = ingestion
        self._wallet = wallet
        self._clock = clock

    def read(self) -> StoreFigures:
        """Read them all; DependencyUnavailable where a store does not answer."""
        with seeing_everybody():
            count, oldest = self._queue.backlog()
            letters = self._database.read(self._ingestion.count_letters_of_all)
            leases, held = self._wallet.lease_totals()
        waited = 0 if oldest is None else max(0, self._clock() - oldest)
        return StoreFigures(count, waited / MICROS_PER_SECOND, letters, leases, held)
