"""What owners decide about lost leases, and what outcomes do that come after all, over both databases."""

import pytest

from om_server.core.errors import NotFound
from om_server.core.money import AmountOutOfRange
from om_server.core.page import PageRequest
from om_server.storage.database import Database
from om_server.wallet.change import WalletChange
from om_server.wallet.charging import LEASE_RESOLVED, OVER_BOUND, Charge, ChargeResult
from om_server.wallet.entry import EntryKind
from om_server.wallet.funding import Deposit
from om_server.wallet.holds.escrow import EscrowKind
from om_server.wallet.holds.hold import HoldConflict
from om_server.wallet.holds.suspense import ORPHAN_AFTER
from om_server.wallet.leases.closing import Past
from om_server.wallet.leases.lease import LeaseReport, LeaseState
from om_server.wallet.operations import WalletOperations
from om_server.wallet.record import GrantRow
from om_server.wallet.wallet import Wallet, WalletMode
from tests.server.wallet.leases.lease_scene import (
    EDGE,
    NEXT,
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
from tests.server.wallet.scene import FakeClock


@pytest.fixture(name="wallet")
def make_wallet(wallets: WalletOperations) -> Wallet:
    return funded(wallets)


def test_a_lost_lease_goes_to_suspense_and_the_ledger_says_who_and_why(
    wallets: WalletOperations, wallet: Wallet
) -> None:
    lease = lose(wallets, wallet)
    assert (lease.state, lease.remaining) == (LeaseState.RESOLVED, 0)
    assert columns(wallets) == (60, 0, 0)
    [suspense] = wallets.list_suspense(ORG, page=PageRequest.of()).suspense
    assert (suspense.cause_id, suspense.wallet_id, suspense.remaining) == (
        lease.lease_id,
        wallet.wallet_id,
        40,
    )
    entry = wallets.list_entries(ORG, wallet.wallet_id, page=PageRequest.of(1)).entries[0]
    assert (entry.kind, entry.credit_account, entry.amount) == (EntryKind.SUSPENSE, "suspense", 40)
    assert (entry.hold_id, entry.description) == (suspense.escrow_id, "mem_1: the disk is gone")
    again = wallets.resolve_lease(ORG, lease.lease_id, decision=WHY)
    assert (again.state, columns(wallets)) == (LeaseState.RESOLVED, (60, 0, 0))


def test_while_its_edge_may_speak_nobody_decides(
    wallets: WalletOperations, wallet: Wallet, clock: FakeClock
) -> None:
    lease = take(wallets, wallet, 40)
    clock.now = lease.expire_time + ORPHAN_AFTER - 1
    with pytest.raises(HoldConflict) as refusal:
        wallets.resolve_lease(ORG, lease.lease_id, decision=WHY)
    assert refusal.value.metadata["state"] == "open"
    clock.now += 1
    assert wallets.resolve_lease(ORG, lease.lease_id, decision=WHY).state is LeaseState.RESOLVED


def test_an_ended_a_strange_and_an_unknown_lease_are_not_resolved(
    wallets: WalletOperations, wallet: Wallet, clock: FakeClock
) -> None:
    lease = take(wallets, wallet, 40)
    wallets.close_lease(EDGE, LeaseReport(lease.lease_id, 0, 0))
    clock.now = lease.expire_time + ORPHAN_AFTER
    with pytest.raises(HoldConflict):
        wallets.resolve_lease(ORG, lease.lease_id, decision=WHY)
    for organization_id, lease_id in (("org_2", lease.lease_id), (ORG, "lse_unknown")):
        with pytest.raises(NotFound):
            wallets.resolve_lease(organization_id, lease_id, decision=WHY)


def test_a_lease_with_nothing_left_leaves_no_suspense(
    wallets: WalletOperations, wallet: Wallet, clock: FakeClock
) -> None:
    lease = take(wallets, wallet, 40)
    spend(wallets, lease, 40, retained=40, event="all")
    clock.now = lease.expire_time + ORPHAN_AFTER
    assert wallets.resolve_lease(ORG, lease.lease_id, decision=WHY).state is LeaseState.RESOLVED
    assert suspended(wallets) == {}
    assert spend(wallets, lease, 5, retained=5, event="late").flags == (LEASE_RESOLVED,)
    assert columns(wallets) == (55, 0, 0)


def test_a_late_outcome_is_paid_by_suspense_then_the_wallet_then_owed(
    wallets: WalletOperations, wallet: Wallet
) -> None:
    lease = lose(wallets, wallet)
    assert spend(wallets, lease, 25, retained=30, event="one") == ChargeResult(
        25, 0, 0, wallet.wallet_id, (LEASE_RESOLVED,)
    )
    assert list(suspended(wallets).values()) == [15]
    assert spend(wallets, lease, 80, retained=80, event="two") == ChargeResult(
        15, 60, 5, wallet.wallet_id, (LEASE_RESOLVED,)
    )
    assert (columns(wallets), suspended(wallets)) == ((0, 0, 5), {})


def test_a_late_outcome_takes_no_more_of_suspense_than_it_kept(
    wallets: WalletOperations, wallet: Wallet
) -> None:
    lease = lose(wallets, wallet)
    result = spend(wallets, lease, 25, retained=10, event="one")
    assert (result.captured, result.charged) == (10, 15)
    assert result.flags == (LEASE_RESOLVED, OVER_BOUND)
    assert list(suspended(wallets).values()) == [30]


def test_a_late_outcome_that_nobody_can_rate_leaves_suspense_alone(
    wallets: WalletOperations, wallet: Wallet
) -> None:
    lease = lose(wallets, wallet)
    result = spend(wallets, lease, 0, retained=10, event="one", keep=EscrowKind.UNRATED)
    assert result.flags == (LEASE_RESOLVED,)
    assert (list(suspended(wallets).values()), columns(wallets)) == ([40], (60, 0, 0))


def test_an_owner_charges_a_part_and_the_rest_returns(wallets: WalletOperations, wallet: Wallet) -> None:
    lease = lose(wallets, wallet)
    spend(wallets, lease, 5, retained=5, event="one")
    [(suspense_id, left)] = suspended(wallets).items()
    with pytest.raises(AmountOutOfRange):
        wallets.release_suspense(ORG, suspense_id, charge=left + 1, decision=WHY)
    after = wallets.release_suspense(ORG, suspense_id, charge=15, decision=WHY)
    assert (after.available, after.held) == (80, 0)
    entries = wallets.list_entries(ORG, wallet.wallet_id, page=PageRequest.of(2)).entries
    assert [(entry.kind, entry.amount, entry.description) for entry in entries] == [
        (EntryKind.RELEASE, 20, "mem_1: the disk is gone"),
        (EntryKind.CAPTURE, 15, "mem_1: the disk is gone"),
    ]
    assert suspended(wallets) == {}
    # The same decision again is the same; another one comes too late.
    assert wallets.release_suspense(ORG, suspense_id, charge=15, decision=WHY).available == 80
    with pytest.raises(HoldConflict):
        wallets.release_suspense(ORG, suspense_id, charge=0, decision=WHY)
    assert columns(wallets) == (80, 0, 0)
    assert spend(wallets, lease, 5, retained=5, event="after").charged == 5


def test_suspense_of_another_organization_and_what_is_only_held_are_not_found(
    wallets: WalletOperations, wallet: Wallet
) -> None:
    lease = lose(wallets, wallet)
    [suspense_id] = suspended(wallets)
    with pytest.raises(NotFound):
        wallets.release_suspense("org_2", suspense_id, charge=0, decision=WHY)
    with pytest.raises(NotFound):
        wallets.release_suspense(ORG, "sus_unknown", charge=0, decision=WHY)
    assert wallets.list_suspense("org_2", page=PageRequest.of()).suspense == ()
    assert lease.remaining == 0


def test_what_returns_to_an_expired_grant_expires_with_it(
    wallets: WalletOperations, wallet: Wallet, clock: FakeClock
) -> None:
    end = clock.now + 10
    wallets.grant_credits(ORG, Deposit(OWNER, 50, "expiring", priority=1, expire_time=end))
    lose(wallets, wallet, 50)
    clock.now = end
    [suspense_id] = suspended(wallets)
    wallets.release_suspense(ORG, suspense_id, charge=20, decision=WHY)
    assert columns(wallets) == (100, 0, 0)


def test_what_returns_to_an_expired_grant_pays_no_debt(
    wallets: WalletOperations, wallet: Wallet, clock: FakeClock
) -> None:
    end = clock.now + 10
    wallets.grant_credits(ORG, Deposit(OWNER, 50, "expiring", priority=1, expire_time=end))
    lose(wallets, wallet, 50)
    wallets.settle_charges(ORG, [Charge("api", "evt", 130, wallet.wallet_id)])
    clock.now = end
    [suspense_id] = suspended(wallets)
    wallets.release_suspense(ORG, suspense_id, charge=0, decision=WHY)
    assert columns(wallets) == (0, 0, 30)


def soft(wallets: WalletOperations) -> None:
    change = WalletChange(mode=WalletMode.SOFT, credit_limit=100)
    wallets.update_wallet(ORG, OWNER, change=change)


def on_credit(database: Database) -> tuple[int, int]:
    """What the credit line has available, and what the other grants have."""

    def run() -> tuple[int, int]:
        grants = list(GrantRow.select().where(GrantRow.organization_id == ORG))
        line = sum(one.available for one in grants if one.credit_line)
        return line, sum(one.available for one in grants) - line

    return database.read(run)


def test_what_comes_back_to_a_repaid_credit_line_is_new_money(
    wallets: WalletOperations, wallet: Wallet, database: Database
) -> None:
    """The line never has more than nothing, and what repaid it meanwhile is not lost."""
    soft(wallets)
    lose(wallets, wallet, 150)
    assert on_credit(database) == (-50, 0)
    wallets.grant_credits(ORG, Deposit(OWNER, 70, "repays"))
    assert on_credit(database) == (0, 20)
    [suspense_id] = suspended(wallets)
    wallets.release_suspense(ORG, suspense_id, charge=0, decision=WHY)
    assert on_credit(database) == (0, 170)


def test_what_goes_to_suspense_from_the_credit_line_is_owed(
    wallets: WalletOperations, wallet: Wallet, database: Database
) -> None:
    """While it was only set aside, newer money did not pay for it."""
    soft(wallets)
    lease = take(wallets, wallet, 150)
    wallets.grant_credits(ORG, Deposit(OWNER, 70, "newer"))
    assert on_credit(database) == (-50, 70)
    wallets.resync(NEXT, Past("other boot", clean=False))
    wallets.resolve_lease(ORG, lease.lease_id, decision=WHY)
    assert on_credit(database) == (0, 20)


def test_suspense_is_listed_oldest_first(wallets: WalletOperations, wallet: Wallet, clock: FakeClock) -> None:
    leases = [take(wallets, wallet, number + 1, key=f"key-{number}") for number in range(5)]
    wallets.resync(NEXT, Past("boot", clean=False))
    for number, lease in enumerate(leases):
        clock.now += number % 2
        wallets.resolve_lease(ORG, lease.lease_id, decision=WHY)
    page = wallets.list_suspense(ORG, page=PageRequest.of(2))
    rest = wallets.list_suspense(ORG, page=PageRequest.of(4, page.next_page_token))
    assert [one.amount for one in (*page.suspense, *rest.suspense)] == [1, 2, 3, 4, 5]
    assert rest.next_page_token == ""


def test_a_declaration_about_a_resolved_lease_frees_nothing(
    wallets: WalletOperations, wallet: Wallet
) -> None:
    lease = lose(wallets, wallet)
    closed = wallets.close_lease(NEXT, LeaseReport(lease.lease_id, 0, 0))
    assert (closed.lease.state, closed.released) == (LeaseState.RESOLVED, 0)
    assert columns(wallets) == (60, 0, 0)


def test_what_is_held_for_an_event_goes_to_suspense_once(wallets: WalletOperations, wallet: Wallet) -> None:
    """Under another name, which owners can decide about; the ledger has both."""
    spend(wallets, take(wallets, wallet, 40), 0, retained=30, event="e1", keep=EscrowKind.DEFERRED)
    held = columns(wallets)

    moved = [wallets.suspend_event(ORG, ("proxy", event)) for event in ("e1", "e1", "other")]

    assert moved == [30, 0, 0]
    assert columns(wallets) == (held[0], held[1] - 30, held[2])
    [suspense] = wallets.list_suspense(ORG, page=PageRequest.of()).suspense
    assert (suspense.kind, suspense.cause_id, suspense.remaining) == (EscrowKind.DEFERRED, "e1", 30)
    assert wallets.verify(ORG).first is None
    wallets.release_suspense(ORG, suspense.escrow_id, charge=0, decision=WHY)
    assert columns(wallets) == (held[0] + 30, held[1] - 30, held[2])
    assert wallets.suspend_event(ORG, ("proxy", "e1")) == 0
