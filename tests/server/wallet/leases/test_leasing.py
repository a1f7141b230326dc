import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from om_server.core.errors import IdempotencyKeyReused, NotFound
from om_server.core.event import Funding
from om_server.core.page import PageRequest
from om_server.storage.database import Database
from om_server.wallet.charging import Charge
from om_server.wallet.funding import Deposit
from om_server.wallet.leases.closing import Past, Resynced
from om_server.wallet.leases.edge import EdgeEpochStale, EdgeNotResynced
from om_server.wallet.leases.lease import (
    LEASE_LIFE,
    EdgeIdentity,
    Lease,
    LeaseReport,
    LeaseRequest,
    LeaseState,
)
from om_server.wallet.ledger import InsufficientFunds, WalletBlocked
from om_server.wallet.operations import WalletChange, WalletOperations
from om_server.wallet.wallet import Owner, OwnerKind, Wallet
from tests.server.wallet.scene import FakeClock

ORG = "org_1"
OWNER = Owner.of(ORG, OwnerKind.ORGANIZATION)
EDGE = EdgeIdentity("edg_1", 3, "instance-1")


@pytest.fixture
def wallet(wallets: WalletOperations) -> Wallet:
    return wallets.grant_credits(ORG, Deposit(OWNER, 100, "grant")).wallet


def request_for(
    wallet: Wallet,
    amount: int,
    key: str = "key",
    *,
    want_nanos: int | None = None,
    max_intents: int = 0,
    request_hash: str = "hash",
    edge: EdgeIdentity = EDGE,
) -> LeaseRequest:
    want = amount if want_nanos is None else want_nanos
    return LeaseRequest(wallet.wallet_id, edge, key, request_hash, amount, want, max_intents)


def take(wallets: WalletOperations, request: LeaseRequest) -> Lease:
    lease = wallets.open_lease(ORG, request)
    assert lease is not None
    return lease


def test_a_lease_sets_its_amount_aside(wallets: WalletOperations, wallet: Wallet, clock: FakeClock) -> None:
    lease = take(wallets, request_for(wallet, 30))
    assert (lease.amount, lease.remaining, lease.state) == (30, 30, LeaseState.OPEN)
    assert (lease.edge_id, lease.edge_epoch, lease.expire_time) == ("edg_1", 3, clock.now + LEASE_LIFE)
    assert (lease.final_count, lease.settled_count) == (None, 0)
    after = wallets.get_wallet(ORG)
    assert (after.available, after.held) == (70, 30)
    assert (
        wallets.list_entries(ORG, wallet.wallet_id, page=PageRequest.of()).entries[0].hold_id
        == lease.lease_id
    )


def test_a_lease_for_one_intent_knows_its_count_from_birth(wallets: WalletOperations, wallet: Wallet) -> None:
    assert take(wallets, request_for(wallet, 30, max_intents=1)).final_count == 1


def test_a_lease_is_a_fair_share_but_never_below_its_minimum(
    wallets: WalletOperations, wallet: Wallet
) -> None:
    take(wallets, request_for(wallet, 0, "busy", want_nanos=0 + 1))
    assert take(wallets, request_for(wallet, 5, "a", want_nanos=90)).amount == 19
    assert take(wallets, request_for(wallet, 60, "b", want_nanos=90)).amount == 60
    assert take(wallets, request_for(wallet, 0, "c", want_nanos=3)).amount == 3


def test_an_edge_with_fewer_requests_gets_a_lease_for_one(
    wallets: WalletOperations, wallet: Wallet, clock: FakeClock
) -> None:
    first = take(wallets, request_for(wallet, 5, "a", want_nanos=90))
    assert (first.amount, first.max_intents, first.final_count) == (5, 1, 1)
    clock.now += 10_000_000
    second = take(wallets, request_for(wallet, 5, "b", want_nanos=90))
    assert (second.amount, second.max_intents, second.final_count) == (19, 0, None)
    other = dataclasses.replace(EDGE, edge_id="edg_2")
    assert take(wallets, request_for(wallet, 5, "c", want_nanos=90, edge=other)).amount == 5
    clock.now += 10_000_001
    assert take(wallets, request_for(wallet, 5, "d", want_nanos=90)).amount == 5


