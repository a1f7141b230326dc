from concurrent.futures import ThreadPoolExecutor

import pytest

from om_server.core.errors import DomainError, IdempotencyKeyReused, NotFound
from om_server.core.page import PageRequest
from om_server.wallet.charging import Charge
from om_server.wallet.funding import Deduction, Deposit
from om_server.wallet.holds.hold import Hold, HoldConflict, HoldRequest, HoldState
from om_server.wallet.leases.lease import EdgeIdentity, LeaseRequest
from om_server.wallet.ledger import InsufficientFunds, WalletBlocked
from om_server.wallet.operations import WalletChange, WalletOperations
from om_server.wallet.wallet import Owner, OwnerKind, Wallet, WalletMode
from tests.server.wallet.scene import FakeClock

ORG = "org_1"
OWNER = Owner.of(ORG, OwnerKind.ORGANIZATION)
LIFE = 1_000


@pytest.fixture
def wallet(wallets: WalletOperations) -> Wallet:
    return wallets.grant_credits(ORG, Deposit(OWNER, 100, "grant")).wallet


def hold(wallets: WalletOperations, wallet: Wallet, clock: FakeClock, amount: int, key: str = "key") -> Hold:
    request = HoldRequest(wallet.wallet_id, amount, key, expire_time=clock.now + LIFE)
    made = wallets.create_hold(ORG, request).hold
    assert made is not None
    return made


def columns(wallets: WalletOperations) -> tuple[int, int, int]:
    wallet = wallets.get_wallet(ORG)
    return wallet.available, wallet.held, wallet.receivable


def kinds(wallets: WalletOperations, wallet: Wallet) -> list[str]:
    page = wallets.list_entries(ORG, wallet.wallet_id, page=PageRequest.of())
    return [entry.kind for entry in reversed(page.entries)]


def test_a_hold_sets_money_aside_once_for_its_key(
    wallets: WalletOperations, wallet: Wallet, clock: FakeClock
) -> None:
    request = HoldRequest(wallet.wallet_id, 40, "key", expire_time=clock.now + LIFE)
    first = wallets.create_hold(ORG, request)
    assert first.hold is not None
    assert (first.hold.state, first.hold.captured) == (HoldState.PENDING, None)
    assert columns(wallets) == (60, 40, 0)
    wallets.release_hold(ORG, first.hold.hold_id)
    clock.now += 2 * LIFE
    again = wallets.create_hold(ORG, request)
    assert (again.replayed, again.hold) == (True, first.hold)
    with pytest.raises(IdempotencyKeyReused):
        wallets.create_hold(ORG, HoldRequest(wallet.wallet_id, 41, "key", expire_time=request.expire_time))
    assert columns(wallets) == (100, 0, 0)


def test_what_is_not_there_or_blocked_is_not_held_and_the_key_stays_free(
    wallets: WalletOperations, wallet: Wallet, clock: FakeClock
) -> None:
    with pytest.raises(InsufficientFunds):
        hold(wallets, wallet, clock, 101)
    wallets.update_wallet(ORG, OWNER, change=WalletChange(blocked=True))
    with pytest.raises(WalletBlocked):
        hold(wallets, wallet, clock, 10)
    wallets.update_wallet(ORG, OWNER, change=WalletChange(blocked=False))
    assert hold(wallets, wallet, clock, 100).amount == 100
    with pytest.raises(NotFound):
        wallets.create_hold("org_2", HoldRequest(wallet.wallet_id, 1, "key"))


def test_a_capture_frees_the_rest_in_the_same_moment(
    wallets: WalletOperations, wallet: Wallet, clock: FakeClock
) -> None:
    made = hold(wallets, wallet, clock, 40)
    captured = wallets.capture_hold(ORG, made.hold_id, amount=25)
    assert (captured.state, captured.captured, captured.held) == (HoldState.CAPTURED, 25, 0)
    assert columns(wallets) == (75, 0, 0)
    assert kinds(wallets, wallet) == ["grant", "reserve", "capture", "release"]


def test_a_repeated_capture_gets_the_first_answer_and_another_is_refused(
    wallets: WalletOperations, wallet: Wallet, clock: FakeClock
) -> None:
    made = hold(wallets, wallet, clock, 40)
    first = wallets.capture_hold(ORG, made.hold_id)
    clock.now += 2 * LIFE
    assert wallets.capture_hold(ORG, made.hold_id) == first
    assert wallets.capture_hold(ORG, made.hold_id, amount=40) == first
    with pytest.raises(HoldConflict):
        wallets.capture_hold(ORG, made.hold_id, amount=39)
    with pytest.raises(HoldConflict):
        wallets.release_hold(ORG, made.hold_id)
    assert columns(wallets) == (60, 0, 0)


def test_a_released_hold_is_free_for_good(
    wallets: WalletOperations, wallet: Wallet, clock: FakeClock
) -> None:
    made = hold(wallets, wallet, clock, 40)
    first = wallets.release_hold(ORG, made.hold_id)
    assert (first.state, first.captured) == (HoldState.RELEASED, 0)
    assert wallets.release_hold(ORG, made.hold_id) == first
    with pytest.raises(HoldConflict):
        wallets.capture_hold(ORG, made.hold_id)
    assert columns(wallets) == (100, 0, 0)


def test_a_blocked_wallet_still_pays_for_what_was_held(
    wallets: WalletOperations, wallet: Wallet, clock: FakeClock
) -> None:
    made = hold(wallets, wallet, clock, 40)
    wallets.update_wallet(ORG, OWNER, change=WalletChange(blocked=True))
    assert wallets.capture_hold(ORG, made.hold_id).captured == 40


