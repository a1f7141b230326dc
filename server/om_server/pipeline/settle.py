"""Settles usage events: identities, ratings, charges and rollups commit together or not at all.

A redelivered batch finds its identities taken and does nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from om_server.pipeline.dead_letter import LetterCounter
from om_server.pipeline.event_charging import EventCharging, Slices, unnoted
from om_server.pipeline.job_meeting import JobMeeting
from om_server.pipeline.settled_ranges import acknowledge
from om_server.storage.change_log import ChangeLog

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from om_server.analytics.settled import SettledEvent
    from om_server.core.clock import Clock
    from om_server.core.event import Event
    from om_server.pipeline.event_charging import Noted
    from om_server.storage.database import Database

__all__ = ["Settler", "Slices"]

_log = structlog.get_logger(__name__)


class Settler:
    """Settles events inside the caller's transaction, or in one of its own."""

    def __init__(self, database: Database, slices: Slices, clock: Clock, *, settled: Noted = unnoted) -> None:
        """`settled` is told of events once they have been committed."""

        def note(events: Sequence[SettledEvent]) -> None:
            database.once_committed(lambda: settled(events))

        self._database = database
        self._slices = slices
        self._charging = EventCharging(slices, clock, settled=note)
        self._jobs = JobMeeting(slices.ingestion.jobs, slices.analytics, clock)
        self._log = ChangeLog(database)
        self._letters = LetterCounter(database, slices.ingestion, slices.wallet)

    def settle(self, events: Sequence[Event]) -> int:
        """Settle what is new among `events`, of any organizations; return how many were."""
        return self._database.write(lambda: self._settle(events))

    def count_dead_letters(self) -> int:
        """Move the money of edges' events that were set aside to holds of their own; return how many."""
        return self._letters.count()

    def _settle(self, events: Sequence[Event]) -> int:
        new, dropped = self._claim(events)
        found, counted = _by_organization(new), _by_organization(dropped)
        for organization_id in sorted(found.keys() | counted.keys()):
            due = self._jobs.meet(organization_id, found.get(organization_id, []))
            due = replace(due, counted=[*due.counted, *counted.get(organization_id, ())])
            self._charging.charge(organization_id, due)
        acknowledge(self._log, events)
        return len(new)

    def _claim(self, events: Sequence[Event]) -> tuple[list[Event], list[Event]]:
        """Take the identities and keys that nobody has, once each; the first of two twins in a batch wins.

        Return the events that have both, and those that leases count although their key is another's.
        """
        first: dict[tuple[str, str, str], Event] = {}
        for event in events:
            if first.setdefault(event.identity, event).payload_hash != event.payload_hash:
                _report_conflict(event)
        # Sorted, so that two settlers with the same events never wait for each other.
        candidates = sorted(first.values(), key=lambda event: event.identity)
        claimed = self._slices.ingestion.claim_identities(candidates)
        self._report_conflicts([event for event in candidates if event.identity not in claimed])
        return self._claim_keys([event for event in first.values() if event.identity in claimed])

    def _claim_keys(self, new: list[Event]) -> tuple[list[Event], list[Event]]:
        """Drop whose idempotency key is another event's, and take nothing in their names.

        Keys come after identities: a duplicate must not keep a key from the event that it belongs to.
        What an edge reported keeps its identity all the same, so that its leases count it only once.
        """
        keyed = [event for event in new if event.idempotency_key]
        keyed.sort(key=lambda event: (event.organization_id, event.idempotency_key))
        owners = self._slices.ingestion.claim_keys(keyed)
        late = {
            event.identity: event
            for event in keyed
            if owners[event.organization_id, event.idempotency_key] != (event.source, event.event_id)
        }
        from_edges = [event for event in late.values() if event.edge is not None]
        self._slices.ingestion.release_identities(event for event in late.values() if event.edge is None)
        for organization_id, events in _by_organization(late.values()).items():
            keys = [event.idempotency_key for event in events]
            settled = self._slices.ingestion.key_hashes(organization_id, keys)
            for event in events:
                if settled[event.idempotency_key] != event.payload_hash:
                    _report_conflict(event)
        return [event for event in new if event.identity not in late], from_edges

    def _report_conflicts(self, duplicates: Sequence[Event]) -> None:
        """Say which duplicates claim something else than what was settled; the first stays."""
        for organization_id, events in _by_organization(duplicates).items():
            identities = [(event.source, event.event_id) for event in events]
            settled = self._slices.ingestion.payload_hashes(organization_id, identities)
            for event in events:
                if settled[event.source, event.event_id] != event.payload_hash:
                    _report_conflict(event)


def _by_organization(events: Iterable[Event]) -> dict[str, list[Event]]:
    found: dict[str, list[Event]] = {}
    for event in events:
        found.setdefault(event.organization_id, []).append(event)
    return found


def _report_conflict(event: Event) -> None:
    _log.warning(
        "event_conflict_dropped",
        organization_id=event.organization_id,
        source=event.source,
        event_id=event.event_id,
    )
