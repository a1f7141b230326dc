"""Leases for edges: taken once for each admit key, by the process of the edge that resynced last."""

from om_server.core.clock import MICROS_PER_SECOND, Clock
from om_server.core.errors import IdempotencyKeyReused, NotFound
from om_server.core.ids import IdSource
from om_server.storage.database import Database
from om_server.wallet.entry import Cause
from om_server.wallet.grant import Slice
from om_server.wallet.leases.edge import require_current
from om_server.wallet.leases.lease import EdgeIdentity, Lease, LeaseRequest, lease_amount, new_lease, sized
from om_server.wallet.ledger import WalletBook
from om_server.wallet.limits.gate import LimitGate
from om_server.wallet.span import chain_of, require, reserve, spendable
from om_server.wallet.store import WalletStore

#: An edge that took no lease from a wallet for this long gets one for one request.
_BUSY = 10 * MICROS_PER_SECOND


class Leasing:
    """Opens leases, asks for them back, and knows which process may take them."""

    def __init__(self, database: Database, store: WalletStore, *, ids: IdSource, clock: Clock) -> None:
        self._database = database
        self._store = store
        self._ids = ids
        self._clock = clock

    def open(self, organization_id: str, request: LeaseRequest, *, gate: LimitGate) -> Lease | None:
        """Take a lease, or return the one that its key took before; None where only asked.

        A refusal is raised before anything is written. Where nobody pays, the lease carries no money.
        """
        if not request.want_nanos:
            return self._database.read(lambda: self._ask(organization_id, request))
        return self._database.write(lambda: self._take(organization_id, request, gate))

    def recall(self, organization_id: str, wallet_id: str) -> int:
        """Ask for the idle leases on a wallet and those behind it, which were short; return how many."""

        def run() -> int:
            chain = self._lock(organization_id, wallet_id, now=self._clock())
            wallet_ids = [book.opened.wallet_id for book in chain]
            return self._store.leases.recall(organization_id, wallet_ids, now=self._clock())

        return self._database.write(run)

    def recalled(self, edge_id: str, *, since: int) -> list[Lease]:
        """Return the open leases of an edge that neighbours asked for since a time."""
        return self._database.read(lambda: self._store.leases.recalled(edge_id, since=since))

    def _ask(self, organization_id: str, request: LeaseRequest) -> None:
        now, wallet_id = self._clock(), request.wallet_id
        wallet_ids = self._store.overflow.closure(organization_id, [wallet_id])
        books = self._store.look(organization_id, wallet_ids, now=now, new_id=self._ids.new)
        if wallet_id not in books:
            raise NotFound("wallet", wallet_id)
        require(chain_of(books, wallet_id), request.min_nanos)

    def _take(self, organization_id: str, request: LeaseRequest, gate: LimitGate) -> Lease:
        now, wallet_id = self._clock(), request.wallet_id
        chain = self._lock(organization_id, wallet_id, now=now)
        gate.lock()
        # Behind the locks, so that a twin for the same wallet or limit has committed or has not begun.
        stored = self._stored(organization_id, request)
        if stored is not None:
            return stored
        if not chain and wallet_id:
            raise NotFound("wallet", wallet_id)
        gate.require()
        lease_id = self._ids.new("lse")
        busy = self._store.leases.recent(
            organization_id, wallet_id, edge_id=request.edge.edge_id, since=now - _BUSY
        )
        fitted = sized(request, busy=busy)
        slices: tuple[Slice, ...] = ()
        if chain:
            amount = lease_amount(fitted, spendable=spendable(chain))
            slices = reserve(chain, amount, cause=Cause(hold_id=lease_id))
        lease = new_lease(fitted, organization_id=organization_id, lease_id=lease_id, slices=slices, now=now)
        if not self._store.leases.insert(lease):
            # A twin for another wallet was first; nothing of these books is written.
            stored = self._stored(organization_id, request)
            if stored is None:
                raise IdempotencyKeyReused("Admit")
            return stored
        self._store.save(organization_id, chain)
        gate.reserve(lease_id)
        return lease

    def _lock(self, organization_id: str, wallet_id: str, *, now: int) -> list[WalletBook]:
        """Lock a wallet with those behind it; an empty list if there is no such wallet."""
        wallet_ids = self._store.overflow.closure(organization_id, [wallet_id])
        return chain_of(
            self._store.lock(organization_id, wallet_ids, now=now, new_id=self._ids.new), wallet_id
        )

    def _stored(self, organization_id: str, request: LeaseRequest) -> Lease | None:
        lease = self._store.leases.find(organization_id, request.admit_key)
        if lease is not None and lease.request_hash != request.request_hash:
            raise IdempotencyKeyReused("Admit")
        return lease

    def require_current(self, edge: EdgeIdentity) -> None:
        """Refuse a process that has not resynced, or that another has replaced.

        Inside a transaction the answer holds until its end: a resync waits.
        """
        self._database.read(
            lambda: require_current(edge, self._store.edges.registered(edge.edge_id, for_update=False))
        )