def test_the_clock_frees_a_hold_for_readers_at_once_and_in_the_ledger_at_the_next_lock(
    wallets: WalletOperations, wallet: Wallet, clock: FakeClock
) -> None:
    hold(wallets, wallet, clock, 40)
    clock.now += LIFE - 1
    assert columns(wallets) == (60, 40, 0)
    clock.now += 1
    assert columns(wallets) == (100, 0, 0)
    assert wallets.list_wallets(ORG, page=PageRequest.of()).wallets[0].available == 100
    assert kinds(wallets, wallet) == ["grant", "reserve"]
    wallets.deduct_credits(ORG, Deduction(OWNER, 90, "d"))
    assert kinds(wallets, wallet) == ["grant", "reserve", "release", "deduction"]
    assert columns(wallets) == (10, 0, 0)


def test_what_returns_to_an_expired_grant_expires_for_readers_too(
    wallets: WalletOperations, clock: FakeClock
) -> None:
    short = Deposit(OWNER, 10, "short", expire_time=clock.now + LIFE // 2)
    wallet = wallets.grant_credits(ORG, short).wallet
    wallets.grant_credits(ORG, Deposit(OWNER, 5, "long"))
    hold(wallets, wallet, clock, 12)
    clock.now += LIFE
    before = wallets.get_wallet(ORG)
    assert (before.available, before.held) == (5, 0)
    wallets.settle_charges(ORG, [Charge("api", "evt", 1, wallet_id=wallet.wallet_id)])
    assert columns(wallets) == (4, 0, 0)


def test_a_hold_freed_by_the_clock_pays_debts_for_readers_too(
    wallets: WalletOperations, wallet: Wallet, clock: FakeClock
) -> None:
    hold(wallets, wallet, clock, 90)
    wallets.settle_charges(ORG, [Charge("api", "evt", 30, wallet_id=wallet.wallet_id)])
    assert columns(wallets) == (0, 90, 20)
    clock.now += LIFE
    assert columns(wallets) == (70, 0, 0)
    wallets.update_wallet(ORG, OWNER, change=WalletChange(mode=WalletMode.SOFT))
    assert kinds(wallets, wallet)[-2:] == ["release", "repayment"]
    assert columns(wallets) == (70, 0, 0)


def test_releasing_after_the_expiry_changes_nothing(
    wallets: WalletOperations, wallet: Wallet, clock: FakeClock
) -> None:
    made = hold(wallets, wallet, clock, 40)
    clock.now += LIFE
    for _ in range(2):
        assert wallets.release_hold(ORG, made.hold_id).state is HoldState.EXPIRED
    assert kinds(wallets, wallet) == ["grant", "reserve", "release"]


def test_a_capture_after_the_expiry_becomes_receivable_and_is_paid_from_what_is_there(
    wallets: WalletOperations, wallet: Wallet, clock: FakeClock
) -> None:
    made = hold(wallets, wallet, clock, 40)
    clock.now += LIFE
    wallets.deduct_credits(ORG, Deduction(OWNER, 85, "d"))
    captured = wallets.capture_hold(ORG, made.hold_id)
    assert (captured.state, captured.captured) == (HoldState.CAPTURED, 40)
    assert columns(wallets) == (0, 0, 25)
    assert kinds(wallets, wallet)[-2:] == ["receivable", "repayment"]
    assert wallets.capture_hold(ORG, made.hold_id) == captured
    with pytest.raises(HoldConflict):
        wallets.capture_hold(ORG, made.hold_id, amount=1)
    assert columns(wallets) == (0, 0, 25)


def test_a_late_capture_uses_no_credit(wallets: WalletOperations, wallet: Wallet, clock: FakeClock) -> None:
    wallets.update_wallet(ORG, OWNER, change=WalletChange(mode=WalletMode.SOFT, credit_limit=50))
    made = hold(wallets, wallet, clock, 130)
    clock.now += LIFE
    wallets.capture_hold(ORG, made.hold_id)
    assert columns(wallets) == (0, 0, 30)


def test_an_edges_lease_is_no_hold(wallets: WalletOperations, wallet: Wallet) -> None:
    request = LeaseRequest(wallet.wallet_id, EdgeIdentity("edg", 1, "i"), "key", "hash", 10, 10, 1)
    lease = wallets.open_lease(ORG, request)
    assert lease is not None
    for organization_id, error in ((ORG, HoldConflict), ("org_2", NotFound)):
        with pytest.raises(error):
            wallets.capture_hold(organization_id, lease.lease_id)
    with pytest.raises(NotFound):
        wallets.release_hold("org_2", hold_id="hld_none")


def test_of_a_capture_and_a_release_at_once_exactly_one_wins(
    wallets: WalletOperations, wallet: Wallet, clock: FakeClock
) -> None:
    for number in range(5):
        made = hold(wallets, wallet, clock, 10, f"k{number}")

        def resolve(turn: int, made: Hold = made) -> HoldState | str:
            try:
                if turn % 2:
                    return wallets.capture_hold(ORG, made.hold_id).state
                return wallets.release_hold(ORG, made.hold_id).state
            except DomainError as error:
                return error.reason

        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(resolve, range(4)))
        assert sorted(answers)[:2] == ["HOLD_STATE"] * 2
        assert sorted(answers)[2:] in (["captured"] * 2, ["released"] * 2)
    captured = 100 - wallets.get_wallet(ORG).available
    assert captured % 10 == 0
    assert kinds(wallets, wallet).count("capture") == captured // 10
