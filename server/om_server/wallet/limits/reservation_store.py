"""What admitted calls have reserved of limits: a counter for each limit, and the parts it is made of.

A counter's row is the lock of its limit. It is taken after wallets and before leases, in the order of
its key; the part of a lease is deleted with the lease's end, so that nothing is given back twice.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import peewee

from om_server.storage.database import Database
from om_server.storage.statement import Row, Statement, among, given
from om_server.wallet.limits.limit import EVENTS, Demand
from om_server.wallet.limits.record import CounterRow, ReservationRow

#: A limit, and the user where every user is counted alone.
Counter = tuple[str, str]

#: Ids in one IN list; keeps the parameters of a statement below SQLite's limit.
_CHUNK = 1000

#: What is given back to which counter.
_PART = (ReservationRow.limit_id, ReservationRow.user_id, ReservationRow.amount)


class ReservationStore:
    """Reservations of one organization; the caller opens the transaction."""

    def __init__(self, database: Database) -> None:
        counters = _by_key(database)
        of_leases: peewee.ModelSelect[Any] = ReservationRow.select(
            ReservationRow.lease_id, ReservationRow.limit_id, ReservationRow.user_id
        ).where(
            (ReservationRow.organization_id == given("organization_id"))
            & among(database, ReservationRow.lease_id, "lease_ids")
        )
        self._database = database
        self._counters = Statement(database, counters)
        self._counters_locked = Statement(database, database.locked(counters))
        self._of_leases = Statement(database, of_leases)
        self._of_ended = Statement(database, _deletion(database))

    def open_counter(self, organization_id: str, counter: Counter) -> None:
        """Begin to count; nothing if that is done already."""
        limit_id, user_id = counter
        CounterRow.insert(
            organization_id=organization_id, limit_id=limit_id, user_id=user_id, reserved=0
        ).on_conflict_ignore().execute()

    def lock(self, organization_id: str, counters: Collection[Counter]) -> dict[Counter, int]:
        """Lock counters and return what is reserved; one that was deleted meanwhile is absent."""
        for counter in sorted(counters):
            if counter[1]:
                self.open_counter(organization_id, counter)
        return _figures(self._counters_locked, organization_id, counters)

    def reserved(self, organization_id: str, counters: Collection[Counter]) -> dict[Counter, int]:
        """Return what is reserved, without a lock; a counter that nothing was reserved of may be absent."""
        return _figures(self._counters, organization_id, counters)

    def reserve(self, organization_id: str, lease_id: str, demands: Collection[Demand]) -> None:
        """Add what a new lease may use to locked counters."""
        for demand in sorted(demands, key=lambda one: one.counter):
            amount = demand.amount or 0
            ReservationRow.insert(
                organization_id=organization_id,
                lease_id=lease_id,
                limit_id=demand.limit.limit_id,
                user_id=demand.user_id,
                unit=demand.limit.unit,
                amount=amount,
                event_source="",
                event_id="",
            ).execute()
            self._add(organization_id, demand.counter, amount)

    def lock_of_leases(self, organization_id: str, lease_ids: Collection[str]) -> set[str]:
        """Lock the counters that leases have parts of; return those leases.

        Which they are never changes but that parts are given back, so it is read freely.
        """
        if not lease_ids:
            return set()
        rows = self._of_leases.rows(organization_id=organization_id, lease_ids=lease_ids)
        _figures(
            self._counters_locked, organization_id, {(limit_id, user_id) for _, limit_id, user_id in rows}
        )
        return {lease_id for lease_id, _, _ in rows}

    def keep(
        self, organization_id: str, events: Mapping[str, tuple[str, str]], *, settled: bool = True
    ) -> None:
        """Let the parts of leases, by id, wait for the rating of an event instead of the lease's end.

        What the event used is in no sum while nobody knows it, and unknown is not zero. That it happened
        is in the sums as soon as it is settled, which a dead letter is not.
        """
        for lease_id, (source, event_id) in sorted(events.items()):
            mine = (ReservationRow.organization_id == organization_id) & (ReservationRow.lease_id == lease_id)
            if settled:
                mine &= ReservationRow.unit != EVENTS
            ReservationRow.update(event_source=source, event_id=event_id).where(mine).execute()

    def release_leases(self, organization_id: str, lease_ids: Collection[str]) -> None:
        """Give back the parts of leases that have ended, once; their counters are locked."""
        if lease_ids:
            self._give_back(
                organization_id, self._of_ended.rows(organization_id=organization_id, lease_ids=lease_ids)
            )

    def release_events(
        self, organization_id: str, events: Collection[tuple[str, str]], *, rated: bool = True
    ) -> None:
        """Give back what waited for events, each a source and an id, that are rated now.

        Of those that are settled and not rated, only that they happened is given back.
        """
        for source in sorted({source for source, _ in events}):
            for ids in _chunks({event_id for other, event_id in events if other == source} - {""}):
                mine = ReservationRow.event_id.in_(ids) & (ReservationRow.event_source == source)
                if not rated:
                    mine &= ReservationRow.unit == EVENTS
                rows: peewee.ModelSelect[Any] = ReservationRow.select(
                    ReservationRow.limit_id, ReservationRow.user_id
                ).where((ReservationRow.organization_id == organization_id) & mine)
                _figures(self._counters_locked, organization_id, set(rows.tuples()))
                deletion = ReservationRow.delete().where(
                    (ReservationRow.organization_id == organization_id) & mine
                )
                self._give_back(organization_id, list(deletion.returning(*_PART).tuples().execute()))

    def delete(self, organization_id: str, limit_id: str) -> None:
        """Delete a limit's counters and all that is reserved of it."""
        mine = (CounterRow.organization_id == organization_id) & (CounterRow.limit_id == limit_id)
        query: peewee.ModelSelect[Any] = CounterRow.select().where(mine)
        list(self._database.locked(query.order_by(CounterRow.user_id)))
        ReservationRow.delete().where(
            (ReservationRow.organization_id == organization_id) & (ReservationRow.limit_id == limit_id)
        ).execute()
        CounterRow.delete().where(mine).execute()

    def _give_back(self, organization_id: str, parts: Iterable[Row]) -> None:
        freed: dict[Counter, int] = {}
        for limit_id, user_id, amount in parts:
            counter = (limit_id, user_id)
            freed[counter] = freed.get(counter, 0) + amount
        for counter, amount in sorted(freed.items()):
            self._add(organization_id, counter, -amount)

    def _add(self, organization_id: str, counter: Counter, amount: int) -> None:
        limit_id, user_id = counter
        CounterRow.update(reserved=CounterRow.reserved + amount).where(
            (CounterRow.organization_id == organization_id)
            & (CounterRow.limit_id == limit_id)
            & (CounterRow.user_id == user_id)
        ).execute()


