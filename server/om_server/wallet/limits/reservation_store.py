"""What admitted calls have reserved of limits: a counter for each limit, and the parts it is made of.

A counter's row is the lock of its limit. It is taken after wallets and before leases, in the order of
its key; the part of a lease is deleted with the lease's end, so that nothing is given back twice.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import peewee

from om_server.storage.database import Database
from om_server.wallet.limits.limit import EVENTS, Demand
from om_server.wallet.limits.record import CounterRow, ReservationRow

#: A limit, and the user where every user is counted alone.
Counter = tuple[str, str]

#: Ids in one IN list; keeps the parameters of a statement below SQLite's limit.
_CHUNK = 1000


class ReservationStore:
    """Reservations of one organization; the caller opens the transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

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
        found: dict[Counter, int] = {}
        for query in _by_key(organization_id, counters):
            rows: Iterable[Any] = self._database.locked(query)
            found.update(((row.limit_id, row.user_id), row.reserved) for row in rows)
        return found

    def reserved(self, organization_id: str, counters: Collection[Counter]) -> dict[Counter, int]:
        """Return what is reserved, without a lock; a counter that nothing was reserved of may be absent."""
        return {
            (row.limit_id, row.user_id): row.reserved
            for query in _by_key(organization_id, counters)
            for row in query
        }

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

    def lock_of_leases(self, organization_id: str, lease_ids: Collection[str]) -> None:
        """Lock the counters that leases have parts of. Which they are never changes, so it is read freely."""
        counters: set[Counter] = set()
        for ids in _chunks(lease_ids):
            rows = ReservationRow.select(ReservationRow.limit_id, ReservationRow.user_id).where(
                (ReservationRow.organization_id == organization_id) & ReservationRow.lease_id.in_(ids)
            )
            counters.update((row.limit_id, row.user_id) for row in rows)
        for query in _by_key(organization_id, counters):
            list(self._database.locked(query))

    def keep(self, organization_id: str, events: Mapping[str, tuple[str, str]]) -> None:
        """Let the parts of leases, by id, wait for the rating of an event instead of the lease's end.

        What the event used is in no sum while nobody knows it, and unknown is not zero. That it happened
        is known.
        """
        for lease_id, (source, event_id) in sorted(events.items()):
            ReservationRow.update(event_source=source, event_id=event_id).where(
                (ReservationRow.organization_id == organization_id)
                & (ReservationRow.lease_id == lease_id)
                & (ReservationRow.unit != EVENTS)
            ).execute()

    def release_leases(self, organization_id: str, lease_ids: Collection[str]) -> None:
        """Give back the parts of leases that have ended, once; their counters are locked."""
        for ids in _chunks(lease_ids):
            self._release(organization_id, ReservationRow.lease_id.in_(ids) & (ReservationRow.event_id == ""))

    def release_events(self, organization_id: str, events: Collection[tuple[str, str]]) -> None:
        """Give back what waited for events, each a source and an id, that are rated now."""
        for source in sorted({source for source, _ in events}):
            for ids in _chunks({event_id for other, event_id in events if other == source} - {""}):
                mine = ReservationRow.event_id.in_(ids) & (ReservationRow.event_source == source)
                rows = ReservationRow.select().where(
                    (ReservationRow.organization_id == organization_id) & mine
                )
                for query in _by_key(organization_id, {(row.limit_id, row.user_id) for row in rows}):
                    list(self._database.locked(query))
                self._release(organization_id, mine)

    def delete(self, organization_id: str, limit_id: str) -> None:
        """Delete a limit's counters and all that is reserved of it."""
        mine = (CounterRow.organization_id == organization_id) & (CounterRow.limit_id == limit_id)
        query: peewee.ModelSelect[Any] = CounterRow.select().where(mine)
        list(self._database.locked(query.order_by(CounterRow.user_id)))
        ReservationRow.delete().where(
            (ReservationRow.organization_id == organization_id) & (ReservationRow.limit_id == limit_id)
        ).execute()
        CounterRow.delete().where(mine).execute()

    def _release(self, organization_id: str, condition: Any) -> None:  # noqa: ANN401 - peewee's own
        deleted = (
            ReservationRow.delete()
            .where((ReservationRow.organization_id == organization_id) & condition)
            .returning(ReservationRow.limit_id, ReservationRow.user_id, ReservationRow.amount)
        )
        freed: dict[Counter, int] = {}
        for row in deleted.execute():
            counter = (row.limit_id, row.user_id)
            freed[counter] = freed.get(counter, 0) + row.amount
        for counter, amount in sorted(freed.items()):
            self._add(organization_id, counter, -amount)

    def _add(self, organization_id: str, counter: Counter, amount: int) -> None:
        limit_id, user_id = counter
        CounterRow.update(reserved=CounterRow.reserved + amount).where(
            (CounterRow.organization_id == organization_id)
            & (CounterRow.limit_id == limit_id)
            & (CounterRow.user_id == user_id)
        ).execute()


def _by_key(organization_id: str, counters: Collection[Counter]) -> Iterable["peewee.ModelSelect[Any]"]:
    """Select counters in the order of their keys, and perhaps others of the same limits and users.

    The two databases share no short way to name pairs, and to lock a few too many does no harm.
    """
    for ids in _chunks({limit_id for limit_id, _ in counters}):
        for users in _chunks({user_id for _, user_id in counters}):
            query = CounterRow.select().where(
                (CounterRow.organization_id == organization_id)
                & CounterRow.limit_id.in_(ids)
                & CounterRow.user_id.in_(users)
            )
            yield query.order_by(CounterRow.limit_id, CounterRow.user_id)


def _chunks(ids: Collection[str]) -> Iterable[list[str]]:
    ordered = sorted(ids)
    return (ordered[start : start + _CHUNK] for start in range(0, len(ordered), _CHUNK))
