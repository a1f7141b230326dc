"""Money of several wallets: chains of overflow pay together, and each gets back what is its own."""

import dataclasses

import pytest

from om_server.wallet.change import WalletChange
from om_server.wallet.charging import Charge
from om_server.wallet.funding import Deposit
from om_server.wallet.holds.escrow import EscrowKind
from om_server.wallet.leases.lease import LeaseReport, LeaseRequest
from om_server.wallet.ledger import InsufficientFunds, WalletBlocked, WalletBook
from om_server.wallet.operations import WalletOperations
from om_server.wallet.span import capture, chain_of, suspend
from om_server.wallet.wallet import Wallet
from tests.server.wallet.leases.lease_scene import (
    ADA,
    EDGE,
    ORG,
    OWNER,
    WHY,
    columns,
    funded,
    lose,
    spend,
    suspended,
    take,
)
from tests.server.wallet.scene import NONE, NOW, book_with, grant


@pytest.fixture(name="wallet")
def make_wallet(wallets: WalletOperations) -> Wallet:
    return funded(wallets)


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


def test_what_is_spent_of_a_span_does_not_go_to_suspense() -> None:
    book = book_with(grant("a", 10), grant("b", 5))
    slices = capture({"wal": book}, book.reserve(15, cause=NONE), 10, cause=NONE)
    before = len(book.entries)
    suspend({"wal": book}, slices, cause=NONE)
    assert [(entry.grant_id, entry.amount) for entry in book.entries[before:]] == [("b", 5)]
    assert (book.wallet.available, book.wallet.held) == (0, 0)
