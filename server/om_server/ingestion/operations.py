"""Takes events in: answers for each, and makes the good ones durable before it answers."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from om_server.core.errors import DomainError, NotFound
from om_server.core.event import SOURCE_PROXY
from om_server.core.page import PageRequest, decode_token, encode_token
from om_server.ingestion import envelope
from om_server.ingestion.envelope import Sealed, Unread
from om_server.ingestion.intake import (
    EventConflict,
    believe_time,
    check_caller_fields,
    check_consumption,
    check_identity,
    letter_id,
    normalize_customer,
)
from om_server.ingestion.standing import EventStanding, EventState
from om_server.ingestion.store import DeadLetter, IngestionStore
from om_server.storage.queue import Batch, Queue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from om_server.core.clock import Clock
    from om_server.core.event import Event
    from om_server.core.ids import IdSource
    from om_server.ingestion.job import Job, JobKey
    from om_server.ingestion.quota import QuotaStanding
    from om_server.ingestion.quota_desk import QuotaDesk
    from om_server.ingestion.standing import SettledStandings
    from om_server.storage.database import Database


class IntakeState(enum.Enum):
    """What intake did with an event."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class IntakeResult:
    """The answer for one event; `error` says why it was rejected."""

    event_id: str
    state: IntakeState
    error: DomainError | None = None


@dataclass(frozen=True, slots=True)
class Reported:
    """An event as it was reported. Without a time of its own it happened when it was received."""

    event: Event
    time_supplied: bool


@dataclass(frozen=True, slots=True)
class PipelineStatus:
    """How far settlement is behind, for one organization."""

    queued_batch_count: int
    oldest_age_us: int
    dead_letter_count: int


class _Claims:
    """What was claimed before, by events that were settled or stand earlier in the batch."""

    def __init__(self, identities: dict[tuple[str, str], str], keys: dict[str, str]) -> None:
        self._identities = identities
        self._keys = keys

    def compare(self, sealed: Sealed) -> IntakeResult:
        """Answer for an event by its identity, then by its idempotency key."""
        event = sealed.event
        claimed = self._identities.get((event.source, event.event_id))
        if claimed is None:
            claimed = self._keys.get(event.idempotency_key)
        if claimed is None:
            return IntakeResult(event.event_id, IntakeState.ACCEPTED)
        if claimed == sealed.payload_hash:
            return IntakeResult(event.event_id, IntakeState.DUPLICATE)
        return IntakeResult(event.event_id, IntakeState.REJECTED, EventConflict(event))

    def add(self, sealed: Sealed) -> None:
        """Remember an event that was accepted; the first claim stays."""
        event = sealed.event
        self._identities.setdefault((event.source, event.event_id), sealed.payload_hash)
        if event.idempotency_key:
            self._keys.setdefault(event.idempotency_key, sealed.payload_hash)


def checked(event: Event, *, from_edge: bool) -> Event:
    """Return an event with a time that is believed, or raise the rule that it breaks."""
    check_identity(event)
    if not from_edge:
        check_caller_fields(event)
    check_consumption(event)
    return believe_time(event)


