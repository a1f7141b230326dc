"""Moves the money of settled events, of one organization and in one transaction."""

from collections.abc import Collection, Sequence

from om_server.core.clock import Clock
from om_server.core.ids import IdSource
from om_server.storage.database import Database
from om_server.wallet.charging import Charge, ChargeResult, Settlement, Stake, retained_of
from om_server.wallet.holds.escrow import Escrow, EscrowKind, recall_grants
from om_server.wallet.leases.lease import ENDED, Lease, LeaseState
from om_server.wallet.ledger import WalletBook
from om_server.wallet.store import WalletStore


class Settling:
    """Locks what a batch of charges touches, in the one order of the system: wallets, then leases."""

    def __init__(self, database: Database, store: WalletStore, *, ids: IdSource, clock: Clock) -> None:
        self._database = database
        self._store = store
        self._ids = ids
        self._clock = clock

    def settle(self, organization_id: str, charges: Sequence[Charge]) -> list[ChargeResult]:
        """Settle charges in their order."""

        def run() -> list[ChargeResult]:
            now = self._clock()
            lease_ids = {part.lease_id for charge in charges for part in charge.funding}
            # Only what an edge reported was ever set aside.
            events = {charge.identity for charge in charges if charge.edge_id}
            books = self._lock(organization_id, charges, lease_ids, events=events, now=now)
            leases = self._store.leases.lock(organization_id, lease_ids)
            stake = self._stake(organization_id, books, leases=leases, events=events)
            settlement = Settlement(books, leases, stake, now=now, new_id=self._ids.new)
            results = [settlement.settle(charge) for charge in charges]
            self._store.save(organization_id, books.values())
            self._reserve_on(organization_id, charges, leases=leases)
            self._store.leases.save(settlement.changed)
            self._store.escrows.save(
                organization_id, new=settlement.new_escrows, changed=settlement.changed_escrows
            )
            return results

        return self._database.write(run)

    def _reserve_on(
        self, organization_id: str, charges: Sequence[Charge], *, leases: Sequence[Lease]
    ) -> None:
        """Let limits wait for events of which nobody can tell the use, beyond the end of their leases.

        An event whose leases had ended before may be one that limits waited for.
        """
        ended = {lease.lease_id for lease in leases if lease.state in ENDED}
        unrated: dict[str, tuple[str, str]] = {}
        unsettled: dict[str, tuple[str, str]] = {}
        for charge in charges:
            if charge.keep is not None:
                waiting = unsettled if charge.keep is EscrowKind.DEAD_LETTER else unrated
                waiting |= dict.fromkeys(retained_of(charge.funding), charge.identity)
        late = {
            charge.identity
            for charge in charges
            if charge.keep is None and ended & {part.lease_id for part in charge.funding}
        }
        reservations = self._store.leases.reservations
        reservations.keep(organization_id, unrated)
        reservations.keep(organization_id, unsettled, settled=False)
        reservations.release_events(organization_id, late)
        reservations.release_events(organization_id, set(unrated.values()), rated=False)

    def _lock(
        self,
        organization_id: str,
        charges: Sequence[Charge],
        lease_ids: Collection[str],
        *,
        events: Collection[tuple[str, str]],
        now: int,
    ) -> dict[str, WalletBook]:
        """Lock the wallets that may pay, with those behind them."""
        escrows = self._store.escrows.of_events(organization_id, events).values() if events else ()
        wallet_ids = {charge.wallet_id for charge in charges if charge.amount}
        wallet_ids |= self._store.leases.wallets(organization_id, lease_ids)
        wallet_ids |= {piece.wallet_id for escrow in escrows for piece in escrow.slices}
        wallet_ids |= self._store.overflow.closure(organization_id, wallet_ids)
        return self._store.lock(organization_id, wallet_ids - {""}, now=now, new_id=self._ids.new)

    def _stake(
        self,
        organization_id: str,
        books: dict[str, WalletBook],
        *,
        leases: Sequence[Lease],
        events: Collection[tuple[str, str]],
    ) -> Stake:
        """Read escrows behind the locks: a dead letter may have taken the place of its event meanwhile."""
        resolved = [lease.lease_id for lease in leases if lease.state is LeaseState.RESOLVED]
        of_events = self._store.escrows.of_events(organization_id, events) if events else {}
        of_leases = self._store.escrows.of_leases(organization_id, resolved) if resolved else {}
        self._recall(organization_id, books, [*of_events.values(), *of_leases.values()])
        return Stake(of_events, of_leases)

    def _recall(self, organization_id: str, books: dict[str, WalletBook], escrows: Sequence[Escrow]) -> None:
        grant_ids = {
            piece.grant_id for escrow in escrows if escrow.suspended for piece in escrow.slices if piece.held
        }
        if grant_ids:
            recall_grants(books, self._store.grants(organization_id, grant_ids))
