"""Refunds, transfers and adjustments over a real database."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from om_server.core.errors import DomainError, IdempotencyKeyReused, InvalidArgument, NotFound
from om_server.core.event import Funding
from om_server.core.money import AMOUNT_MAX, AmountOutOfRange
from om_server.storage.batch import RowsContended
from om_server.wallet.charging import Charge
from om_server.wallet.correction import REFUND_GRACE
from om_server.wallet.entry import Entry
from om_server.wallet.funding import Adjustment, Deposit, Refund, Transfer
from om_server.wallet.leases.lease import EdgeIdentity, LeaseRequest
from om_server.wallet.ledger import InsufficientFunds, WalletBlocked
from om_server.wallet.operations import WalletChange, WalletOperations
from om_server.wallet.store import WalletStore
from om_server.wallet.wallet import Owner, OwnerKind, Wallet
from tests.server.wallet.scene import FakeClock

ORG = "org_1"
ADA, BOB = Owner(OwnerKind.USER, "ada"), Owner(OwnerKind.USER, "bob")


def funded(wallets: WalletOperations, owner: Owner, amount: int, *, expire_time: int | None = None) -> Wallet:
    key = f"{owner.owner_id} {amount} {expire_time}"
    return wallets.grant_credits(ORG, Deposit(owner, amount, key, expire_time=expire_time)).wallet


def spend(wallets: WalletOperations, wallet: Wallet, amount: int, event_id: str = "evt") -> None:
    wallets.settle_charges(ORG, [Charge("api", event_id, amount, wallet_id=wallet.wallet_id)])


def columns(wallets: WalletOperations, owner: Owner = ADA) -> tuple[int, int, int]:
    wallet = wallets.get_wallet(ORG, owner=owner)
    return wallet.available, wallet.held, wallet.receivable


def test_a_refund_restores_the_grants_that_paid(wallets: WalletOperations, clock: FakeClock) -> None:
    funded(wallets, ADA, 10, expire_time=clock.now + 50)
    wallet = funded(wallets, ADA, 20)
    spend(wallets, wallet, 25)
    receipt = wallets.refund_charge(ORG, Refund("api", "evt", "r"))
    assert [(entry.amount, entry.debit_account) for entry in receipt.entries] == [
        (15, "refunded"),
        (10, "refunded"),
    ]
    assert receipt.wallet.available == 30
    assert receipt.wallet.next_expire_time == clock.now + 50
    clock.now += 50
    assert columns(wallets) == (20, 0, 0)


def test_a_refund_to_an_expired_grant_has_seven_days(wallets: WalletOperations, clock: FakeClock) -> None:
    wallet = funded(wallets, ADA, 10, expire_time=clock.now + 50)
    spend(wallets, wallet, 10)
    clock.now += 60
    receipt = wallets.refund_charge(ORG, Refund("api", "evt", "r", amount=4))
    assert receipt.wallet.next_expire_time == clock.now + REFUND_GRACE
    clock.now += REFUND_GRACE
    assert columns(wallets) == (0, 0, 0)


def test_what_a_lease_captured_and_the_wallet_was_charged_comes_back(wallets: WalletOperations) -> None:
    wallet = funded(wallets, ADA, 100)
    request = LeaseRequest(wallet.wallet_id, EdgeIdentity("edg", 1, "i"), "key", "hash", 10, 10, 1)
    lease = wallets.open_lease(ORG, request)
    assert lease is not None
    funding = (Funding(lease.lease_id, 10, 10),)
    wallets.settle_charges(ORG, [Charge("proxy", "evt", 30, wallet.wallet_id, funding, "edg")])
    assert columns(wallets) == (70, 0, 0)
    wallets.refund_charge(ORG, Refund("proxy", "evt", "r"))
    assert columns(wallets) == (100, 0, 0)


def test_what_was_not_paid_is_forgiven_first(wallets: WalletOperations) -> None:
    wallet = funded(wallets, ADA, 10)
    spend(wallets, wallet, 16)
    wallets.refund_charge(ORG, Refund("api", "evt", "r", amount=5))
    assert columns(wallets) == (0, 0, 1)
    wallets.refund_charge(ORG, Refund("api", "evt", "r2"))
    assert columns(wallets) == (10, 0, 0)


def test_several_wallets_that_paid_get_back_what_each_paid(wallets: WalletOperations) -> None:
    ada, bob = funded(wallets, ADA, 20), funded(wallets, BOB, 100)
    leases = []
    for wallet in (ada, bob):
        key = wallet.wallet_id
        lease = wallets.open_lease(
            ORG, LeaseRequest(wallet.wallet_id, EdgeIdentity("edg", 1, "i"), key, "hash", 10, 10, 1)
        )
        assert lease is not None
        leases.append(Funding(lease.lease_id, 10, 10))
    wallets.settle_charges(ORG, [Charge("proxy", "evt", 18, ada.wallet_id, tuple(leases), "edg")])
    assert (columns(wallets), columns(wallets, BOB)) == ((10, 0, 0), (92, 0, 0))
    receipt = wallets.refund_charge(ORG, Refund("proxy", "evt", "r", amount=9))
    assert receipt.wallet == wallets.get_wallet(ORG, owner=BOB)
    assert (columns(wallets), columns(wallets, BOB)) == ((11, 0, 0), (100, 0, 0))
    wallets.refund_charge(ORG, Refund("proxy", "evt", "r2"))
    assert (columns(wallets), columns(wallets, BOB)) == ((20, 0, 0), (100, 0, 0))


def test_a_refund_is_repeated_by_its_key_and_refused_beyond_the_charge(wallets: WalletOperations) -> None:
    wallet = funded(wallets, ADA, 10)
    spend(wallets, wallet, 8)
    first = wallets.refund_charge(ORG, Refund("api", "evt", "r", amount=5))
    again = wallets.refund_charge(ORG, Refund("api", "evt", "r", amount=5))
    assert again == replace(first, replayed=True)
    with pytest.raises(IdempotencyKeyReused):
        wallets.refund_charge(ORG, Refund("api", "evt", "r"))
    with pytest.raises(AmountOutOfRange):
        wallets.refund_charge(ORG, Refund("api", "evt", "r2", amount=4))
    # A refusal leaves the key free.
    assert wallets.refund_charge(ORG, Refund("api", "evt", "r2", amount=3)).wallet.available == 10
    with pytest.raises(AmountOutOfRange):
        wallets.refund_charge(ORG, Refund("api", "evt", "r3"))


@pytest.mark.parametrize(
    ("organization_id", "source", "event_id"),
    [(ORG, "api", "none"), (ORG, "proxy", "evt"), ("org_2", "api", "evt"), (ORG, "", "")],
)
def test_only_the_organizations_charges_are_given_back(
    wallets: WalletOperations, organization_id: str, source: str, event_id: str
) -> None:
    spend(wallets, funded(wallets, ADA, 10), 8)
    with pytest.raises(NotFound):
        wallets.refund_charge(organization_id, Refund(source, event_id, "r"))


def test_refunds_at_once_never_give_back_more_than_the_charge(wallets: WalletOperations) -> None:
    spend(wallets, funded(wallets, ADA, 100), 50)

    def refund(number: int) -> str:
        try:
            wallets.refund_charge(ORG, Refund("api", "evt", f"r{number}", amount=20))
        except DomainError as error:
            return error.reason
        return "done"

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(refund, range(6)))
    assert sorted(answers) == ["AMOUNT_OUT_OF_RANGE"] * 4 + ["done"] * 2
    assert columns(wallets) == (90, 0, 0)


def test_a_refund_that_misses_a_wallet_says_try_again(
    wallets: WalletOperations, store: WalletStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another wallet paid for the event between the first look and the locks."""
    spend(wallets, funded(wallets, ADA, 10), 8)
    found = store.journal.of_event
    looks = iter([lambda entry: entry, lambda entry: entry._replace(wallet_id="wal_late")])

    def of_event(organization_id: str, *, source: str, event_id: str) -> list[Entry]:
        return list(map(next(looks), found(organization_id, source=source, event_id=event_id)))

    monkeypatch.setattr(store.journal, "of_event", of_event)
    with pytest.raises(RowsContended):
        wallets.refund_charge(ORG, Refund("api", "evt", "r"))
    assert columns(wallets) == (2, 0, 0)


