"""Expiry happens by the clock, and is written once, whoever comes first and however often."""

import threading
from concurrent.futures import ThreadPoolExecutor

from om_server.core.page import PageRequest
from om_server.wallet.funding import Deposit
from om_server.wallet.leases.closing import Past
from om_server.wallet.leases.lease import LeaseReport
from om_server.wallet.operations import WalletOperations
from om_server.wallet.wallet import Wallet
from tests.server.wallet.leases.lease_scene import EDGE, ORG, OWNER, columns, take
from tests.server.wallet.scene import FakeClock

THREADS = 8


def expiring(wallets: WalletOperations, clock: FakeClock) -> Wallet:
    """100 that expire in ten microseconds and 50 that never do."""
    wallets.resync(EDGE, Past("boot"))
    wallets.grant_credits(ORG, Deposit(OWNER, 100, "short", expire_time=clock.now + 10))
    return wallets.grant_credits(ORG, Deposit(OWNER, 50, "for ever")).wallet


def broken(wallets: WalletOperations, wallet: Wallet) -> list[int]:
    """What became breakage, entry by entry, oldest first."""
    page = wallets.list_entries(ORG, wallet.wallet_id, page=PageRequest.of(200))
    return [entry.amount for entry in reversed(page.entries) if entry.credit_account == "breakage"]


def test_whoever_touches_the_wallet_first_writes_the_expiry_and_nobody_again(
    wallets: WalletOperations, clock: FakeClock
) -> None:
    wallet = expiring(wallets, clock)
    clock.now += 10
    barrier = threading.Barrier(THREADS)

    def touch(number: int) -> None:
        barrier.wait(30)
        wallets.grant_credits(ORG, Deposit(OWNER, 1, f"touch {number}"))

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(touch, range(THREADS)))

    assert broken(wallets, wallet) == [100]
    assert columns(wallets) == (50 + THREADS, 0, 0)


def test_what_is_set_aside_expires_when_it_is_released_and_what_was_used_of_it_does_not(
    wallets: WalletOperations, clock: FakeClock
) -> None:
    wallet = expiring(wallets, clock)
    lease = take(wallets, wallet, 40)
    clock.now += 10
    wallets.grant_credits(ORG, Deposit(OWNER, 1, "touch"))
    assert broken(wallets, wallet) == [60]

    wallets.close_lease(EDGE, LeaseReport(lease.lease_id, 0, 0))
    wallets.close_lease(EDGE, LeaseReport(lease.lease_id, 0, 0))

    assert broken(wallets, wallet) == [60, 40]
    assert columns(wallets) == (51, 0, 0)


def test_reading_after_the_expiry_writes_nothing_and_shows_what_is_left(
    wallets: WalletOperations, clock: FakeClock
) -> None:
    wallet = expiring(wallets, clock)
    clock.now += 10

    assert columns(wallets) == columns(wallets) == (50, 0, 0)
    assert broken(wallets, wallet) == []