def _figures(counters: Statement, organization_id: str, wanted: Collection[Counter]) -> dict[Counter, int]:
    if not wanted:
        return {}
    rows = counters.rows(
        organization_id=organization_id,
        limit_ids=sorted({limit_id for limit_id, _ in wanted}),
        user_ids=sorted({user_id for _, user_id in wanted}),
    )
    return {(limit_id, user_id): reserved for limit_id, user_id, reserved in rows}


def _by_key(database: Database) -> "peewee.ModelSelect[Any]":
    """Select counters in the order of their keys, and perhaps others of the same limits and users.

    The two databases share no short way to name pairs, and to lock a few too many does no harm.
    """
    query: peewee.ModelSelect[Any] = CounterRow.select(
        CounterRow.limit_id, CounterRow.user_id, CounterRow.reserved
    ).where(
        (CounterRow.organization_id == given("organization_id"))
        & among(database, CounterRow.limit_id, "limit_ids")
        & among(database, CounterRow.user_id, "user_ids")
    )
    return query.order_by(CounterRow.limit_id, CounterRow.user_id)


def _deletion(database: Database) -> peewee.Node:
    """Delete what leases have that waits for no event."""
    ended = ReservationRow.delete().where(
        (ReservationRow.organization_id == given("organization_id"))
        & among(database, ReservationRow.lease_id, "lease_ids")
        & (ReservationRow.event_id == "")
    )
    return ended.returning(*_PART)


def _chunks(ids: Collection[str]) -> Iterable[list[str]]:
    ordered = sorted(ids)
    return (ordered[start : start + _CHUNK] for start in range(0, len(ordered), _CHUNK))
