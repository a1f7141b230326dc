"""Ends leases on the word of their edge: CloseLease for one, Resync for all of its past."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import groupby

import structlog

from om_server.core.clock import Clock
from om_server.core.errors import NotFound
from om_server.core.ids import IdSource
from om_server.storage.database import Database
from om_server.wallet.entry import Cause
from om_server.wallet.leases.declaration import Declaration, declare, freed, quarantined
from om_server.wallet.leases.edge import require_current, require_successor
from om_server.wallet.leases.lease import ENDED, EdgeIdentity, Lease, LeaseReport, LeaseState
from om_server.wallet.span import Books, release
from om_server.wallet.store import WalletStore

_log = structlog.get_logger(__name__)

#: What becomes of one locked lease.
Verdict = Callable[[Lease], Declaration]


@dataclass(frozen=True, slots=True)
class Closed:
    """A lease after its report, and what returned to its wallets at once."""

    lease: Lease
    released: int


@dataclass(frozen=True, slots=True)
class Past:
    """What a starting edge knows: its journal's leases, and whether the journal is complete."""

    boot_id: str
    clean: bool = True
    reports: tuple[LeaseReport, ...] = ()


@dataclass(frozen=True, slots=True)
class Resynced:
    """The leases of lower epochs that have not ended, and the reported ones that the store never had."""

    open_leases: list[Lease]
    unknown_lease_ids: list[str]


class LeaseClosing:
    """Locks in the one order of the system: edge, wallets, leases."""

    def __init__(self, database: Database, store: WalletStore, *, ids: IdSource, clock: Clock) -> None:
        self._database = database
        self._store = store
        self._ids = ids
        self._clock = clock

    def close(self, edge: EdgeIdentity, report: LeaseReport) -> Closed:
        """Declare what a lease of this edge paid for. NOT_FOUND for any other lease."""

        def run() -> Closed:
            require_current(edge, self._store.edges.registered(edge.edge_id, for_update=False))
            origin = self._store.leases.origin(edge.edge_id, report.lease_id)
            if origin is None:
                raise NotFound("lease", report.lease_id)
            organization_id, wallet_ids = origin
            [closed] = self._apply(
                organization_id,
                [report.lease_id],
                lambda lease: declare(lease, report),
                wallet_ids=wallet_ids,
            )
            return closed

        return self._database.write(run)

    def resync(self, edge: EdgeIdentity, past: Past) -> Resynced:
        """Store the edge's epoch, and end its leases of lower epochs as far as the journal tells how.

        A lease of a complete journal's past that is not in it never reached the edge: no event names it.
        Of an incomplete past nothing is believed. Leases of this epoch are the edge's own business.
        """

        def run() -> Resynced:
            self._register(edge, past)
            reports = {report.lease_id: report for report in past.reports}

            def verdict(lease: Lease) -> Declaration:
                if not past.clean:
                    return Declaration(quarantined(lease))
                report = reports.get(lease.lease_id)
                if report is None and lease.keep is not None:
                    # It was declared, and by now the journal has dropped its settled part.
                    return Declaration(lease)
                return declare(lease, report or LeaseReport(lease.lease_id, 0, 0))

            left: list[Lease] = []
            known = self._store.leases.organizations(edge.edge_id, reports)
            # In the order of organizations and ids, as settling locks them.
            earlier = sorted(
                self._store.leases.open_of_edge(edge),
                key=lambda lease: (lease.organization_id, lease.lease_id),
            )
            for organization_id, leases in groupby(earlier, key=lambda lease: lease.organization_id):
                lease_ids = [lease.lease_id for lease in leases]
                wallet_ids = self._store.leases.wallets(organization_id, lease_ids) - {""}
                ended = self._apply(organization_id, lease_ids, verdict, wallet_ids=wallet_ids)
                left += [closed.lease for closed in ended]
            return Resynced(
                [lease for lease in left if lease.state not in ENDED],
                [lease_id for lease_id in reports if lease_id not in known],
            )

        return self._database.write(run)

    def _register(self, edge: EdgeIdentity, past: Past) -> None:
        """Store the epoch under the row's lock, which every admission of a lower epoch shares."""
        now = self._clock()
        self._store.edges.introduce(edge, boot_id=past.boot_id, now=now)
        registered = self._store.edges.registered(edge.edge_id, for_update=True)
        if registered is not None:
            require_successor(edge, registered)
        self._store.edges.register(edge, boot_id=past.boot_id, now=now)

    def _apply(
        self,
        organization_id: str,
        lease_ids: Collection[str],
        verdict: Verdict,
        *,
        wallet_ids: Collection[str],
    ) -> Sequence[Closed]:
        """Judge leases behind their locks, so that an event that settles meanwhile counts before or after."""
        books = self._store.lock(organization_id, wallet_ids, now=self._clock(), new_id=self._ids.new)
        before = self._store.leases.lock(organization_id, lease_ids)
        closed = [_closed(verdict(lease), books) for lease in before]
        self._store.save(organization_id, books.values())
        changed = zip(before, closed, strict=True)
        self._store.leases.save([after.lease for lease, after in changed if after.lease != lease])
        return closed


def _closed(declaration: Declaration, books: Books) -> Closed:
    lease, amount = declaration.lease, declaration.release
    if declaration.alarm is not None:
        _log.error(
            declaration.alarm.value,
            organization_id=lease.organization_id,
            lease_id=lease.lease_id,
            edge_id=lease.edge_id,
            final_count=lease.final_count,
            settled_count=lease.settled_count,
        )
    slices = lease.slices
    if amount:
        slices = release(books, slices, amount, cause=Cause(hold_id=lease.lease_id))
    if lease.state is not LeaseState.CLOSING:
        return Closed(lease, 0)
    return Closed(freed(lease, slices), amount)