def test_a_transfer_is_made_once_and_keeps_the_expiry(wallets: WalletOperations, clock: FakeClock) -> None:
    ada = funded(wallets, ADA, 10, expire_time=clock.now + 50)
    bob = funded(wallets, BOB, 1)
    request = Transfer(ada.wallet_id, bob.wallet_id, 6, "t", description="lunch")
    first = wallets.transfer_credits(ORG, request)
    assert wallets.transfer_credits(ORG, request) == replace(first, replayed=True)
    assert first.target is not None
    assert (first.wallet.available, first.target.available) == (4, 7)
    assert first.target.next_expire_time == clock.now + 50
    assert {entry.description for entry in first.entries} == {"lunch"}
    with pytest.raises(IdempotencyKeyReused):
        wallets.transfer_credits(ORG, replace(request, amount=7))


def test_what_cannot_be_transferred_moves_nothing(wallets: WalletOperations) -> None:
    ada, bob = funded(wallets, ADA, 10), funded(wallets, BOB, 1)
    request = Transfer(ada.wallet_id, bob.wallet_id, 5, "t")
    with pytest.raises(InvalidArgument, match="gives"):
        replace(request, target_wallet_id=ada.wallet_id)
    with pytest.raises(AmountOutOfRange):
        replace(request, amount=AMOUNT_MAX + 1)
    with pytest.raises(InsufficientFunds):
        wallets.transfer_credits(ORG, replace(request, amount=11))
    for wrong in (replace(request, target_wallet_id="wal_0"), replace(request, source_wallet_id="wal_0")):
        with pytest.raises(NotFound):
            wallets.transfer_credits(ORG, wrong)
    foreign = wallets.grant_credits("org_2", Deposit(ADA, 5, "k")).wallet.wallet_id
    with pytest.raises(NotFound):
        wallets.transfer_credits(ORG, replace(request, target_wallet_id=foreign))
    wallets.update_wallet(ORG, ADA, change=WalletChange(blocked=True))
    with pytest.raises(WalletBlocked):
        wallets.transfer_credits(ORG, request)
    assert (columns(wallets), columns(wallets, BOB)) == ((10, 0, 0), (1, 0, 0))


