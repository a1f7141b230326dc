"""Who pays for an event that has happened: its leases, then its wallet, then the receivable.

Pure: it moves money between books and leases that the caller has locked, and saves nothing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from om_server.core.event import Funding
from om_server.wallet.entry import Cause
from om_server.wallet.lease import ENDED, Lease, settled
from om_server.wallet.ledger import Paid, WalletBook

#: More was consumed than the edge had set aside: its bound, or the rate card, was wrong.
OVER_BOUND = "over_bound"
#: The event names a lease that is not this edge's, or that this store never had.
LEASE_UNKNOWN = "lease_unknown"
#: The event names a lease that had all its events already.
LEASE_ENDED = "lease_ended"
#: The event names a wallet that this store never had, so nobody can pay.
WALLET_UNKNOWN = "wallet_unknown"


@dataclass(frozen=True, slots=True)
class Charge:
    """What an event costs in nano-credits, 0 included, and who was chosen to pay; "" is nobody."""

    source: str
    event_id: str
    amount: int
    wallet_id: str = ""
    funding: tuple[Funding, ...] = ()
    edge_id: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class ChargeResult:
    """Who paid: leases `captured`, the wallet was `charged`, and `receivable` is still owed."""

    captured: int = 0
    charged: int = 0
    receivable: int = 0
    wallet_id: str = ""
    flags: tuple[str, ...] = ()


class Settlement:
    """Settles events one after the other. Their order never changes what they cost in sum."""

    def __init__(self, books: Mapping[str, WalletBook], leases: Iterable[Lease]) -> None:
        self._books = books
        self._leases = {lease.lease_id: lease for lease in leases}
        self._touched: dict[str, None] = {}

    @property
    def changed(self) -> list[Lease]:
        """The leases that counted an event, as they are now."""
        return [self._leases[lease_id] for lease_id in self._touched]

    def settle(self, charge: Charge) -> ChargeResult:
        """Count the event on each of its leases and move its money."""
        flags: dict[str, None] = {}
        due, excused, payer = charge.amount, 0, charge.wallet_id
        for lease_id, retained in _retained(charge.funding).items():
            lease = self._leases.get(lease_id)
            if lease is None or lease.edge_id != charge.edge_id:
                flags[LEASE_UNKNOWN] = None
                excused += retained
                continue
            if lease.state in ENDED:
                flags[LEASE_ENDED] = None
                excused += retained
            payer = payer or lease.wallet_id
            due -= self._capture(lease, min(due, retained), charge=charge)
        paid = Paid(0, 0)
        if due and payer:
            if charge.funding and due > excused:
                flags[OVER_BOUND] = None
            if payer in self._books:
                paid = self._books[payer].charge(due, cause=_cause(charge))
            else:
                flags[WALLET_UNKNOWN] = None
        return ChargeResult(charge.amount - due, paid.charged, paid.receivable, payer, tuple(flags))

    def _capture(self, lease: Lease, amount: int, *, charge: Charge) -> int:
        """Charge the lease, never more than it has, and free its rest if this was its last event."""
        captured = min(amount, lease.remaining)
        slices, rest = lease.slices, lease.remaining - captured
        if captured:
            cause = _cause(charge, hold_id=lease.lease_id)
            slices = self._books[lease.wallet_id].capture(slices, captured, cause=cause)
        if rest and lease.ends_next:
            cause = Cause(hold_id=lease.lease_id)
            slices = self._books[lease.wallet_id].release(slices, rest, cause=cause)
        self._leases[lease.lease_id] = settled(lease, slices)
        self._touched[lease.lease_id] = None
        return captured


def _retained(funding: tuple[Funding, ...]) -> dict[str, int]:
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
