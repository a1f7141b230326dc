"""Where the holds of callers and their slices are kept. The lock on a hold's wallet is its own lock."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import peewee

from om_server.storage.batch import BatchWriter, Row
from om_server.storage.database import Database
from om_server.storage.statement import among, given
from om_server.wallet.grant import Slice
from om_server.wallet.holds.hold import Hold, HoldState
from om_server.wallet.record import HoldRow, HoldSliceRow

#: Ids in one IN list; keeps the parameters of a statement below SQLite's limit.
_CHUNK = 1000

#: In the order of the fields of `Hold`, whose last are the slices.
_COLUMNS = (
    HoldRow.hold_id,
    HoldRow.wallet_id,
    HoldRow.amount,
    HoldRow.expire_time,
    HoldRow.create_time,
    HoldRow.state,
    HoldRow.captured,
)

# Spelled out, not bound: no planner uses a partial index for a condition that it cannot read.
_PENDING = peewee.SQL("state = 'pending'")


def any_lapsed(database: Database) -> peewee.Node:
    """Return whether a pending hold on any of `wallet_ids` is over `now`, as a column of a statement."""
    pending: peewee.ModelSelect[Any] = HoldRow.select(peewee.SQL("1")).where(
        (HoldRow.organization_id == given("organization_id"))
        & among(database, HoldRow.wallet_id, "wallet_ids")
        & _PENDING
        & (HoldRow.expire_time <= given("now"))
    )
    return peewee.fn.EXISTS(pending)


class HoldStore:
    """Holds of one organization; the caller opens the transaction."""

    def __init__(self, database: Database) -> None:
        self._batch = BatchWriter(database)

    def get(self, organization_id: str, hold_id: str) -> Hold | None:
        """Return a hold as it is stored, its end by the clock left out."""
        found = self._where(
            organization_id, (HoldRow.organization_id == organization_id) & (HoldRow.hold_id == hold_id)
        )
        return found[0] if found else None

    def lapsed(self, organization_id: str, wallet_ids: Collection[str], *, now: int) -> list[Hold]:
        """Return the pending holds on these wallets whose time is over, the oldest end first."""
        ids, found = sorted(wallet_ids), []
        for start in range(0, len(ids), _CHUNK):
            found += self._where(
                organization_id,
                (HoldRow.organization_id == organization_id)
                & HoldRow.wallet_id.in_(ids[start : start + _CHUNK])
                & _PENDING
                & (HoldRow.expire_time <= now),
            )
        return found

    def insert(self, organization_id: str, hold: Hold) -> None:
        """Insert a new hold with its slices."""
        HoldRow.insert(
            organization_id=organization_id,
            hold_id=hold.hold_id,
            wallet_id=hold.wallet_id,
            amount=hold.amount,
            captured=hold.captured,
            state=hold.state.value,
            expire_time=hold.expire_time,
            create_time=hold.create_time,
        ).execute()
        rows: list[Row] = [
            (organization_id, hold.hold_id, piece.position, piece.wallet_id, piece.grant_id, piece.amount,
             piece.held)
            for piece in hold.slices
        ]  # fmt: skip
        self._batch.insert(HoldSliceRow, rows)

    def save(self, organization_id: str, holds: Iterable[Hold]) -> None:
        """Write how holds on locked wallets ended."""
        ended = list(holds)
        rows: list[Row] = [(hold.captured, hold.state.value, organization_id, hold.hold_id) for hold in ended]
        self._batch.update(HoldRow, ("captured", "state"), rows=rows)
        slices: list[Row] = [
            (piece.held, organization_id, hold.hold_id, piece.position)
            for hold in ended
            for piece in hold.slices
        ]
        self._batch.update(HoldSliceRow, ("held",), rows=slices)

    def _where(self, organization_id: str, condition: Any) -> list[Hold]:  # noqa: ANN401 - peewee's own
        query: peewee.ModelSelect[Any] = HoldRow.select(*_COLUMNS).where(condition)
        rows = list(query.order_by(HoldRow.expire_time, HoldRow.hold_id).tuples())
        slices: dict[str, list[Slice]] = {row[0]: [] for row in rows}
        ids = sorted(slices)
        for start in range(0, len(ids), _CHUNK):
            pieces: peewee.ModelSelect[Any] = HoldSliceRow.select(
                HoldSliceRow.hold_id,
                HoldSliceRow.position,
                HoldSliceRow.wallet_id,
                HoldSliceRow.grant_id,
                HoldSliceRow.amount,
                HoldSliceRow.held,
            ).where(
                (HoldSliceRow.organization_id == organization_id)
                & HoldSliceRow.hold_id.in_(ids[start : start + _CHUNK])
            )
            for hold_id, *fields in pieces.order_by(HoldSliceRow.position).tuples():
                slices[hold_id].append(Slice(*fields))
        return [_hold_from_row(row, tuple(slices[row[0]])) for row in rows]


def _hold_from_row(row: Sequence[Any], slices: tuple[Slice, ...]) -> Hold:
    fields: list[Any] = [*row[:-2], HoldState(row[-2]), row[-1], slices]
    return Hold(*fields)
