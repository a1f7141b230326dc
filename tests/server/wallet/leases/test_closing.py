"""Declarations against settling events, over both databases; each ends with nothing set aside in vain."""

import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from structlog.testing import capture_logs

from om_server.core.errors import NotFound
from om_server.core.event import Funding
from om_server.core.page import PageRequest
from om_server.storage.database import Database
from om_server.wallet.charging import LEASE_ENDED, LEASE_UNKNOWN, Charge, ChargeResult
from om_server.wallet.funding import Deposit
from om_server.wallet.leases.closing import Past
from om_server.wallet.leases.edge import EdgeEpochStale, EdgeNotResynced
from om_server.wallet.leases.lease import EdgeIdentity, Lease, LeaseReport, LeaseRequest, LeaseState
from om_server.wallet.operations import WalletOperations
from om_server.wallet.wallet import Owner, OwnerKind, Wallet

ORG = "org_1"
OWNER = Owner.of(ORG, OwnerKind.ORGANIZATION)
EDGE = EdgeIdentity("edg_1", 1, "process-one")
NEXT = EdgeIdentity("edg_1", 2, "process-two")


@pytest.fixture(name="wallet")
def make_wallet(wallets: WalletOperations) -> Wallet:
    wallets.resync(EDGE, Past("boot"))
    return wallets.grant_credits(ORG, Deposit(OWNER, 100, "grant")).wallet


def take(
    wallets: WalletOperations,
    wallet: Wallet,
    amount: int = 40,
    *,
    key: str = "key",
    max_intents: int = 0,
    edge: EdgeIdentity = EDGE,
) -> Lease:
    request = LeaseRequest(
        wallet.wallet_id, edge, key, f"hash {key} {edge.edge_epoch}", amount, amount, max_intents
    )
    lease = wallets.open_lease(ORG, request)
    assert lease is not None
    return lease


def spend(wallets: WalletOperations, lease: Lease, amount: int, *, retained: int, event: str) -> ChargeResult:
    charge = Charge(
        "proxy", event, amount, lease.wallet_id, (Funding(lease.lease_id, retained, retained),), lease.edge_id
    )
    return wallets.settle_charges(ORG, [charge])[0]


def columns(wallets: WalletOperations) -> tuple[int, int, int]:
    wallet = wallets.get_wallet(ORG)
    return wallet.available, wallet.held, wallet.receivable


def states(wallets: WalletOperations, wallet: Wallet) -> list[LeaseState]:
    return [lease.state for lease in wallets.list_leases(ORG, wallet.wallet_id, page=PageRequest.of()).leases]


def test_a_close_before_the_outcomes_frees_the_rest_with_the_last_of_them(
    wallets: WalletOperations, wallet: Wallet
) -> None:
    lease = take(wallets, wallet)
    spend(wallets, lease, 5, retained=10, event="one")
    closed = wallets.close_lease(EDGE, LeaseReport(lease.lease_id, 3, 25))
    assert (closed.lease.state, closed.released) == (LeaseState.CLOSING, 15)
    assert columns(wallets) == (75, 20, 0)
    spend(wallets, lease, 1, retained=10, event="two")
    assert columns(wallets) == (75, 19, 0)
    spend(wallets, lease, 0, retained=5, event="three")
    assert columns(wallets) == (94, 0, 0)
    assert states(wallets, wallet) == [LeaseState.CLOSED]


def test_a_close_after_the_outcomes_frees_everything_itself(
    wallets: WalletOperations, wallet: Wallet
) -> None:
    lease = take(wallets, wallet)
    spend(wallets, lease, 5, retained=10, event="one")
    closed = wallets.close_lease(EDGE, LeaseReport(lease.lease_id, 1, 10))
    assert (closed.lease.state, closed.released) == (LeaseState.CLOSED, 35)
    assert columns(wallets) == (95, 0, 0)


def test_a_close_and_the_last_outcome_at_once_free_everything_once(
    wallets: WalletOperations, wallet: Wallet, database: Database
) -> None:
    """Whoever reads the lease before it is locked sees two events missing, and neither would end it."""
    leases = [take(wallets, wallet, 10, key=f"key-{number}") for number in range(10)]
    together = threading.Barrier(20)

    def close(lease: Lease) -> None:
        together.wait()
        wallets.close_lease(EDGE, LeaseReport(lease.lease_id, 1, 4))

    def settle(lease: Lease) -> None:
        together.wait()
        spend(wallets, lease, 3, retained=4, event=lease.lease_id)

    with ThreadPoolExecutor(20) as pool:
        work = [pool.submit(act, lease) for lease in leases for act in (close, settle)]
        for one in work:
            one.result()
    assert columns(wallets) == (70, 0, 0)
    assert set(states(wallets, wallet)) == {LeaseState.CLOSED}