class IngestionOperations:
    """Each method is one transaction."""

    def __init__(  # noqa: PLR0913 - what the composition root joins
        self,
        database: Database,
        store: IngestionStore,
        queue: Queue,
        *,
        ids: IdSource,
        clock: Clock,
        quotas: QuotaDesk | None = None,
    ) -> None:
        """Without `quotas` no plan has one, and nothing is counted."""
        self._database = database
        self._store = store
        self._queue = queue
        self._ids = ids
        self._clock = clock
        self._quotas = quotas

    def ingest(
        self, organization_id: str, reports: Sequence[Reported], *, from_edge: bool
    ) -> tuple[str, list[IntakeResult]]:
        """Answer for each event, in order, after the good ones are durable in one batch.

        Gives the batch's id, empty if nothing was queued. `DUPLICATE` is best effort: a twin that
        is still queued is accepted here and dropped by settlement. An edge's event is accepted
        always: one that breaks a rule becomes a dead letter. A quota is for applications alone:
        MONTHLY_QUOTA_EXCEEDED, and then nothing of the batch is taken.
        """
        sealed = [self._seal(report, from_edge=from_edge) for report in reports]
        good = [item.event for item in sealed if not isinstance(item, IntakeResult)]
        claims = self._database.read(lambda: self._claims(organization_id, good))
        results: list[IntakeResult] = []
        accepted: list[Sealed] = []
        for item in sealed:
            if isinstance(item, IntakeResult):
                results.append(item)
                continue
            result = claims.compare(item)
            if result.state is IntakeState.REJECTED and from_edge:
                # Settlement keeps the first and reports the conflict.
                result = IntakeResult(item.event.event_id, IntakeState.ACCEPTED)
            if result.state is IntakeState.ACCEPTED:
                accepted.append(item)
                claims.add(item)
            elif from_edge:
                # Settlement drops it, and tells the edge once more that it is settled.
                accepted.append(item)
            results.append(result)
        if self._quotas is not None and not from_edge:
            self._quotas.take(organization_id, [item.event for item in accepted])
        return self._enqueue(organization_id, accepted), results

    def quota_standing(self, organization_id: str) -> QuotaStanding | None:
        """Return what is left of the month; None where no quota applies."""
        return None if self._quotas is None else self._quotas.standing(organization_id)

    def _claims(self, organization_id: str, events: Sequence[Event]) -> _Claims:
        keys = {event.idempotency_key for event in events} - {""}
        return _Claims(
            self._store.payload_hashes(organization_id, [(event.source, event.event_id) for event in events]),
            self._store.key_hashes(organization_id, sorted(keys)),
        )

    def _seal(self, report: Reported, *, from_edge: bool) -> Sealed | IntakeResult:
        event = normalize_customer(report.event)
        try:
            believed = checked(event, from_edge=from_edge)
        except DomainError as error:
            if event.edge is None:
                return IntakeResult(event.event_id, IntakeState.REJECTED, error)
            name = letter_id(event.event_id, event.edge)
            self._keep(event.organization_id, name, error, text=envelope.pack([event]))
            return IntakeResult(event.event_id, IntakeState.ACCEPTED)
        return envelope.seal(event, believed, time_supplied=report.time_supplied)

    def _enqueue(self, organization_id: str, sealed: list[Sealed]) -> str:
        if not sealed:
            return ""
        batch = Batch(
            organization_id=organization_id,
            batch_id=self._ids.new("bat"),
            envelope=envelope.pack_sealed(sealed),
            event_count=len(sealed),
        )
        self._queue.append([batch])
        return batch.batch_id

    def set_aside(self, organization_id: str, event_id: str, error: DomainError, *, unread: Unread) -> None:
        """Keep an edge's event that cannot be read, as it was sent: an edge's event is never refused."""
        self._keep(organization_id, event_id, error, text=envelope.pack_unread(unread))

    def _keep(self, organization_id: str, event_id: str, error: DomainError, *, text: str) -> None:
        now = self._clock()
        letter = DeadLetter(
            organization_id=organization_id,
            dead_letter_id=self._ids.new("dlt"),
            source=SOURCE_PROXY,
            event_id=event_id,
            reason=error.reason,
            message=error.message,
            attempt_count=0,
            envelope=text,
            receive_time=now,
            create_time=now,
        )
        self._database.write(lambda: self._store.add_dead_letter(letter))

    def status(self, organization_id: str) -> PipelineStatus:
        """Count what waits."""
        count, oldest = self._queue.status(organization_id)
        letters = self._database.read(lambda: self._store.count_dead_letters(organization_id))
        age = 0 if oldest is None else max(0, self._clock() - oldest)
        return PipelineStatus(count, age, letters)

    def standing(
        self, organization_id: str, *, source: str, event_id: str, settled: SettledStandings
    ) -> EventStanding:
        """Tell where an event stands; NOT_FOUND if it is nowhere, as far as the queue lets us look."""
        # First where an event comes from, then where it goes: one that moves meanwhile is never missed.
        queued = self._is_queued(organization_id, source, event_id)
        found = settled(organization_id, source=source, event_id=event_id)
        if found is not None:
            return found
        letter = self._database.read(
            lambda: self._store.find_dead_letter(organization_id, source=source, event_id=event_id)
        )
        if letter is not None:
            return EventStanding(EventState.DEAD_LETTER, reason=letter.reason, message=letter.message)
        if queued:
            return EventStanding(EventState.QUEUED)
        raise NotFound("event", event_id)

    def _is_queued(self, organization_id: str, source: str, event_id: str) -> bool:
        texts = self._queue.search(organization_id, envelope.marker(event_id))
        return any((source, event_id) in envelope.names(text) for text in texts)

    def find_job(self, key: JobKey) -> Job | None:
        """Return what was seen of deferred work."""
        return self._database.read(lambda: self._store.jobs.find(key))

    def list_dead_letters(self, organization_id: str, page: PageRequest) -> tuple[list[DeadLetter], str]:
        """A page of dead letters, oldest first, and the token of the next."""
        after = decode_token(page.token, {})
        letters = self._database.read(
            lambda: self._store.list_dead_letters(organization_id, after, page.size + 1)
        )
        if len(letters) <= page.size:
            return letters, ""
        last = letters[page.size - 1]
        return letters[: page.size], encode_token((last.create_time, last.dead_letter_id), {})
