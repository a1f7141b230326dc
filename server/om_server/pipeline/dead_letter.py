"""The money of edges' events that were set aside: their leases count them, and what they keep is held.

A letter is written by intake or by a worker; its money moves in a transaction of its own, later. Until
then it stays on its lease, which waits for the event.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from om_server.core.errors import DependencyUnavailable, DomainError
from om_server.core.event import EdgePosition, Funding
from om_server.core.ids import id_pattern
from om_server.ingestion import envelope
from om_server.pipeline.settled_ranges import by_epoch
from om_server.storage.change_log import ChangeLog
from om_server.wallet.charging import Charge
from om_server.wallet.holds.escrow import EscrowKind

if TYPE_CHECKING:
    from om_server.ingestion.store import DeadLetter, IngestionStore
    from om_server.storage.database import Database
    from om_server.wallet.operations import WalletOperations

_log = structlog.get_logger(__name__)

#: Letters in one call; each has its own transaction.
_LIMIT = 100


class TwinSettled(Exception):
    """A twin of the letter was settled, which counted for both."""


class LetterCounter:
    """Moves what dead letters keep to holds that are named by their events."""

    def __init__(self, database: Database, ingestion: IngestionStore, wallet: WalletOperations) -> None:
        self._database = database
        self._ingestion = ingestion
        self._wallet = wallet
        self._log = ChangeLog(database)
        self._failed: set[str] = set()

    def count(self) -> int:
        """Count some letters that nobody has counted; return how many."""
        letters = self._database.read(lambda: self._ingestion.uncounted_letters(_LIMIT))
        waiting = [letter for letter in letters if letter.dead_letter_id not in self._failed]
        for letter in waiting:
            self._count(letter)
        return len(waiting)

    def _count(self, letter: DeadLetter) -> None:
        try:
            self._database.write(lambda: self.move(letter))
        except TwinSettled:
            self._database.write(lambda: self.mark_counted(letter))
        except DependencyUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - one letter must not stop the others
            # Its money stays on its lease, where an owner finds it.
            self._failed.add(letter.dead_letter_id)
            _log.error("dead_letter_not_counted", event_id=letter.event_id, cause=type(error).__name__)

    def move(self, letter: DeadLetter) -> None:
        """Count a letter in the caller's transaction, which `TwinSettled` undoes; again moves nothing."""
        charge = _charge(letter)
        if charge is not None:
            self._wallet.settle_charges(letter.organization_id, [charge])
        # Behind the locks on the leases: a twin that settled before is seen here, and one that settles
        # later sees the hold.
        identity = (letter.source, letter.event_id)
        if self._ingestion.payload_hashes(letter.organization_id, [identity]):
            raise TwinSettled
        self.mark_counted(letter)

    def mark_counted(self, letter: DeadLetter) -> None:
        """Remember that its money was moved, which ends it for the edge."""
        self._ingestion.mark_counted(letter)
        for (edge_id, edge_epoch), ranges in by_epoch(_positions(letter)).items():
            self._log.note_settled(edge_id, edge_epoch, ranges)


def _positions(letter: DeadLetter) -> list[EdgePosition]:
    try:
        return [event.edge for event in envelope.unpack(letter.envelope) if event.edge is not None]
    except DomainError:
        unread = envelope.unpack_unread(letter.envelope)
        return [EdgePosition(unread.edge_id, unread.edge_epoch, unread.sequence)]


def _charge(letter: DeadLetter) -> Charge | None:
    """Return what the letter keeps; None for one that names no lease."""
    try:
        [event] = envelope.unpack(letter.envelope)
    except DomainError:
        unread = envelope.unpack_unread(letter.envelope)
        edge_id, wallet_id = unread.edge_id, unread.wallet_id
        # What it kept cannot be trusted where the rest cannot be read; its bound is never less.
        funding = tuple(Funding(part.lease_id, part.bound, part.bound) for part in unread.funding)
    else:
        edge_id, wallet_id = event.edge.edge_id if event.edge else "", event.wallet_id
        funding = event.funding
    known = tuple(
        part for part in funding if id_pattern("lse").fullmatch(part.lease_id) and part.retained >= 0
    )
    if not known or not edge_id:
        return None
    return Charge(
        source=letter.source,
        event_id=letter.event_id,
        amount=0,
        wallet_id=wallet_id,
        funding=known,
        edge_id=edge_id,
        keep=EscrowKind.DEAD_LETTER,
    )