def test_an_edge_that_wants_no_more_than_it_needs_decides_itself_how_often_it_spends(
    wallets: WalletOperations, wallet: Wallet
) -> None:
    assert take(wallets, request_for(wallet, 5, "a")).max_intents == 0


def test_idle_leases_are_asked_for_once(wallets: WalletOperations, wallet: Wallet, clock: FakeClock) -> None:
    take(wallets, request_for(wallet, 10, "expired"))
    clock.now += LEASE_LIFE
    idle = take(wallets, request_for(wallet, 30, "idle"))
    take(wallets, request_for(wallet, 30, "one", max_intents=1))
    closed = take(wallets, request_for(wallet, 20, "closed"))
    wallets.resync(EDGE, Past("boot"))
    wallets.close_lease(EDGE, LeaseReport(closed.lease_id, 0, 0))
    clock.now += 5
    assert wallets.recall_leases(ORG, wallet.wallet_id) == 1
    assert wallets.recall_leases(ORG, wallet.wallet_id) == 0
    assert wallets.recall_leases(ORG, "wal_unknown") == 0
    [recalled] = wallets.recalled_leases("edg_1", since=clock.now)
    assert (recalled.lease_id, recalled.recall_time) == (idle.lease_id, clock.now)
    assert wallets.recalled_leases("edg_1", since=clock.now + 1) == []
    assert wallets.recalled_leases("edg_2", since=0) == []


def test_an_empty_wallet_leases_nothing_even_to_who_needs_nothing(
    wallets: WalletOperations, wallet: Wallet
) -> None:
    take(wallets, request_for(wallet, 100, "all"))
    with pytest.raises(InsufficientFunds):
        wallets.open_lease(ORG, request_for(wallet, 0, want_nanos=10))


def test_a_repeat_gets_the_same_lease_and_takes_nothing(wallets: WalletOperations, wallet: Wallet) -> None:
    first = take(wallets, request_for(wallet, 80))
    assert take(wallets, request_for(wallet, 80)) == first
    assert wallets.get_wallet(ORG).held == 80


def test_a_repeat_is_answered_although_the_wallet_was_blocked_since(
    wallets: WalletOperations, wallet: Wallet
) -> None:
    first = take(wallets, request_for(wallet, 80))
    wallets.update_wallet(ORG, OWNER, change=WalletChange(blocked=True))
    assert take(wallets, request_for(wallet, 80)) == first


def test_a_key_with_other_content_is_refused(wallets: WalletOperations, wallet: Wallet) -> None:
    take(wallets, request_for(wallet, 30))
    with pytest.raises(IdempotencyKeyReused):
        wallets.open_lease(ORG, request_for(wallet, 31, request_hash="other"))
    assert wallets.get_wallet(ORG).held == 30


def test_a_refusal_is_raised_before_anything_is_written(
    wallets: WalletOperations, wallet: Wallet, database: Database
) -> None:
    """Admission catches it inside its own transaction and commits."""

    def admit() -> str:
        try:
            wallets.open_lease(ORG, request_for(wallet, 101))
        except InsufficientFunds as refusal:
            return f"{refusal.available} of {refusal.needed}"
        return "allowed"

    assert database.write(admit) == "100 of 101"
    assert take(wallets, request_for(wallet, 100)).amount == 100


def test_a_blocked_wallet_leases_nothing(wallets: WalletOperations, wallet: Wallet) -> None:
    wallets.update_wallet(ORG, OWNER, change=WalletChange(blocked=True))
    for want in (30, 0):
        with pytest.raises(WalletBlocked):
            wallets.open_lease(ORG, request_for(wallet, 30, want_nanos=want))


def test_asking_takes_nothing_and_is_never_stored(wallets: WalletOperations, wallet: Wallet) -> None:
    assert wallets.open_lease(ORG, request_for(wallet, 100, want_nanos=0)) is None
    with pytest.raises(InsufficientFunds):
        wallets.open_lease(ORG, request_for(wallet, 101, want_nanos=0))
    assert wallets.get_wallet(ORG).held == 0
    assert take(wallets, request_for(wallet, 100)).amount == 100