def test_a_repeated_close_changes_nothing_and_another_count_quarantines(
    wallets: WalletOperations, wallet: Wallet
) -> None:
    lease = take(wallets, wallet)
    wallets.close_lease(EDGE, LeaseReport(lease.lease_id, 2, 30))
    assert wallets.close_lease(EDGE, LeaseReport(lease.lease_id, 2, 30)).released == 0
    assert columns(wallets) == (70, 30, 0)
    with capture_logs() as logs:
        closed = wallets.close_lease(EDGE, LeaseReport(lease.lease_id, 1, 0))
    assert (closed.lease.state, closed.released) == (LeaseState.QUARANTINED, 0)
    assert [(log["event"], log["lease_id"]) for log in logs] == [("lease_contradicted", lease.lease_id)]
    assert columns(wallets) == (70, 30, 0)
    # One rule for every state: what was declared first still ends it.
    spend(wallets, lease, 5, retained=15, event="one")
    spend(wallets, lease, 5, retained=15, event="two")
    assert (columns(wallets), states(wallets, wallet)) == ((90, 0, 0), [LeaseState.CLOSED])


def test_keep_falls_when_open_bounds_become_outcomes(wallets: WalletOperations, wallet: Wallet) -> None:
    lease = take(wallets, wallet)
    wallets.close_lease(EDGE, LeaseReport(lease.lease_id, 1, 40))
    assert wallets.close_lease(EDGE, LeaseReport(lease.lease_id, 1, 10)).released == 30
    assert wallets.close_lease(EDGE, LeaseReport(lease.lease_id, 1, 40)).released == 0
    assert columns(wallets) == (90, 10, 0)
    assert spend(wallets, lease, 10, retained=10, event="one").captured == 10


def test_a_lease_for_one_request_that_was_not_made_returns(wallets: WalletOperations, wallet: Wallet) -> None:
    lease = take(wallets, wallet, max_intents=1)
    closed = wallets.close_lease(EDGE, LeaseReport(lease.lease_id, 0, 0))
    assert (closed.lease.state, columns(wallets)) == (LeaseState.CLOSED, (100, 0, 0))
    assert spend(wallets, lease, 5, retained=40, event="late").flags == (LEASE_ENDED,)
    assert columns(wallets) == (95, 0, 0)


def test_only_the_current_process_closes_and_only_its_edges_leases(
    wallets: WalletOperations, wallet: Wallet
) -> None:
    lease = take(wallets, wallet)
    report = LeaseReport(lease.lease_id, 0, 0)
    other = EdgeIdentity("edg_2", 1, "process-one")
    with pytest.raises(EdgeNotResynced):
        wallets.close_lease(other, report)
    wallets.resync(other, Past("boot"))
    with pytest.raises(NotFound):
        wallets.close_lease(other, report)
    with pytest.raises(EdgeEpochStale):
        wallets.close_lease(dataclasses.replace(EDGE, instance="twin"), report)
    with pytest.raises(NotFound):
        wallets.close_lease(EDGE, LeaseReport("lse_unknown", 0, 0))
    assert columns(wallets) == (60, 40, 0)


def test_a_resync_declares_what_the_journal_knows(wallets: WalletOperations, wallet: Wallet) -> None:
    known, unknown = take(wallets, wallet, 20), take(wallets, wallet, 30, key="answer lost")
    single = take(wallets, wallet, 10, key="also lost", max_intents=1)
    past = Past("boot", clean=True, reports=(LeaseReport(known.lease_id, 1, 5),))
    resynced = wallets.resync(NEXT, past)
    assert [lease.lease_id for lease in resynced.open_leases] == [known.lease_id]
    assert resynced.unknown_lease_ids == []
    assert columns(wallets) == (95, 5, 0)
    spend(wallets, known, 5, retained=5, event="late")
    assert columns(wallets) == (95, 0, 0)
    assert spend(wallets, unknown, 0, retained=0, event="never").flags == (LEASE_ENDED,)
    assert single.final_count == 1


def test_a_lost_resync_answer_is_asked_for_again_and_changes_nothing(
    wallets: WalletOperations, wallet: Wallet
) -> None:
    lease = take(wallets, wallet)
    past = Past("boot", clean=True, reports=(LeaseReport(lease.lease_id, 2, 20),))
    first = wallets.resync(NEXT, past)
    assert wallets.resync(NEXT, past) == first
    assert columns(wallets) == (80, 20, 0)
    # The process died with the answer: the next one says the same of the lease.
    spend(wallets, lease, 3, retained=10, event="one")
    again = wallets.resync(dataclasses.replace(NEXT, edge_epoch=3), past)
    assert [one.state for one in again.open_leases] == [LeaseState.CLOSING]
    spend(wallets, lease, 3, retained=10, event="two")
    assert columns(wallets) == (94, 0, 0)


