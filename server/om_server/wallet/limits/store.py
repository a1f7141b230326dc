"""Where limits are kept, and the answers to the keys under which they were created."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import peewee

from om_server.core.errors import IdempotencyKeyReused
from om_server.storage.database import Database
from om_server.storage.statement import Statement, among, given
from om_server.wallet.limits.limit import Limit, LimitMode, Revision, Selector, Subject, Terms
from om_server.wallet.limits.record import LIMIT_MODELS, LimitRow
from om_server.wallet.limits.reservation_store import ReservationStore
from om_server.wallet.limits.window import Window, WindowKind
from om_server.wallet.record import AnswerRow

__all__ = ["LIMIT_MODELS", "LimitStore"]

_CREATE = "CreateEntitlement"
_NAMED = ("feature_id", "user_id", "customer_id", "team_id", "key_id")
_FIELDS = ("limit_id", *_NAMED, "tag", "each_user", "unit", "revisions", "metadata", "create_time")


class LimitStore:
    """Limits of one organization; the caller opens the transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database
        query: peewee.ModelSelect[Any] = LimitRow.select(
            *(getattr(LimitRow, name) for name in _FIELDS)
        ).where(
            LimitRow.organization_id == given("organization_id"),
            *(among(database, getattr(LimitRow, name), name) for name in (*_NAMED, "tag")),
        )
        self._matching = Statement(database, query.order_by(LimitRow.limit_id))
        self.reservations = ReservationStore(database)

    def claim(self, organization_id: str, limit: Limit, *, key: str, digest: str) -> Limit:
        """Insert a limit, or return the one that its key created before."""
        insert = AnswerRow.insert(
            organization_id=organization_id,
            operation=_CREATE,
            idempotency_key=key,
            request_hash=digest,
            response=json.dumps(_limit_to_row(organization_id, limit)),
            create_time=limit.create_time,
        ).on_conflict_ignore()
        if list(insert.returning(AnswerRow.idempotency_key).tuples().execute()):
            LimitRow.insert(_limit_to_row(organization_id, limit)).execute()
            self.reservations.open_counter(organization_id, (limit.limit_id, ""))
            return limit
        row = AnswerRow.get(
            AnswerRow.organization_id == organization_id,
            AnswerRow.operation == _CREATE,
            AnswerRow.idempotency_key == key,
        )
        if row.request_hash != digest:
            raise IdempotencyKeyReused(_CREATE)
        return _limit_from_fields(json.loads(row.response))

    def get(self, organization_id: str, limit_id: str) -> Limit | None:
        """Return a limit."""
        row = LimitRow.get_or_none(*_same(organization_id, limit_id))
        return _limit_from_row(row) if row else None

    def find(self, organization_id: str, limit_id: str) -> Limit | None:
        """Return a limit."""
        row: Any = LimitRow.get_or_none(*_same(organization_id, limit_id))
        return _limit_from_row(row) if row else None

    def lock(self, organization_id: str, limit_id: str) -> Limit | None:
        """Return a limit that is to be written; others who write it wait."""
        query: peewee.ModelSelect[Any] = LimitRow.select().where(*_same(organization_id, limit_id))
        row: Any = next(iter(self._database.locked(query)), None)
        return _limit_from_row(row) if row else None

    def save(self, organization_id: str, limit: Limit) -> None:
        """Write the terms and the metadata of a limit."""
        LimitRow.update(revisions=_revisions_to_json(limit.revisions), metadata=limit.metadata).where(
            *_same(organization_id, limit.limit_id)
        ).execute()

    def delete(self, organization_id: str, limit_id: str) -> bool:
        """Delete a limit and all that is reserved of it; False if there is none."""
        self.reservations.delete(organization_id, limit_id)
        return bool(LimitRow.delete().where(*_same(organization_id, limit_id)).execute())

    def matching(self, organization_id: str, subject: Subject) -> list[Limit]:
        """Return the limits that count a subject's consumption, in the order of their ids."""
        rows = self._matching.rows(
            organization_id=organization_id,
            tag=["", *subject.tags],
            **{name: ["", getattr(subject, name)] for name in _NAMED},
        )
        found = (_limit_from_fields(dict(zip(_FIELDS, row, strict=True))) for row in rows)
        return [limit for limit in found if limit.selector.matches(subject)]

    def of_customer(self, organization_id: str, customer_id: str) -> list[Limit]:
        """Return the limits that may count something of a customer, in the order of their ids."""
        query = LimitRow.select().where(
            (LimitRow.organization_id == organization_id)
            & LimitRow.customer_id.in_(sorted({"", customer_id}))
        )
        return [_limit_from_row(row) for row in query.order_by(LimitRow.limit_id)]

    def page(self, organization_id: str, *, after: str, count: int) -> list[Limit]:
        """Return limits with ids above `after`, oldest first: ids grow with time."""
        query = LimitRow.select().where(
            (LimitRow.organization_id == organization_id) & (LimitRow.limit_id > after)
        )
        return [_limit_from_row(row) for row in query.order_by(LimitRow.limit_id).limit(count)]


def _same(organization_id: str, limit_id: str) -> tuple[Any, ...]:
    return LimitRow.organization_id == organization_id, LimitRow.limit_id == limit_id


def _limit_to_row(organization_id: str, limit: Limit) -> dict[str, Any]:
    return {
        "organization_id": organization_id,
        "limit_id": limit.limit_id,
        **{name: getattr(limit.selector, name) for name in (*_NAMED, "tag", "each_user")},
        "unit": limit.unit,
        "revisions": _revisions_to_json(limit.revisions),
        "metadata": limit.metadata,
        "create_time": limit.create_time,
    }


def _limit_from_row(row: LimitRow) -> Limit:
    return _limit_from_fields({name: getattr(row, name) for name in _FIELDS})


def _limit_from_fields(fields: Mapping[str, Any]) -> Limit:
    named: list[Any] = [*(fields[name] for name in (*_NAMED, "tag")), bool(fields["each_user"])]
    return Limit(
        limit_id=fields["limit_id"],
        selector=Selector(*named),
        unit=fields["unit"],
        revisions=tuple(map(_revision_from_json, json.loads(fields["revisions"]))),
        create_time=fields["create_time"],
        metadata=fields["metadata"],
    )


def _revisions_to_json(revisions: Sequence[Revision]) -> str:
    return json.dumps(
        [
            {
                "effective_time": revision.effective_time,
                "mode": revision.terms.mode,
                "amount": revision.terms.amount,
                "window": revision.terms.window.kind,
                "rolling_hours": revision.terms.window.rolling_hours,
                "time_zone": revision.terms.window.time_zone,
                "week_start": revision.terms.window.week_start,
            }
            for revision in revisions
        ],
        separators=(",", ":"),
    )


def _revision_from_json(stored: dict[str, Any]) -> Revision:
    window = Window(
        WindowKind(stored["window"]), stored["rolling_hours"], stored["time_zone"], stored["week_start"]
    )
    terms = Terms(LimitMode(stored["mode"]), stored["amount"], window)
    return Revision(stored["effective_time"], terms)
