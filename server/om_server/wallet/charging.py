"""Who pays for an event that has happened: its escrow or its leases, then its wallets, then the receivable.

Pure: it moves money between books, leases and escrows that the caller has locked, and saves nothing.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from om_server.core.event import Funding
from om_server.core.value import value_type
from om_server.wallet.entry import Cause
from om_server.wallet.grant import Slice
from om_server.wallet.holds.escrow import Escrow, EscrowKind
from om_server.wallet.leases.lease import ENDED, Lease, LeaseState, settled
from om_server.wallet.ledger import Paid
from om_server.wallet.span import Books, capture, chain_of, charge, hand_over, release, suspend

#: More was consumed than the edge had set aside: its bound, or the rate card, was wrong.
OVER_BOUND = "over_bound"
#: The event names a lease that is not this edge's, or that this store never had.
LEASE_UNKNOWN = "lease_unknown"
#: The event names a lease that had all its events already.
LEASE_ENDED = "lease_ended"
#: An owner decided about the lease before the event came: its suspense paid, as far as it went.
LEASE_RESOLVED = "lease_resolved"
#: The event names a wallet that this store never had, so nobody can pay.
WALLET_UNKNOWN = "wallet_unknown"
#: What the event may cost is out of the wallet until an owner decides.
SUSPENDED = "suspended"


@value_type(frozen=True, slots=True)
class Charge:
    """What an event costs in nano-credits, 0 included, and who was chosen to pay; "" is nobody.

    `keep` is set where nobody can tell yet what it costs: its leases count it, and what it may cost
    at most stays aside for it, in suspense if `suspended`.
    """

    source: str
    event_id: str
    amount: int
    wallet_id: str = ""
    funding: tuple[Funding, ...] = ()
    edge_id: str = ""
    description: str = ""
    keep: EscrowKind | None = None
    suspended: bool = False

    @property
    def identity(self) -> tuple[str, str]:
        """What names its escrow."""
        return self.source, self.event_id


@value_type(frozen=True, slots=True)
class ChargeResult:
    """Who paid: leases and escrows `captured`, wallets were `charged`, and `receivable` is still owed."""

    captured: int = 0
    charged: int = 0
    receivable: int = 0
    wallet_id: str = ""
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Stake:
    """Escrows that events of one batch may meet: of the events themselves, and of resolved leases."""

    of_events: Mapping[tuple[str, str], Escrow]
    of_leases: Mapping[str, Escrow]


class Settlement:
    """Settles events one after the other. Their order never changes what they cost in sum."""

    def __init__(
        self,
        books: Books,
        leases: Iterable[Lease],
        stake: Stake | None = None,
        *,
        now: int = 0,
        new_id: Callable[[str], str] = str,
    ) -> None:
        self._books = books
        self._leases = {lease.lease_id: lease for lease in leases}
        self._touched: dict[str, None] = {}
        self._escrows = dict(stake.of_events) if stake else {}
        self._suspense = dict(stake.of_leases) if stake else {}
        self._before = {
            escrow.escrow_id: escrow for escrow in (*self._escrows.values(), *self._suspense.values())
        }
        self._now = now
        self._new_id = new_id

    @property
    def changed(self) -> list[Lease]:
        """The leases that counted an event, as they are now."""
        return [self._leases[lease_id] for lease_id in self._touched]

    @property
    def new_escrows(self) -> list[Escrow]:
        """What was set aside for events."""
        return [escrow for escrow in self._escrows.values() if escrow.escrow_id not in self._before]

    @property
    def changed_escrows(self) -> list[Escrow]:
        """The older escrows that are not as they were."""
        current = (*self._escrows.values(), *self._suspense.values())
        return [
            escrow
            for escrow in current
            if escrow.escrow_id in self._before and escrow != self._before[escrow.escrow_id]
        ]

    def settle(self, charge: Charge) -> ChargeResult:
        """Count the event on each of its leases, once, and move its money."""
        escrow = self._escrows.get(charge.identity)
        if escrow is not None:
            return self._from_escrow(charge, escrow)
        if charge.keep is not None:
            return self._keep(charge, charge.keep)
        flags: dict[str, None] = {}
        due, excused, payer = charge.amount, 0, charge.wallet_id
        for lease_id, retained in retained_of(charge.funding).items():
            lease = self._known(lease_id, charge, flags=flags)
            if lease is None:
                excused += retained
                continue
            if lease.state in ENDED:
                excused += retained
            payer = payer or lease.wallet_id
            due -= self._capture(lease, min(due, retained), charge=charge)
        return self._direct(charge, due, payer=payer, excused=excused, flags=flags)

    def _known(self, lease_id: str, charge: Charge, *, flags: dict[str, None]) -> Lease | None:
        """Return the lease if it is this edge's, and flag what is unusual about it."""
        lease = self._leases.get(lease_id)
        if lease is None or lease.edge_id != charge.edge_id:
            flags[LEASE_UNKNOWN] = None
            return None
        if lease.state in ENDED:
            flags[LEASE_RESOLVED if lease.state is LeaseState.RESOLVED else LEASE_ENDED] = None
        return lease

    def _direct(
        self, charge_: Charge, due: int, *, payer: str, excused: int, flags: dict[str, None]
    ) -> ChargeResult:
        """Charge the wallet and those behind it what nothing was set aside for."""
        paid = Paid(0, 0)
        if due and payer:
            if charge_.funding and due > excused:
                flags[OVER_BOUND] = None
            if payer in self._books:
                paid = charge(chain_of(self._books, payer), due, cause=_cause(charge_))
            else:
                flags[WALLET_UNKNOWN] = None
        return ChargeResult(charge_.amount - due, paid.charged, paid.receivable, payer, tuple(flags))

    def _from_escrow(self, charge: Charge, escrow: Escrow) -> ChargeResult:
        """Settle an event that its leases counted before, from what was set aside for it then."""
        payer = charge.wallet_id or escrow.wallet_id
        if charge.keep is not None:
            # Still nobody can tell.
            return self._direct(charge, 0, payer=payer, excused=0, flags={})
        if not escrow.pending:
            # What an owner decided is paid, and nobody pays it twice; only a wallet can pay the rest.
            due = max(0, charge.amount - (escrow.decided or 0))
            return self._direct(charge, due, payer=payer, excused=due, flags={})
        part = min(charge.amount, escrow.remaining)
        after = escrow.take(self._books, part, cause=_cause(charge, hold_id=escrow.escrow_id))
        after = after.resolve(self._books, cause=_cause(charge, hold_id=escrow.escrow_id))
        self._escrows[charge.identity] = after
        # What its leases had no more when it came, because an owner had decided about them.
        missing = max(0, sum(retained_of(charge.funding).values()) - escrow.amount)
        late = self._from_suspense(charge, min(charge.amount - part, missing))
        due = charge.amount - part - late
        return self._direct(charge, due, payer=payer, excused=missing - late, flags={})

    def _from_suspense(self, charge: Charge, amount: int) -> int:
        """Charge the suspense of resolved leases that counted the event before; return how much that was."""
        left = amount
        for lease_id, retained in retained_of(charge.funding).items():
            lease = self._leases.get(lease_id)
            if lease is not None and lease.state is LeaseState.RESOLVED and lease.edge_id == charge.edge_id:
                left -= self._capture_suspense(lease_id, min(left, retained), charge=charge)
        return amount - left

    def _keep(self, charge: Charge, kind: EscrowKind) -> ChargeResult:
        """Count the event, and move what it keeps on its leases to an escrow in its own name."""
        flags: dict[str, None] = {}
        suspended = charge.suspended and any(retained_of(charge.funding).values())
        escrow_id = self._new_id("sus" if suspended else "hld")
        payer, kept = charge.wallet_id, list[Slice]()
        for lease_id, retained in retained_of(charge.funding).items():
            lease = self._known(lease_id, charge, flags=flags)
            if lease is None:
                continue
            payer = payer or lease.wallet_id
            slices, moved = hand_over(
                self._books,
                lease.slices,
                min(retained, lease.remaining),
                source=_cause(charge, hold_id=lease_id),
                target=_cause(charge, hold_id=escrow_id),
            )
            kept += [replace(piece, position=at) for at, piece in enumerate(moved, start=len(kept))]
            self._count(lease, slices)
        if suspended:
            suspend(self._books, kept, cause=_cause(charge, hold_id=escrow_id))
            flags[SUSPENDED] = None
        # Also without money, as a trace: its leases must not count it again when it comes to be settled.
        if charge.funding:
            self._escrows[charge.identity] = Escrow(
                escrow_id=escrow_id,
                wallet_id=payer,
                kind=kind,
                suspended=suspended,
                pending=True,
                lease_id="",
                event_source=charge.source,
                event_id=charge.event_id,
                amount=sum(piece.amount for piece in kept),
                create_time=self._now,
                slices=tuple(kept),
            )
        return ChargeResult(wallet_id=payer, flags=tuple(flags))

    def _capture(self, lease: Lease, amount: int, *, charge: Charge) -> int:
        """Charge the lease, never more than it has; the suspense of one that an owner resolved."""
        if lease.state is LeaseState.RESOLVED:
            self._count(lease, lease.slices)
            return self._capture_suspense(lease.lease_id, amount, charge=charge)
        captured = min(amount, lease.remaining)
        slices = lease.slices
        if captured:
            slices = capture(self._books, slices, captured, cause=_cause(charge, hold_id=lease.lease_id))
        self._count(lease, slices)
        return captured

    def _capture_suspense(self, lease_id: str, amount: int, *, charge: Charge) -> int:
        suspense = self._suspense.get(lease_id)
        if suspense is None:
            return 0
        captured = min(amount, suspense.remaining)
        after = suspense.take(self._books, captured, cause=_cause(charge, hold_id=suspense.escrow_id))
        self._suspense[lease_id] = replace(after, pending=after.remaining > 0)
        return captured

    def _count(self, lease: Lease, slices: tuple[Slice, ...]) -> None:
        """Count one more event on a lease, and free its rest if that was the last."""
        rest = sum(piece.held for piece in slices)
        if rest and lease.ends_next:
            slices = release(self._books, slices, rest, cause=Cause(hold_id=lease.lease_id))
        self._leases[lease.lease_id] = settled(lease, slices)
        self._touched[lease.lease_id] = None


def retained_of(funding: tuple[Funding, ...]) -> dict[str, int]:
    """What the edge kept on each lease. An event counts once on a lease, however often it names it."""
    kept: dict[str, int] = {}
    for part in funding:
        kept[part.lease_id] = kept.get(part.lease_id, 0) + part.retained
    return kept


def _cause(charge: Charge, *, hold_id: str = "") -> Cause:
    return Cause(
        hold_id=hold_id,
        event_source=charge.source,
        event_id=charge.event_id,
        description=charge.description,
    )
