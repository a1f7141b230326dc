"""What an owner decides about money whose end is not known. Every decision says who took it and why."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from om_server.core.audit import AuditEntry
from om_server.core.clock import MICROS_PER_SECOND, Clock
from om_server.core.errors import NotFound
from om_server.core.ids import IdSource
from om_server.core.money import AmountOutOfRange
from om_server.storage.audit import AuditTrail
from om_server.storage.database import Database
from om_server.wallet.entry import Cause
from om_server.wallet.facts import credits_text
from om_server.wallet.grant import Slice
from om_server.wallet.holds.escrow import Escrow, EscrowKind, recall_grants
from om_server.wallet.holds.hold import HoldConflict
from om_server.wallet.leases.lease import Lease, LeaseState
from om_server.wallet.ledger import WalletBook
from om_server.wallet.span import hand_over, suspend
from om_server.wallet.store import WalletStore
from om_server.wallet.wallet import Wallet

#: A lease is an orphan this long after nobody could spend from it any more.
ORPHAN_AFTER = 24 * 3600 * MICROS_PER_SECOND


@dataclass(frozen=True, slots=True)
class Decision:
    """Who decided, and why; both stay in the ledger."""

    member_id: str
    reason: str

    @property
    def description(self) -> str:
        """The text of the entries."""
        return f"{self.member_id}: {self.reason}"


def require_resolvable(lease: Lease, now: int) -> None:
    """HOLD_STATE unless the lease is in quarantine or an orphan: else its edge may still speak."""
    orphan = lease.state is not LeaseState.CLOSED and now >= lease.expire_time + ORPHAN_AFTER
    if lease.state is not LeaseState.QUARANTINED and not orphan:
        raise HoldConflict(lease.lease_id, state=lease.state)


class Suspending:
    """Each decision is one transaction, which locks wallets, then leases."""

    def __init__(
        self, database: Database, store: WalletStore, *, ids: IdSource, clock: Clock, trail: AuditTrail
    ) -> None:
        self._database = database
        self._store = store
        self._ids = ids
        self._clock = clock
        self._trail = trail

    def resolve_lease(self, organization_id: str, lease_id: str, *, decision: Decision) -> Lease:
        """Move what a lost lease still has to suspense; a repeat changes nothing."""

        def run() -> Lease:
            now = self._clock()
            wallet_ids = self._store.leases.wallets(organization_id, [lease_id])
            books = self._lock(organization_id, wallet_ids, now=now)
            found = self._store.leases.lock(organization_id, [lease_id])
            if not found:
                raise NotFound("lease", lease_id)
            [lease] = found
            if lease.state is LeaseState.RESOLVED:
                return lease
            require_resolvable(lease, now)
            escrow, slices = self._suspended(lease, books, decision=decision, now=now)
            resolved = replace(lease, state=LeaseState.RESOLVED, remaining=0, slices=slices)
            self._store.save(organization_id, books.values())
            self._store.leases.save([resolved])
            self._store.escrows.save(organization_id, new=[escrow] if escrow.amount else [], changed=[])
            after = {
                "state": resolved.state.value,
                "suspense_id": escrow.escrow_id,
                "reason": decision.reason,
            }
            entry = AuditEntry(
                "ResolveLease",
                "lease",
                lease_id,
                before={"state": lease.state.value, "remaining": credits_text(lease.remaining)},
                after=after,
            )
            self._trail.record(organization_id, entry)
            return resolved

        return self._database.write(run)

    def release(self, organization_id: str, suspense_id: str, *, charge: int, decision: Decision) -> Wallet:
        """Charge a part of what is suspended and return the rest; only the same decision repeats.

        A late outcome may have taken its part before: the owner decides about what is left.
        """

        def run() -> Wallet:
            books, suspense = self._locked(organization_id, suspense_id)
            if not suspense.suspended:
                raise NotFound("suspense", suspense_id)
            if not suspense.pending:
                if suspense.decided != charge:
                    raise HoldConflict(suspense_id, state="released")
                return books[suspense.wallet_id].wallet
            if not 0 <= charge <= suspense.remaining:
                raise AmountOutOfRange(str(charge))
            self._resolve(organization_id, books, suspense, charge=charge, description=decision.description)
            entry = AuditEntry(
                "ReleaseSuspense",
                "suspense",
                suspense_id,
                before={"remaining": credits_text(suspense.remaining), "wallet_id": suspense.wallet_id},
                after={"charged": credits_text(charge), "reason": decision.reason},
            )
            self._trail.record(organization_id, entry)
            return books[suspense.wallet_id].wallet

        return self._database.write(run)

    def suspend_event(self, organization_id: str, event: tuple[str, str]) -> int:
        """Move what is held for an event (source, id) to suspense; return how much that is."""

        def run() -> int:
            found = self._store.escrows.of_events(organization_id, [event]).get(event)
            if found is None:
                return 0
            books, escrow = self._locked(organization_id, found.escrow_id)
            if escrow.suspended or not escrow.pending or not escrow.remaining:
                return 0
            suspense_id, (source, event_id) = self._ids.new("sus"), event
            target = Cause(suspense_id, source, event_id)
            cause = Cause(escrow.escrow_id, source, event_id)
            _, moved = hand_over(books, escrow.slices, escrow.remaining, source=cause, target=target)
            suspend(books, moved, cause=target)
            suspense = replace(
                escrow, escrow_id=suspense_id, suspended=True, create_time=self._clock(), slices=moved
            )
            self._store.save(organization_id, books.values())
            self._store.escrows.rename(organization_id, escrow.escrow_id, to=suspense)
            return suspense.remaining

        return self._database.write(run)

    def discard(self, organization_id: str, event: tuple[str, str], *, decision: Decision) -> int:
        """Free what is held for an event (source, id) that nobody will settle; return how much it was."""

        def run() -> int:
            found = self._store.escrows.of_events(organization_id, [event]).get(event)
            if found is None:
                return 0
            books, escrow = self._locked(organization_id, found.escrow_id)
            if escrow.pending:
                self._resolve(organization_id, books, escrow, charge=0, description=decision.description)
            return escrow.remaining

        return self._database.write(run)

    def _resolve(
        self,
        organization_id: str,
        books: dict[str, WalletBook],
        escrow: Escrow,
        *,
        charge: int,
        description: str,
    ) -> None:
        cause = Cause(escrow.escrow_id, escrow.event_source, escrow.event_id, description)
        resolved = escrow.take(books, charge, cause=cause).resolve(books, cause=cause)
        self._store.save(organization_id, books.values())
        self._store.escrows.save(organization_id, new=[], changed=[replace(resolved, decided=charge)])

    def _locked(self, organization_id: str, escrow_id: str) -> tuple[dict[str, WalletBook], Escrow]:
        stored = self._store.escrows.get(organization_id, escrow_id)
        if stored is None:
            raise NotFound("suspense", escrow_id)
        wallet_ids = {stored.wallet_id, *(piece.wallet_id for piece in stored.slices)}
        books = self._lock(organization_id, wallet_ids, now=self._clock())
        # Behind the lock, so that what a late outcome took of it is seen.
        escrow = self._store.escrows.get(organization_id, escrow_id) or stored
        grant_ids = {piece.grant_id for piece in escrow.slices if piece.held}
        recall_grants(books, self._store.grants(organization_id, grant_ids))
        return books, escrow

    def _lock(self, organization_id: str, wallet_ids: Iterable[str], *, now: int) -> dict[str, WalletBook]:
        ids = set(wallet_ids) - {""}
        return self._store.lock(organization_id, ids, now=now, new_id=self._ids.new)

    def _suspended(
        self, lease: Lease, books: dict[str, WalletBook], *, decision: Decision, now: int
    ) -> tuple[Escrow, tuple[Slice, ...]]:
        """Move the rest of a lease to suspense; return it, and the slices that the lease keeps."""
        suspense_id = self._ids.new("sus")
        target = Cause(hold_id=suspense_id, description=decision.description)
        source = replace(target, hold_id=lease.lease_id)
        left, moved = hand_over(books, lease.slices, lease.remaining, source=source, target=target)
        suspend(books, moved, cause=target)
        suspense = Escrow(
            escrow_id=suspense_id,
            wallet_id=lease.wallet_id,
            kind=EscrowKind.LEASE,
            suspended=True,
            pending=True,
            lease_id=lease.lease_id,
            event_source="",
            event_id="",
            amount=lease.remaining,
            create_time=now,
            slices=moved,
        )
        return suspense, left
