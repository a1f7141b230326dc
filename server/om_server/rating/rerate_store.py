"""How far requests to rate events again have come. The caller opens the transaction."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import peewee

from om_server.core.errors import IdempotencyKeyReused
from om_server.rating.comparison import Compared
from om_server.rating.stored import content_hash
from om_server.storage.database import Database, Record

if TYPE_CHECKING:
    from collections.abc import Iterable

    from om_server.core.page import Cursor
    from om_server.rating.past import RerateRequest


class RerateRow(Record):
    organization_id = peewee.TextField()
    idempotency_key = peewee.TextField()
    request_hash = peewee.TextField()
    rerate_id = peewee.TextField()
    request = peewee.TextField()
    actor = peewee.TextField()
    place = peewee.TextField()
    finished = peewee.BooleanField()
    report = peewee.TextField()
    create_time = peewee.BigIntegerField()
    update_time = peewee.BigIntegerField()

    class Meta:
        table_name = "rerates"
        primary_key = peewee.CompositeKey("organization_id", "idempotency_key")


MODELS: tuple[type[Record], ...] = (RerateRow,)


@dataclass(frozen=True, slots=True)
class Rerate:
    """A request on its way: behind which event it goes on (None: from the start), and what it found."""

    rerate_id: str
    place: Cursor | None = None
    finished: bool = False
    report: Compared = field(default_factory=Compared)


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks for the first time, when, and under which name the request is kept."""

    rerate_id: str
    actor: str
    now: int


class RerateStore:
    """Requests of any organization, each once for its idempotency key."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def lock(self, organization_id: str, request: RerateRequest, asker: Asker) -> Rerate:
        """Return where a request stands, and let nobody else go on with it until the transaction ends.

        IDEMPOTENCY_KEY_REUSED if the key was another request's.
        """
        content = json.dumps(asdict(request), sort_keys=True)
        RerateRow.insert(
            organization_id=organization_id,
            idempotency_key=request.idempotency_key,
            request_hash=content_hash(content),
            rerate_id=asker.rerate_id,
            request=content,
            actor=asker.actor,
            place="",
            finished=False,
            report=Compared().to_json(),
            create_time=asker.now,
            update_time=asker.now,
        ).on_conflict_ignore().execute()
        query: peewee.ModelSelect[Any] = RerateRow.select().where(*_same(organization_id, request))
        rows: Iterable[Any] = self._database.locked(query)
        [row] = rows
        if row.request_hash != content_hash(content):
            raise IdempotencyKeyReused("RerateEvents")
        place = tuple(json.loads(row.place)) if row.place else None
        return Rerate(row.rerate_id, place, row.finished, Compared.from_json(row.report))

    def save(self, organization_id: str, request: RerateRequest, rerate: Rerate, *, now: int) -> None:
        """Write where a locked request stands now."""
        RerateRow.update(
            place=json.dumps(rerate.place) if rerate.place else "",
            finished=rerate.finished,
            report=rerate.report.to_json(),
            update_time=now,
        ).where(*_same(organization_id, request)).execute()


def _same(organization_id: str, request: RerateRequest) -> tuple[Any, ...]:
    return (
        RerateRow.organization_id == organization_id,
        RerateRow.idempotency_key == request.idempotency_key,
    )