def test_an_unknown_wallet_is_not_found(wallets: WalletOperations, wallet: Wallet) -> None:
    for want in (0, 5):
        with pytest.raises(NotFound):
            wallets.open_lease("org_2", request_for(wallet, 5, want_nanos=want))


def test_at_most_as_many_leases_as_the_wallet_is_worth_are_taken_at_once(
    wallets: WalletOperations, wallet: Wallet
) -> None:
    together = threading.Barrier(50)

    def admit(number: int) -> bool:
        together.wait()
        try:
            wallets.open_lease(ORG, request_for(wallet, 14, f"key-{number}"))
        except InsufficientFunds:
            return False
        return True

    with ThreadPoolExecutor(50) as pool:
        assert sum(pool.map(admit, range(50))) == 7
    after = wallets.get_wallet(ORG)
    assert (after.available, after.held) == (2, 98)


def test_twins_of_one_admission_get_one_lease(wallets: WalletOperations, wallet: Wallet) -> None:
    with ThreadPoolExecutor(10) as pool:
        leases = list(pool.map(lambda _: take(wallets, request_for(wallet, 30)), range(20)))
    assert {lease.lease_id for lease in leases} == {leases[0].lease_id}
    assert wallets.get_wallet(ORG).held == 30


def test_twins_for_two_wallets_get_one_lease_or_are_told(wallets: WalletOperations, wallet: Wallet) -> None:
    other = wallets.grant_credits(ORG, Deposit(Owner(OwnerKind.USER, "ada"), 100, "other")).wallet

    def admit(number: int) -> str:
        payer = (wallet, other)[number % 2]
        request = request_for(payer, 10, f"key-{number // 2}", request_hash=payer.wallet_id)
        try:
            return take(wallets, request).lease_id
        except IdempotencyKeyReused:
            return "reused"

    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(admit, range(16)))
    assert answers.count("reused") == 8
    held = [wallets.get_wallet(ORG, wallet_id=one.wallet_id).held for one in (wallet, other)]
    assert sum(held) == 80


def test_leases_are_listed_newest_first(wallets: WalletOperations, wallet: Wallet, clock: FakeClock) -> None:
    for number in range(5):
        clock.now += number % 2
        take(wallets, request_for(wallet, number + 1, f"key-{number}"))
    page = wallets.list_leases(ORG, wallet.wallet_id, page=PageRequest.of(2))
    rest = wallets.list_leases(ORG, wallet.wallet_id, page=PageRequest.of(4, page.next_page_token))
    assert [lease.amount for lease in (*page.leases, *rest.leases)] == [5, 4, 3, 2, 1]
    assert rest.next_page_token == ""


def test_only_the_process_that_resynced_last_is_current(wallets: WalletOperations) -> None:
    with pytest.raises(EdgeNotResynced):
        wallets.require_current(EDGE)
    assert wallets.resync(EDGE, Past("boot")) == Resynced([], [])
    wallets.require_current(EDGE)
    with pytest.raises(EdgeNotResynced):
        wallets.require_current(dataclasses.replace(EDGE, edge_epoch=4))
    for stale in (dataclasses.replace(EDGE, edge_epoch=2), dataclasses.replace(EDGE, instance="instance-2")):
        with pytest.raises(EdgeEpochStale):
            wallets.require_current(stale)
        with pytest.raises(EdgeEpochStale) as refusal:
            wallets.resync(stale, Past("boot"))
        assert refusal.value.metadata == {"edge_id": "edg_1", "edge_epoch": str(stale.edge_epoch)}
    wallets.require_current(EDGE)


def test_resyncing_again_changes_nothing(wallets: WalletOperations) -> None:
    wallets.resync(EDGE, Past("boot"))
    assert wallets.resync(EDGE, Past("boot")) == Resynced([], [])
    wallets.require_current(EDGE)


