"""What settled events were rated at before they were rated again. Rows are added and never change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
import peewee

from om_server.analytics.table import RevisionRow
from om_server.storage.batch import BatchWriter

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from om_server.analytics.settled import SettledEvent
    from om_server.storage.batch import Row
    from om_server.storage.database import Database


@dataclass(frozen=True, slots=True)
class Revised:
    """An event before and after another rating, the how many-eth it is, and what its wallets paid more."""

    before: SettledEvent
    after: SettledEvent
    number: int
    wallet_difference: int


class RevisionStore:
    """Revisions of all organizations; the caller opens the transaction and has locked the events."""

    def __init__(self, database: Database) -> None:
        self._batch = BatchWriter(database)

    def numbers(
        self, organization_id: str, identities: Collection[tuple[str, str]]
    ) -> dict[tuple[str, str], int]:
        """Return how often events, by (source, id), were revised; those that never were are not in it."""
        row = RevisionRow
        highest = peewee.fn.MAX(row.revision)
        query = row.select(row.source, row.event_id, highest).where(
            (row.organization_id == organization_id)
            & row.source.in_({source for source, _ in identities})
            & row.event_id.in_({event_id for _, event_id in identities})
        )
        # The stubs take the rows for models.
        found: Iterable[Any] = query.group_by(row.source, row.event_id).tuples() if identities else ()
        return {(source, event_id): int(number) for source, event_id, number in found}

    def add(self, revised: Sequence[Revised], *, rerate_id: str, now: int) -> None:
        """Insert revisions. A number that is taken fails, so that no rating moves money twice."""
        self._batch.insert(RevisionRow, [_row(one, rerate_id, now) for one in revised])


def _row(one: Revised, rerate_id: str, now: int) -> Row:
    before, after = one.before, one.after
    return (
        *after.event.identity,
        one.number,
        rerate_id,
        before.cost,
        after.cost,
        before.charge,
        after.charge,
        one.wallet_difference,
        before.burn_table_version,
        after.burn_table_version,
        _prices(before),
        _prices(after),
        now,
    )


def _prices(settled: SettledEvent) -> str:
    return orjson.dumps([line.price_version for line in settled.lines]).decode()
