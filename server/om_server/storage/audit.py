"""The audit log as it is kept: each record in the transaction of the write that it tells of.

An operation that changes something calls `AuditTrail.record` inside its own `Database.write`, so both
are committed or neither is. Rows are never changed or removed: triggers see to it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import peewee

from om_server.storage.database import Database, Record

if TYPE_CHECKING:
    from collections.abc import Callable

    from om_server.core.audit import Actor, AuditEntry, Facts
    from om_server.core.clock import Clock
    from om_server.core.ids import IdSource


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """An entry as it is kept: `before` and `after` are JSON text, None where there is none."""

    audit_record_id: str
    actor: str
    action: str
    object_type: str
    object_id: str
    before: str | None
    after: str | None
    request_id: str
    create_time: int


class AuditRow(Record):
    """A record of the log."""

    organization_id = peewee.TextField()
    audit_record_id = peewee.TextField()
    actor = peewee.TextField()
    action = peewee.TextField()
    object_type = peewee.TextField()
    object_id = peewee.TextField()
    state_before = peewee.TextField(null=True)
    state_after = peewee.TextField(null=True)
    request_id = peewee.TextField()
    create_time = peewee.BigIntegerField()

    class Meta:
        """Triggers refuse every update and delete."""

        table_name = "audit_records"
        primary_key = peewee.CompositeKey("organization_id", "audit_record_id")


MODELS: tuple[type[Record], ...] = (AuditRow,)


class AuditTrail:
    """Writes and reads the log of any organization. A slice gives `rpc.caller.actor` as the actor."""

    def __init__(
        self, database: Database, *, ids: IdSource, clock: Clock, actor: Callable[[], Actor]
    ) -> None:
        self._database = database
        self._ids = ids
        self._clock = clock
        self._actor = actor

    def record(self, organization_id: str, entry: AuditEntry, *, actor: Actor | None = None) -> None:
        """Add a record within the caller's transaction; nothing if the write changed nothing.

        Without an actor it is whoever makes the running call, and the system outside of one. Whoever
        signs up or accepts an invite is nobody yet when he calls, so those calls name the member.
        """
        if not self._database.engine.in_transaction():
            raise RuntimeError(f"{entry.action} records outside of its write")
        if entry.before is not None and entry.before == entry.after:
            return
        who = actor or self._actor()
        insert = AuditRow.insert(
            organization_id=organization_id,
            audit_record_id=self._ids.new("aud"),
            actor=who.actor_id,
            action=entry.action,
            object_type=entry.object_type,
            object_id=entry.object_id,
            state_before=_text(entry.before),
            state_after=_text(entry.after),
            request_id=who.request_id,
            create_time=self._clock(),
        )
        self._database.send_query(insert)

    def newest(
        self, organization_id: str, *, before: tuple[int, str] | None, limit: int
    ) -> list[AuditRecord]:
        """Return records, newest first: those before a time and id, or the last ones."""
        order = (AuditRow.create_time, AuditRow.audit_record_id)
        query = AuditRow.select().where(AuditRow.organization_id == organization_id)
        if before is not None:
            query = query.where(peewee.Tuple(*order) < before)
        ordered = query.order_by(*(field.desc() for field in order)).limit(limit)
        return self._database.read(lambda: [_record_from_row(row) for row in ordered])


def _record_from_row(row: AuditRow) -> AuditRecord:
    return AuditRecord(
        audit_record_id=row.audit_record_id,
        actor=row.actor,
        action=row.action,
        object_type=row.object_type,
        object_id=row.object_id,
        before=row.state_before,
        after=row.state_after,
        request_id=row.request_id,
        create_time=row.create_time,
    )


def _text(facts: Facts | None) -> str | None:
    return None if facts is None else json.dumps(facts, sort_keys=True, separators=(",", ":"))