def test_a_resync_tells_the_open_leases_of_lower_epochs_of_that_edge(
    wallets: WalletOperations, wallet: Wallet
) -> None:
    left = take(wallets, request_for(wallet, 10, "left"))
    done = take(wallets, request_for(wallet, 10, "done", max_intents=1))
    part = Funding(done.lease_id, 10, 10)
    wallets.settle_charges(
        ORG, [Charge("proxy", "evt", 5, wallet_id=wallet.wallet_id, funding=(part,), edge_id="edg_1")]
    )
    take(wallets, request_for(wallet, 10, "current", edge=dataclasses.replace(EDGE, edge_epoch=4)))
    take(wallets, request_for(wallet, 10, "theirs", edge=dataclasses.replace(EDGE, edge_id="edg_2")))
    # Of an incomplete past nothing is declared, so that what is open stays so.
    past = Past("boot", clean=False)
    found = wallets.resync(dataclasses.replace(EDGE, edge_epoch=4), past).open_leases
    assert [lease.lease_id for lease in found] == [left.lease_id]
    assert found[0].organization_id == ORG


def test_first_resyncs_of_two_processes_at_once_leave_one_current(wallets: WalletOperations) -> None:
    edges = [dataclasses.replace(EDGE, instance=f"instance-{number}") for number in range(10)]

    def resync(edge: EdgeIdentity) -> bool:
        try:
            wallets.resync(edge, Past("boot"))
        except EdgeEpochStale:
            return False
        return True

    with ThreadPoolExecutor(10) as pool:
        assert sum(pool.map(resync, edges)) == 1


def test_a_resync_waits_for_the_lease_of_the_epoch_that_it_ends(
    wallets: WalletOperations, wallet: Wallet, database: Database
) -> None:
    """Else the lease would be committed behind its back and nobody would ever close it."""
    wallets.resync(EDGE, Past("boot"))
    admitted, resynced = threading.Event(), threading.Event()

    def admit() -> Lease:
        def run() -> Lease:
            wallets.require_current(EDGE)
            admitted.set()
            assert not resynced.wait(0.3)
            return take(wallets, request_for(wallet, 10))

        return database.write(run)

    def resync() -> list[Lease]:
        admitted.wait(5)
        past = Past("boot", clean=False)
        leases = wallets.resync(dataclasses.replace(EDGE, edge_epoch=4), past).open_leases
        resynced.set()
        return leases

    with ThreadPoolExecutor(2) as pool:
        admission, found = pool.submit(admit), pool.submit(resync)
        assert [lease.lease_id for lease in found.result()] == [admission.result().lease_id]


def test_what_is_left_is_told_as_the_clock_leaves_it(
    wallets: WalletOperations, wallet: Wallet, clock: FakeClock
) -> None:
    wallets.grant_credits(ORG, Deposit(OWNER, 50, "expiring", expire_time=clock.now + 5))
    clock.now += 5
    asked = wallets.fund(ORG, request_for(wallet, 30, want_nanos=0))
    assert asked.wallet is not None
    assert (asked.lease, asked.wallet.available) == (None, 100)
    first = wallets.fund(ORG, request_for(wallet, 30))
    assert first.wallet is not None
    assert (first.wallet.available, first.wallet.held) == (70, 30)
    assert first.wallet == wallets.fund(ORG, request_for(wallet, 30)).wallet == wallets.get_wallet(ORG)


# SQLite has no locks on rows: its one writer keeps everybody waiting.
@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_who_is_let_in_keeps_a_resync_waiting(wallets: WalletOperations, database: Database) -> None:
    wallets.resync(EDGE, Past("boot"))

    update = "SELECT edge_id FROM edges FOR UPDATE SKIP LOCKED"
    share = "SELECT edge_id FROM edges FOR SHARE SKIP LOCKED"

    def lockable(sql: str) -> int:
        return len(database.write(lambda: database.engine.execute_sql(sql).fetchall()))

    def admit(pool: ThreadPoolExecutor) -> tuple[int, int]:
        wallets.require_current(EDGE)
        return pool.submit(lockable, update).result(), pool.submit(lockable, share).result()

    with ThreadPoolExecutor(1) as pool:
        assert database.write(lambda: admit(pool)) == (0, 1)
        assert pool.submit(lockable, update).result() == 1