def test_a_declared_lease_stays_declared_when_the_journal_has_dropped_it(
    wallets: WalletOperations, wallet: Wallet
) -> None:
    lease = take(wallets, wallet)
    wallets.close_lease(EDGE, LeaseReport(lease.lease_id, 1, 20))
    [left] = wallets.resync(NEXT, Past("boot")).open_leases
    assert (left.state, left.final_count) == (LeaseState.CLOSING, 1)


def test_a_late_admit_after_the_next_epochs_resync_gets_nothing(
    wallets: WalletOperations, wallet: Wallet, database: Database
) -> None:
    """It would take a lease of an epoch that nobody closes any more."""
    wallets.resync(NEXT, Past("boot"))

    def admit() -> Lease:
        wallets.require_current(EDGE)
        return take(wallets, wallet)

    with pytest.raises(EdgeEpochStale):
        database.write(admit)
    assert columns(wallets) == (100, 0, 0)


def test_a_resync_touches_no_lease_of_its_own_epoch(wallets: WalletOperations, wallet: Wallet) -> None:
    wallets.resync(NEXT, Past("boot"))
    lease = take(wallets, wallet, edge=NEXT)
    report = LeaseReport(lease.lease_id, 0, 0)
    resynced = wallets.resync(NEXT, Past("boot", reports=(report,)))
    assert (resynced.open_leases, resynced.unknown_lease_ids) == ([], [])
    assert columns(wallets) == (60, 40, 0)


@pytest.mark.parametrize("max_intents", [0, 1])
def test_an_unclean_start_declares_nothing(
    wallets: WalletOperations, wallet: Wallet, max_intents: int
) -> None:
    lease = take(wallets, wallet, max_intents=max_intents)
    closing = take(wallets, wallet, 20, key="closing")
    wallets.close_lease(EDGE, LeaseReport(closing.lease_id, 1, 20))
    reports = (LeaseReport(lease.lease_id, 0, 0), LeaseReport(closing.lease_id, 0, 0))
    found = wallets.resync(NEXT, Past("other boot", clean=False, reports=reports)).open_leases
    assert {one.lease_id: one.state for one in found} == {
        lease.lease_id: LeaseState.QUARANTINED,
        closing.lease_id: LeaseState.CLOSING,
    }
    # Nor does a later start that is clean: the past stays what it was.
    later = dataclasses.replace(NEXT, edge_epoch=3)
    wallets.resync(later, Past("other boot", reports=(LeaseReport(lease.lease_id, 0, 0),)))
    assert wallets.close_lease(later, LeaseReport(lease.lease_id, 0, 0)).released == 0
    assert columns(wallets) == (40, 60, 0)
    assert spend(wallets, closing, 7, retained=20, event="one").captured == 7


def test_an_empty_journal_directory_is_another_edge_and_frees_nothing(
    wallets: WalletOperations, wallet: Wallet
) -> None:
    lease = take(wallets, wallet)
    fresh = EdgeIdentity("edg_2", 1, "process-two")
    resynced = wallets.resync(fresh, Past("boot", reports=(LeaseReport(lease.lease_id, 0, 0),)))
    assert resynced.unknown_lease_ids == [lease.lease_id]
    assert columns(wallets) == (60, 40, 0)
    assert spend(wallets, lease, 7, retained=40, event="late").captured == 7


def test_a_restored_database_charges_outcomes_of_leases_that_it_does_not_know(
    wallets: WalletOperations, wallet: Wallet
) -> None:
    lost = dataclasses.replace(take(wallets, wallet, 1), lease_id="lse_of_another_life")
    resynced = wallets.resync(NEXT, Past("boot", reports=(LeaseReport(lost.lease_id, 1, 40),)))
    assert resynced.unknown_lease_ids == [lost.lease_id]
    result = spend(wallets, lost, 120, retained=120, event="late")
    assert result == ChargeResult(0, 100, 20, wallet.wallet_id, (LEASE_UNKNOWN,))
    assert columns(wallets) == (0, 0, 20)


def test_a_resync_and_settling_of_many_leases_at_once_end_them_all(
    wallets: WalletOperations, wallet: Wallet
) -> None:
    leases = [take(wallets, wallet, 10, key=f"key-{number}") for number in range(10)]
    reports = tuple(LeaseReport(lease.lease_id, 1, 6) for lease in leases)
    together = threading.Barrier(6)

    def resync() -> None:
        together.wait()
        wallets.resync(NEXT, Past("boot", reports=reports))

    def settle(start: int) -> None:
        together.wait()
        for lease in leases[start::5]:
            spend(wallets, lease, 5, retained=6, event=lease.lease_id)

    with ThreadPoolExecutor(6) as pool:
        work = [pool.submit(resync), *(pool.submit(settle, start) for start in range(5))]
        for one in work:
            one.result()
    assert columns(wallets) == (50, 0, 0)
    assert set(states(wallets, wallet)) == {LeaseState.CLOSED}
