"""Tables of intake: the identities of events, for ever, and what could not be settled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import peewee

from om_server.core.page import Cursor
from om_server.ingestion.job_store import JobRow, JobStore
from om_server.storage.batch import BatchWriter
from om_server.storage.database import Database, Record
from om_server.storage.statement import Statement, among, given

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from om_server.core.event import Event

_IDENTITY = ("organization_id", "source", "event_id")

#: Beyond it, how many there are makes no difference to whoever is told.
_COUNTED_MAX = 10_000


class EventIdentity(Record):
    """An identity that was settled, with what was claimed under it."""

    organization_id = peewee.TextField()
    source = peewee.TextField()
    event_id = peewee.TextField()
    payload_hash = peewee.TextField()

    class Meta:
        """Never dropped before every journal and spool has forgotten the event."""

        table_name = "event_identities"
        primary_key = peewee.CompositeKey("organization_id", "source", "event_id")


class EventKey(Record):
    """The published API's idempotency key: a second identity under the same rules."""

    organization_id = peewee.TextField()
    idempotency_key = peewee.TextField()
    source = peewee.TextField()
    event_id = peewee.TextField()
    payload_hash = peewee.TextField()

    class Meta:
        """One event for each key."""

        table_name = "event_keys"
        primary_key = peewee.CompositeKey("organization_id", "idempotency_key")


class DeadLetter(Record):
    """An event that could not be settled, whole, with the reason."""

    organization_id = peewee.TextField()
    dead_letter_id = peewee.TextField()
    source = peewee.TextField()
    event_id = peewee.TextField()
    reason = peewee.TextField()
    message = peewee.TextField()
    attempt_count = peewee.IntegerField()
    envelope = peewee.TextField()
    receive_time = peewee.BigIntegerField()
    create_time = peewee.BigIntegerField()
    counted = peewee.BooleanField(default=False)

    class Meta:
        """Kept until it is replayed or discarded."""

        table_name = "dead_letters"
        primary_key = peewee.CompositeKey("organization_id", "dead_letter_id")


MODELS: tuple[type[Record], ...] = (EventIdentity, EventKey, DeadLetter, JobRow)


