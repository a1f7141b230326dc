"""An organization whose edge takes leases, spends from them and loses them."""

from om_server.core.event import Funding
from om_server.core.page import PageRequest
from om_server.wallet.charging import Charge, ChargeResult
from om_server.wallet.funding import Deposit
from om_server.wallet.holds.escrow import EscrowKind
from om_server.wallet.holds.suspense import Decision
from om_server.wallet.leases.closing import Past
from om_server.wallet.leases.lease import EdgeIdentity, Lease, LeaseRequest
from om_server.wallet.operations import WalletOperations
from om_server.wallet.wallet import Owner, OwnerKind, Wallet

ORG = "org_1"
OWNER = Owner.of(ORG, OwnerKind.ORGANIZATION)
ADA = Owner(OwnerKind.USER, "ada")
EDGE = EdgeIdentity("edg_1", 1, "process-one")
NEXT = EdgeIdentity("edg_1", 2, "process-two")
WHY = Decision("mem_1", "the disk is gone")


def funded(wallets: WalletOperations) -> Wallet:
    """The organization's wallet with 100 nano-credits, and an edge that may lease from it."""
    wallets.resync(EDGE, Past("boot"))
    return wallets.grant_credits(ORG, Deposit(OWNER, 100, "grant")).wallet


def take(
    wallets: WalletOperations, wallet: Wallet, amount: int, *, key: str = "key", max_intents: int = 0
) -> Lease:
    request = LeaseRequest(wallet.wallet_id, EDGE, key, f"hash {key}", amount, amount, max_intents)
    lease = wallets.open_lease(ORG, request)
    assert lease is not None
    return lease


def spend(
    wallets: WalletOperations,
    lease: Lease,
    amount: int,
    *,
    retained: int,
    event: str,
    keep: EscrowKind | None = None,
) -> ChargeResult:
    parts = (Funding(lease.lease_id, retained, retained),)
    charge = Charge("proxy", event, amount, lease.wallet_id, parts, lease.edge_id, keep=keep)
    return wallets.settle_charges(ORG, [charge])[0]


def lose(wallets: WalletOperations, wallet: Wallet, amount: int = 40) -> Lease:
    """A lease in suspense."""
    lease = take(wallets, wallet, amount)
    wallets.resync(NEXT, Past("other boot", clean=False))
    return wallets.resolve_lease(ORG, lease.lease_id, decision=WHY)


def columns(wallets: WalletOperations) -> tuple[int, int, int]:
    wallet = wallets.get_wallet(ORG)
    return wallet.available, wallet.held, wallet.receivable


def suspended(wallets: WalletOperations) -> dict[str, int]:
    page = wallets.list_suspense(ORG, page=PageRequest.of())
    return {one.escrow_id: one.remaining for one in page.suspense}
