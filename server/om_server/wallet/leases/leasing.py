"""Leases for edges: taken once for each admit key, by the process of the edge that resynced last."""

from dataclasses import dataclass

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
from om_server.wallet.wallet import Wallet

#: An edge that took no lease from a wallet for this long gets one for one request.
_BUSY = 10 * MICROS_PER_SECOND


@dataclass(frozen=True, slots=True)
class Opened:
    """A lease, none where only asked, and the wallet that pays, as it is now, none where nobody does."""

    lease: Lease | None
    wallet: Wallet | None


class Leasing:
    """Opens leases, asks for them back, and knows which process may take them."""

    def __init__(self, database: Database, store: WalletStore, *, ids: IdSource, clock: Clock) -> None:
        self._database = database
        self._store = store
        self._ids = ids
        self._clock = clock

    def open(self, organization_id: str, request: LeaseRequest, *, gate: LimitGate) -> Opened:
        """Take a lease, or return the one that its key took before; none where only asked.

        A refusal is raised before anything is written. Where nobody pays, the lease carries no money.
        """
        if not request.want_nanos:
            return self._database.read(lambda: self._ask(organization_id, request))
        return self._database.write(lambda: self._take(organization_id, request, gate))

    def recall(self, organization_id: str, wallet_id: str) -> int:
        """Ask for the idle leases on a wallet and those behind it, which were short; return how many.

        Whoever has such a wallet behind its own may have leased of it as well.
        """

        def run() -> int:
            now = self._clock()
            chain = self._lock(organization_id, wallet_id, now=now)
            wallet_ids = {book.opened.wallet_id for book in chain}
            takers = wallet_ids | self._store.overflow.takers(organization_id)
            return self._store.leases.recall(organization_id, wallet_ids, takers=takers, now=now)

        return self._database.write(run)

    def recalled(self, edge_id: str, *, since: int) -> list[Lease]:
        """Return the open leases of an edge that neighbours asked for since a time."""
        return self._database.read(lambda: self._store.leases.recalled(edge_id, since=since))

    def _ask(self, organization_id: str, request: LeaseRequest) -> Opened:
        now, wallet_id = self._clock(), request.wallet_id
        wallet_ids = self._behind(organization_id, wallet_id, alone=request.alone)
        books = self._store.look(organization_id, wallet_ids, now=now, new_id=self._ids.new)
        if wallet_id not in books:
            raise NotFound("wallet", wallet_id)
        require(chain_of(books, wallet_id), request.min_nanos)
        return Opened(None, _current(books[wallet_id]))

    def _take(self, organization_id: str, request: LeaseRequest, gate: LimitGate) -> Opened:
        now, wallet_id = self._clock(), request.wallet_id
        chain = self._lock(organization_id, wallet_id, alone=request.alone, now=now)
        gate.lock()
        # Behind the locks, so that a twin for the same wallet or limit has committed or has not begun.
        stored = self._stored(organization_id, request)
        if stored is not None:
            return self._replayed(stored, now=now)
        if not chain and wallet_id:
            raise NotFound("wallet", wallet_id)
        gate.require()
        lease_id = self._ids.new("lse")
        fitted = sized(request, busy=not request.roomy or self._busy(organization_id, request, now=now))
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
            return self._replayed(stored, now=now)
        self._store.save(organization_id, chain)
        gate.reserve(lease_id)
        return Opened(lease, _current(chain[0]) if chain else None)

    def _busy(self, organization_id: str, request: LeaseRequest, *, now: int) -> bool:
        return self._store.leases.recent(
            organization_id, request.wallet_id, edge_id=request.edge.edge_id, since=now - _BUSY
        )

    def _replayed(self, lease: Lease, *, now: int) -> Opened:
        """Return a lease that took its money before, perhaps from what is no longer the first choice."""
        if not lease.wallet_id:
            return Opened(lease, None)
        wallet = self._store.require(lease.organization_id, lease.wallet_id)
        return Opened(lease, self._store.as_of(lease.organization_id, [wallet], now=now)[0])

    def _behind(self, organization_id: str, wallet_id: str, *, alone: bool) -> set[str]:
        return {wallet_id} - {""} if alone else self._store.overflow.closure(organization_id, [wallet_id])

    def _lock(
        self, organization_id: str, wallet_id: str, *, now: int, alone: bool = False
    ) -> list[WalletBook]:
        """Lock a wallet with those behind it; an empty list if there is no such wallet."""
        wallet_ids = self._behind(organization_id, wallet_id, alone=alone)
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


def _current(book: WalletBook) -> Wallet:
    """Return a wallet as the clock leaves it. What that posts is for the next one who locks it to save."""
    book.begin(Cause())
    return book.wallet
