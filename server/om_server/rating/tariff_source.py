"""Where the tariff of an organization comes from: snapshots in memory, checked against what is stored."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Protocol

from om_server.rating.burn_table import burn_table
from om_server.rating.price_overlay import overlaid_book
from om_server.rating.tariff import Activation, Tariff, Timeline

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from om_server.rating.price_book import PriceBook
    from om_server.rating.store import TariffStore
    from om_server.storage.database import Database

# A snapshot with prices of its own takes about a megabyte.
_SNAPSHOTS_MAX = 256


class TariffSource(Protocol):
    """Gives the tariff of an organization as it is stored now."""

    def tariff(self, organization_id: str) -> Tariff:
        """Return a snapshot; within a transaction always the same one."""


class CatalogueTariffs:
    """The catalogue's prices and the default burn table for everybody. Nothing is stored."""

    def __init__(self, book: PriceBook) -> None:
        self._tariff = Tariff("", book)

    def tariff(self, organization_id: str) -> Tariff:
        """Return the same tariff for every organization."""
        del organization_id
        return self._tariff


class _Seen(threading.local):
    """What this thread has seen in the transaction that it has open."""

    transaction: object = None
    tariffs: dict[str, Tariff]


class StoredTariffs:
    """Snapshots of the stored tariffs over the catalogue's book.

    Each use compares the version, which is one read by primary key; in a transaction only the first use
    does, so that settling a batch costs one read. A version is a name that is never used twice: what a
    transaction saw and then rolled back can never be taken for what another one stored.
    """

    def __init__(self, database: Database, store: TariffStore, book: PriceBook) -> None:
        self._database = database
        self._engine = database.engine
        self._store = store
        self._book = book
        self._plain = Tariff("", book)
        self._snapshots: OrderedDict[str, Tariff] = OrderedDict()
        self._lock = threading.Lock()
        self._seen = _Seen()

    def tariff(self, organization_id: str) -> Tariff:
        """Return the tariff as it is stored when this, or its transaction's first use, is called."""
        seen, transaction = self._seen, self._engine.top_transaction()
        if transaction is None:
            return self._database.read(lambda: self._current(organization_id))
        if seen.transaction is not transaction:
            seen.transaction, seen.tariffs = transaction, {}
        found = seen.tariffs.get(organization_id)
        if found is None:
            found = seen.tariffs[organization_id] = self._current(organization_id)
        return found

    @property
    def book(self) -> PriceBook:
        """The price list beneath the prices of organizations."""
        return self._book

    def book_of(self, organization_id: str, price_ids: AbstractSet[str]) -> PriceBook:
        """Return the book with only these of the organization's prices over it, as it once was."""
        stored = self._database.read(lambda: self._store.prices(organization_id))
        return overlaid_book(self._book, [one.price for one in stored if one.price.version in price_ids])

    def forget(self) -> None:
        """Look again at what is stored: this thread's transaction has changed it."""
        self._seen.transaction = None

    def _current(self, organization_id: str) -> Tariff:
        version = self._store.version(organization_id)
        if not version:
            return self._plain
        with self._lock:
            found = self._snapshots.get(organization_id)
            if found is not None and found.version == version:
                self._snapshots.move_to_end(organization_id)
                return found
        made = self._load(organization_id, version)
        with self._lock:
            self._snapshots[organization_id] = made
            self._snapshots.move_to_end(organization_id)
            if len(self._snapshots) > _SNAPSHOTS_MAX:
                self._snapshots.popitem(last=False)
        return made

    def _load(self, organization_id: str, version: str) -> Tariff:
        while True:
            made = self._read(organization_id, version)
            # Statements outside of a transaction may each see another state.
            after = self._store.version(organization_id)
            if after == version:
                return made
            version = after

    def _read(self, organization_id: str, version: str) -> Tariff:
        activations: dict[str, list[Activation]] = {}
        for stored in self._store.activations(organization_id):
            found = Activation(stored.burn_table_id, stored.effective_time)
            activations.setdefault(stored.customer_id, []).append(found)
        prices = [stored.price for stored in self._store.prices(organization_id)]
        return Tariff(
            version,
            overlaid_book(self._book, prices),
            timelines={customer: Timeline(tuple(found)) for customer, found in activations.items()},
            burn_tables={
                stored.burn_table_id: burn_table(stored.burn_table_id, stored.rules)
                for stored in self._store.active_burn_tables(organization_id)
            },
        )
