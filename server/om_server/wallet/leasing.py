"""Leases for edges: taken once for each admit key, by the process of the edge that resynced last."""

from om_server.core.clock import Clock
from om_server.core.errors import IdempotencyKeyReused, NotFound
from om_server.core.ids import IdSource
from om_server.storage.database import Database
from om_server.wallet.edge import require_current, require_successor
from om_server.wallet.entry import Cause
from om_server.wallet.lease import EdgeIdentity, Lease, LeaseRequest, lease_amount, new_lease
from om_server.wallet.store import WalletStore


class Leasing:
    """Opens leases and keeps the epochs of edges."""

    def __init__(self, database: Database, store: WalletStore, *, ids: IdSource, clock: Clock) -> None:
        self._database = database
        self._store = store
        self._ids = ids
        self._clock = clock

    def open(self, organization_id: str, request: LeaseRequest) -> Lease | None:
        """Take a lease, or return the one that its key took before; None where only asked.

        A refusal is raised before anything is written.
        """
        if not request.want_nanos:
            return self._database.read(lambda: self._ask(organization_id, request))
        return self._database.write(lambda: self._take(organization_id, request))

    def _ask(self, organization_id: str, request: LeaseRequest) -> None:
        now = self._clock()
        book = self._store.look(organization_id, request.wallet_id, now=now, new_id=self._ids.new)
        if book is None:
            raise NotFound("wallet", request.wallet_id)
        book.require(request.min_nanos)

    def _take(self, organization_id: str, request: LeaseRequest) -> Lease:
        now, wallet_id = self._clock(), request.wallet_id
        book = self._store.lock(organization_id, [wallet_id], now=now, new_id=self._ids.new).get(wallet_id)
        # Behind the lock, so that a twin for the same wallet has committed or has not begun.
        stored = self._stored(organization_id, request)
        if stored is not None:
            return stored
        if book is None:
            raise NotFound("wallet", wallet_id)
        lease_id = self._ids.new("lse")
        amount = lease_amount(request, spendable=book.spendable)
        slices = book.reserve(amount, cause=Cause(hold_id=lease_id))
        lease = new_lease(request, organization_id=organization_id, lease_id=lease_id, slices=slices, now=now)
        if not self._store.leases.insert(lease):
            # A twin for another wallet was first; nothing of this book is written.
            stored = self._stored(organization_id, request)
            if stored is None:
                raise IdempotencyKeyReused("Admit")
            return stored
        self._store.save(organization_id, [book])
        return lease

    def _stored(self, organization_id: str, request: LeaseRequest) -> Lease | None:
        lease = self._store.leases.find(organization_id, request.admit_key)
        if lease is not None and lease.request_hash != request.request_hash:
            raise IdempotencyKeyReused("Admit")
        return lease

    def resync(self, edge: EdgeIdentity, *, boot_id: str) -> list[Lease]:
        """Store the edge's epoch; return its leases of lower epochs that have not ended."""

        def run() -> list[Lease]:
            now = self._clock()
            self._store.edges.introduce(edge, boot_id=boot_id, now=now)
            registered = self._store.edges.registered(edge.edge_id, for_update=True)
            if registered is not None:
                require_successor(edge, registered)
            self._store.edges.register(edge, boot_id=boot_id, now=now)
            return self._store.leases.open_of_edge(edge)

        return self._database.write(run)

    def require_current(self, edge: EdgeIdentity) -> None:
        """Refuse a process that has not resynced, or that another has replaced.

        Inside a transaction the answer holds until its end: a resync waits.
        """
        self._database.read(
            lambda: require_current(edge, self._store.edges.registered(edge.edge_id, for_update=False))
        )