def test_transfers_in_both_directions_at_once_end(wallets: WalletOperations) -> None:
    ada, bob = funded(wallets, ADA, 100).wallet_id, funded(wallets, BOB, 100).wallet_id

    def move(number: int) -> None:
        source, target = (ada, bob) if number % 2 else (bob, ada)
        wallets.transfer_credits(ORG, Transfer(source, target, 3, f"t{number}"))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(move, range(24)))
    assert (columns(wallets)[0], columns(wallets, BOB)[0]) == (100, 100)


def test_an_adjustment_is_made_once_with_its_reason(wallets: WalletOperations) -> None:
    wallet_id = funded(wallets, ADA, 10).wallet_id
    up = Adjustment(wallet_id, 5, "up", "forgotten bonus")
    first = wallets.adjust_wallet(ORG, up)
    assert wallets.adjust_wallet(ORG, up) == replace(first, replayed=True)
    wallets.update_wallet(ORG, ADA, change=WalletChange(blocked=True))
    down = wallets.adjust_wallet(ORG, Adjustment(wallet_id, -12, "down", "typo"))
    assert {(entry.kind, entry.description) for entry in down.entries} == {("adjustment", "typo")}
    assert columns(wallets) == (3, 0, 0)
    with pytest.raises(InsufficientFunds):
        wallets.adjust_wallet(ORG, Adjustment(wallet_id, -4, "more", "typo"))
    with pytest.raises(NotFound):
        wallets.adjust_wallet("org_2", up)


@pytest.mark.parametrize("amount", [0, AMOUNT_MAX + 1, -AMOUNT_MAX - 1])
def test_an_adjustment_has_an_amount_and_a_reason(amount: int) -> None:
    with pytest.raises(AmountOutOfRange):
        Adjustment("wal", amount, "k", "why")
    with pytest.raises(InvalidArgument):
        Adjustment("wal", 1, "k", "")


@pytest.mark.parametrize("amount", [0, -1, AMOUNT_MAX + 1])
def test_a_refund_names_an_amount_or_none(amount: int) -> None:
    with pytest.raises(AmountOutOfRange):
        Refund("api", "evt", "k", amount=amount)