class IngestionStore:
    """Queries of one organization; the caller opens the transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._batch = BatchWriter(database)
        self.jobs = JobStore(database)
        of_identities: Any = EventIdentity.select(EventIdentity.event_id, EventIdentity.payload_hash).where(
            EventIdentity.organization_id == given("organization_id"),
            EventIdentity.source == given("source"),
            among(database, EventIdentity.event_id, "event_id"),
        )
        self._hashes = Statement(database, of_identities)
        self._key_hashes = Statement(database, _of_keys(database, EventKey.payload_hash))
        self._key_owners = Statement(database, _of_keys(database, EventKey.source, EventKey.event_id))

    def payload_hashes(
        self, organization_id: str, identities: Iterable[tuple[str, str]]
    ) -> dict[tuple[str, str], str]:
        """What was claimed under each (source, event_id) that was settled."""
        by_source: dict[str, list[str]] = {}
        for source, event_id in identities:
            by_source.setdefault(source, []).append(event_id)
        found: dict[tuple[str, str], str] = {}
        for source, event_ids in by_source.items():
            rows = self._hashes.rows(organization_id=organization_id, source=source, event_id=event_ids)
            found.update(((source, event_id), digest) for event_id, digest in rows)
        return found

    def claim_identities(self, events: Sequence[Event]) -> set[tuple[str, str, str]]:
        """Insert identities and return those that are new: the one place that decides what is charged."""
        rows = [(event.organization_id, event.source, event.event_id, event.payload_hash) for event in events]
        new = self._batch.insert_new(EventIdentity, rows, returning=_IDENTITY)
        return {(organization_id, source, event_id) for organization_id, source, event_id in new}

    def release_identities(self, events: Iterable[Event]) -> None:
        """Take back identities that this transaction claimed."""
        for event in events:
            EventIdentity.delete().where(
                (EventIdentity.organization_id == event.organization_id)
                & (EventIdentity.source == event.source)
                & (EventIdentity.event_id == event.event_id)
            ).execute()

    def key_hashes(self, organization_id: str, keys: Sequence[str]) -> dict[str, str]:
        """What was claimed under each idempotency key that was settled."""
        if not keys:
            return {}
        rows = self._key_hashes.rows(organization_id=organization_id, idempotency_key=keys)
        return dict(rows)

    def claim_keys(self, events: Sequence[Event]) -> dict[tuple[str, str], tuple[str, str]]:
        """Insert idempotency keys and return, for each (organization, key), whose (source, event) it is."""
        owners: dict[tuple[str, str], tuple[str, str]] = {}
        by_organization: dict[str, list[str]] = {}
        rows = [
            (event.organization_id, event.idempotency_key, event.source, event.event_id, event.payload_hash)
            for event in events
        ]
        self._batch.insert(EventKey, rows, on_conflict="ON CONFLICT DO NOTHING")
        for event in events:
            by_organization.setdefault(event.organization_id, []).append(event.idempotency_key)
        for organization_id, keys in by_organization.items():
            found = self._key_owners.rows(organization_id=organization_id, idempotency_key=keys)
            owners.update(((organization_id, key), (source, event_id)) for key, source, event_id in found)
        return owners

    def add_dead_letter(self, letter: DeadLetter) -> None:
        """Set an event aside; a second letter for the same event is the same letter."""
        DeadLetter.insert(**letter.__data__).on_conflict_ignore().execute()

    def uncounted_letters(self, limit: int) -> list[DeadLetter]:
        """Return edges' letters, of any organization, whose money was not moved yet, oldest first."""
        # Spelled out, not bound: no planner uses a partial index for a condition that it cannot read.
        query = DeadLetter.select().where(peewee.SQL("source = 'proxy' AND NOT counted"))
        return list(query.order_by(DeadLetter.create_time, DeadLetter.dead_letter_id).limit(limit))

    def mark_counted(self, letter: DeadLetter) -> None:
        """Remember that the money of a letter was moved."""
        DeadLetter.update(counted=True).where(
            (DeadLetter.organization_id == letter.organization_id)
            & (DeadLetter.dead_letter_id == letter.dead_letter_id)
        ).execute()

    def find_dead_letter(self, organization_id: str, *, source: str, event_id: str) -> DeadLetter | None:
        """Return the letter of an event."""
        return DeadLetter.get_or_none(
            (DeadLetter.organization_id == organization_id)
            & (DeadLetter.source == source)
            & (DeadLetter.event_id == event_id)
        )

    def dead_letters(
        self, organization_id: str, letter_ids: Iterable[str], *, limit: int
    ) -> list[DeadLetter]:
        """Return the letters with these ids or, without any, those that were tried least and are oldest."""
        ids = sorted(set(letter_ids))
        query = DeadLetter.select().where(DeadLetter.organization_id == organization_id)
        if ids:
            query = query.where(DeadLetter.dead_letter_id.in_(ids))
        order = (DeadLetter.attempt_count, DeadLetter.create_time, DeadLetter.dead_letter_id)
        return list(query.order_by(*order).limit(limit))

    def lock_dead_letters(self, organization_id: str, letter_ids: Iterable[str]) -> dict[str, DeadLetter]:
        """Lock the letters that are still there, by id; before any wallet."""
        query = DeadLetter.select().where(
            (DeadLetter.organization_id == organization_id)
            & DeadLetter.dead_letter_id.in_(sorted(letter_ids))
        )
        # The stubs say models, not which.
        found: Any = self._database.locked(query.order_by(DeadLetter.dead_letter_id))  # type: ignore[arg-type]
        return {letter.dead_letter_id: letter for letter in found}

    def delete_dead_letters(self, organization_id: str, letter_ids: Iterable[str]) -> None:
        """Delete letters that were replayed or discarded."""
        DeadLetter.delete().where(
            (DeadLetter.organization_id == organization_id)
            & DeadLetter.dead_letter_id.in_(sorted(letter_ids))
        ).execute()

    def note_attempt(self, letter: DeadLetter, *, reason: str, message: str) -> None:
        """Remember that a letter failed once more, and why."""
        DeadLetter.update(attempt_count=DeadLetter.attempt_count + 1, reason=reason, message=message).where(
            (DeadLetter.organization_id == letter.organization_id)
            & (DeadLetter.dead_letter_id == letter.dead_letter_id)
        ).execute()

    def count_dead_letters(self, organization_id: str) -> int:
        """How many wait for a decision."""
        return int(DeadLetter.select().where(DeadLetter.organization_id == organization_id).count())

    def count_letters_of_all(self) -> int:
        """How many wait for a decision, of all organizations, up to a bound."""
        some = DeadLetter.select(peewee.SQL("1")).limit(_COUNTED_MAX)
        return int(some.count())

    def list_dead_letters(self, organization_id: str, after: Cursor | None, limit: int) -> list[DeadLetter]:
        """Oldest first, from behind `after` = (create_time, dead_letter_id)."""
        query = DeadLetter.select().where(DeadLetter.organization_id == organization_id)
        if after is not None:
            position = peewee.Tuple(DeadLetter.create_time, DeadLetter.dead_letter_id)
            query = query.where(position > after)
        return list(query.order_by(DeadLetter.create_time, DeadLetter.dead_letter_id).limit(limit))


def _of_keys(database: Database, *columns: peewee.Field) -> peewee.Node:
    """Compose what selects idempotency keys of an organization with these columns."""
    query: Any = EventKey.select(EventKey.idempotency_key, *columns)
    return query.where(  # type: ignore[no-any-return]  # Peewee's own.
        EventKey.organization_id == given("organization_id"),
        among(database, EventKey.idempotency_key, "idempotency_key"),
    )
