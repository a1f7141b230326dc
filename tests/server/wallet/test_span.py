"""Money of several wallets: chains of overflow pay together, and each gets back what is its own."""

import dataclasses

import pytest

from om_server.core.event import Funding
from om_server.core.page import PageRequest
from om_server.wallet.change import WalletChange
from om_server.wallet.charging import Charge, ChargeResult
from om_server.wallet.escrow import EscrowKind
from om_server.wallet.funding import Deposit
from om_server.wallet.lease import EdgeIdentity, Lease, LeaseReport, LeaseRequest
from om_server.wallet.lease_closing import Past
from om_server.wallet.ledger import InsufficientFunds, WalletBlocked, WalletBook
from om_server.wallet.operations import WalletOperations
from om_server.wallet.span import capture, chain_of
from om_server.wallet.suspense import Decision
from om_server.wallet.wallet import Owner, OwnerKind, Wallet
from tests.server.wallet.scene import NONE, NOW, book_with, grant

ORG = "org_1"
OWNER = Owner.of(ORG, OwnerKind.ORGANIZATION)
ADA = Owner(OwnerKind.USER, "ada")
EDGE = EdgeIdentity("edg_1", 1, "process-one")
NEXT = EdgeIdentity("edg_1", 2, "process-two")
WHY = Decision("mem_1", "the disk is gone")


@pytest.fixture(name="wallet")
def make_wallet(wallets: WalletOperations) -> Wallet:
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


def chained(wallets: WalletOperations, ada: int) -> Wallet:
    """Ada's wallet, behind which the organization's stands."""
    organization = wallets.get_wallet(ORG)
    wallet = wallets.grant_credits(ORG, Deposit(ADA, ada, "ada")).wallet
    change = WalletChange(overflow_wallet_id=organization.wallet_id)
    wallets.update_wallet(ORG, ADA, change=change)
    return wallet


def test_a_lease_over_two_wallets_is_spent_in_order_and_returned_to_both(
    wallets: WalletOperations, wallet: Wallet
) -> None:
    ada = chained(wallets, 10)
    lease = take(wallets, ada, 40)
    assert [(piece.wallet_id, piece.held) for piece in lease.slices] == [
        (ada.wallet_id, 10),
        (wallet.wallet_id, 30),
    ]
    assert columns(wallets) == (70, 30, 0)
    spend(wallets, lease, 15, retained=20, event="one")
    wallets.close_lease(EDGE, LeaseReport(lease.lease_id, 1, 20))
    assert columns(wallets) == (95, 0, 0)
    assert wallets.get_wallet(ORG, wallet_id=ada.wallet_id).available == 0


def test_a_strict_chain_never_overspends(wallets: WalletOperations, wallet: Wallet) -> None:
    ada = chained(wallets, 10)

    with pytest.raises(InsufficientFunds) as refusal:
        take(wallets, ada, 111)
    assert refusal.value.available == 110
    take(wallets, ada, 110, key="all of it")
    assert columns(wallets) == (0, 100, 0)


def test_a_blocked_wallet_behind_another_pays_for_nothing_new(
    wallets: WalletOperations, wallet: Wallet
) -> None:

    ada = chained(wallets, 10)
    wallets.update_wallet(ORG, OWNER, change=WalletChange(blocked=True))
    with pytest.raises(InsufficientFunds):
        take(wallets, ada, 11)
    take(wallets, ada, 10)
    wallets.update_wallet(ORG, OWNER, change=WalletChange(blocked=False))
    wallets.update_wallet(ORG, ADA, change=WalletChange(blocked=True))
    with pytest.raises(WalletBlocked):
        take(wallets, ada, 1, key="other")


def test_asking_counts_the_whole_chain(wallets: WalletOperations, wallet: Wallet) -> None:

    ada = chained(wallets, 10)
    request = LeaseRequest(ada.wallet_id, EDGE, "key", "hash", 110, 0, 1)
    assert wallets.open_lease(ORG, request) is None
    with pytest.raises(InsufficientFunds):
        wallets.open_lease(ORG, dataclasses.replace(request, min_nanos=111))


def test_usage_that_happened_is_paid_by_the_chain_before_it_is_owed(
    wallets: WalletOperations, wallet: Wallet
) -> None:
    ada = chained(wallets, 10)
    [result] = wallets.settle_charges(ORG, [Charge("api", "evt", 115, ada.wallet_id)])
    assert (result.charged, result.receivable, result.wallet_id) == (110, 5, ada.wallet_id)
    assert columns(wallets) == (0, 0, 0)
    assert wallets.get_wallet(ORG, wallet_id=ada.wallet_id).receivable == 5


def test_a_lost_lease_over_two_wallets_returns_to_both(wallets: WalletOperations, wallet: Wallet) -> None:
    ada = chained(wallets, 10)
    lose(wallets, ada)
    [suspense_id] = suspended(wallets)
    wallets.release_suspense(ORG, suspense_id, charge=15, decision=WHY)
    assert columns(wallets) == (95, 0, 0)
    assert wallets.get_wallet(ORG, wallet_id=ada.wallet_id).available == 0


def test_an_unrated_event_over_two_wallets_keeps_its_part_of_both(
    wallets: WalletOperations, wallet: Wallet
) -> None:
    ada = chained(wallets, 10)
    lease = take(wallets, ada, 40, max_intents=1)
    spend(wallets, lease, 0, retained=15, event="one", keep=EscrowKind.UNRATED)
    assert columns(wallets) == (95, 5, 0)
    spend(wallets, lease, 12, retained=0, event="one")
    assert columns(wallets) == (98, 0, 0)


def test_a_chain_ends_where_its_wallets_are_not_locked() -> None:
    """Who put another wallet behind one meanwhile changed the next decision, not this one."""
    book = book_with(grant("a", 5))
    book = WalletBook(
        dataclasses.replace(book.wallet, overflow_wallet_id="wal_new"), book.grants, now=NOW, new_id=str
    )
    assert chain_of({"wal": book}, "wal") == [book]
    assert chain_of({"wal": book}, "wal_new") == []


def test_more_than_slices_hold_is_a_bug() -> None:
    book = book_with(grant("a", 5))
    slices = book.reserve(3, cause=NONE)
    with pytest.raises(ValueError, match="not held"):
        capture({"wal": book}, slices, 4, cause=NONE)


def test_what_a_chain_gets_back_early_goes_to_the_last_wallet_first(
    wallets: WalletOperations, wallet: Wallet
) -> None:
    """The first wallet is to pay for the events that are still open."""
    ada = chained(wallets, 10)
    lease = take(wallets, ada, 40)
    wallets.close_lease(EDGE, LeaseReport(lease.lease_id, 1, 25))
    assert columns(wallets) == (85, 15, 0)
    assert wallets.get_wallet(ORG, wallet_id=ada.wallet_id).held == 10
