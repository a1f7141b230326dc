from concurrent.futures import ThreadPoolExecutor

import pytest

from om_server.core.errors import DomainError, IdempotencyKeyReused, InvalidArgument
from om_server.core.money import AMOUNT_MAX, USD, AmountOutOfRange, Money
from om_server.storage.database import Database
from om_server.wallet.funding import Deduction, Deposit
from om_server.wallet.ledger import InsufficientFunds
from om_server.wallet.operations import WalletOperations
from om_server.wallet.wallet import Owner, OwnerKind
from tests.server.wallet.scene import FakeClock

ORG = "org_1"
ADA = Owner(OwnerKind.USER, "ada")


def test_a_grant_creates_the_wallet_and_answers_what_it_did(
    wallets: WalletOperations, clock: FakeClock
) -> None:
    request = Deposit(ADA, 50, "key", priority=7, expire_time=clock.now + 9, description="welcome")
    receipt = wallets.grant_credits(ORG, request)
    assert receipt.grant is not None
    assert (receipt.grant.amount, receipt.grant.available, receipt.grant.priority) == (50, 50, 7)
    assert receipt.grant.expire_time == receipt.wallet.next_expire_time == clock.now + 9
    assert [(entry.kind, entry.amount, entry.description) for entry in receipt.entries] == [
        ("grant", 50, "welcome")
    ]
    assert not receipt.replayed
    assert wallets.get_wallet(ORG, owner=ADA) == receipt.wallet


def test_a_repeat_gets_the_first_answer_word_for_word(wallets: WalletOperations, clock: FakeClock) -> None:
    request = Deposit(
        ADA, 50, "key", expire_time=clock.now + 9, description="welcome", price=Money(USD, 5_000)
    )
    first = wallets.purchase_credits(ORG, request)
    wallets.deduct_credits(ORG, Deduction(ADA, 20, "other"))
    clock.now += 60
    again = wallets.purchase_credits(ORG, request)
    assert again.replayed
    assert (again.wallet, again.entries, again.grant) == (first.wallet, first.entries, first.grant)
    assert first.grant is not None
    assert first.grant.price == Money(USD, 5_000)


def test_a_key_with_other_content_is_refused_and_changes_nothing(wallets: WalletOperations) -> None:
    wallets.grant_credits(ORG, Deposit(ADA, 50, "key"))
    for changed in (
        Deposit(ADA, 51, "key"),
        Deposit(Owner(OwnerKind.USER, "bob"), 50, "key"),
        Deposit(ADA, 50, "key", description="?"),
    ):
        with pytest.raises(IdempotencyKeyReused):
            wallets.grant_credits(ORG, changed)
    assert wallets.get_wallet(ORG, owner=ADA).available == 50
    assert not wallets.get_wallet(ORG, owner=Owner(OwnerKind.USER, "bob")).exists


def test_a_key_belongs_to_one_organization_and_one_operation(wallets: WalletOperations) -> None:
    wallets.grant_credits(ORG, Deposit(ADA, 50, "key"))
    assert not wallets.purchase_credits(ORG, Deposit(ADA, 50, "key")).replayed
    assert not wallets.deduct_credits(ORG, Deduction(ADA, 10, "key")).replayed
    assert not wallets.grant_credits("org_2", Deposit(ADA, 60, "key")).replayed
    assert wallets.get_wallet(ORG, owner=ADA).available == 90
    assert wallets.get_wallet("org_2", owner=ADA).available == 60


def test_a_refused_deduction_keeps_no_key(wallets: WalletOperations) -> None:
    wallets.grant_credits(ORG, Deposit(ADA, 5, "first"))
    with pytest.raises(InsufficientFunds):
        wallets.deduct_credits(ORG, Deduction(ADA, 8, "key"))
    wallets.grant_credits(ORG, Deposit(ADA, 5, "second"))
    receipt = wallets.deduct_credits(ORG, Deduction(ADA, 8, "key"))
    assert [entry.amount for entry in receipt.entries] == [5, 3]
    assert wallets.get_wallet(ORG, owner=ADA).available == 2


def test_nothing_can_be_deducted_where_there_is_no_wallet(wallets: WalletOperations) -> None:
    with pytest.raises(InsufficientFunds) as refusal:
        wallets.deduct_credits(ORG, Deduction(ADA, 8, "key"))
    assert refusal.value.available == 0
    assert not wallets.get_wallet(ORG, owner=ADA).exists


def test_credits_that_are_expired_on_arrival_are_refused_but_an_old_answer_is_repeated(
    wallets: WalletOperations, clock: FakeClock
) -> None:
    with pytest.raises(InvalidArgument):
        wallets.grant_credits(ORG, Deposit(ADA, 5, "key", expire_time=clock.now))
    request = Deposit(ADA, 5, "key", expire_time=clock.now + 1)
    wallets.grant_credits(ORG, request)
    clock.now += 1
    assert wallets.grant_credits(ORG, request).replayed


@pytest.mark.parametrize("amount", [0, -1, AMOUNT_MAX + 1])
def test_amounts_out_of_range_are_refused(amount: int) -> None:
    with pytest.raises(AmountOutOfRange):
        Deposit(ADA, amount, "key")
    with pytest.raises(AmountOutOfRange):
        Deduction(ADA, amount, "key")


@pytest.mark.parametrize("priority", [-1, 256])
def test_a_priority_out_of_range_is_refused(priority: int) -> None:
    with pytest.raises(InvalidArgument):
        Deposit(ADA, 1, "key", priority=priority)


def test_twins_of_one_grant_have_one_effect_and_one_answer(wallets: WalletOperations) -> None:
    with ThreadPoolExecutor(10) as pool:
        receipts = list(pool.map(lambda _: wallets.grant_credits(ORG, Deposit(ADA, 50, "key")), range(20)))
    assert wallets.get_wallet(ORG, owner=ADA).available == 50
    assert sum(not receipt.replayed for receipt in receipts) == 1
    assert {receipt.entries for receipt in receipts} == {receipts[0].entries}


def test_first_grants_at_once_share_one_wallet(wallets: WalletOperations) -> None:
    with ThreadPoolExecutor(10) as pool:
        receipts = list(
            pool.map(lambda number: wallets.grant_credits(ORG, Deposit(ADA, 5, f"k{number}")), range(20))
        )
    assert len({receipt.wallet.wallet_id for receipt in receipts}) == 1
    assert wallets.get_wallet(ORG, owner=ADA).available == 100
    assert wallets.resolution_version(ORG) == 1


def test_deductions_at_once_never_take_more_than_there_is(wallets: WalletOperations) -> None:
    wallets.grant_credits(ORG, Deposit(ADA, 70, "grant"))

    def deduct(number: int) -> bool:
        try:
            wallets.deduct_credits(ORG, Deduction(ADA, 10, f"k{number}"))
        except InsufficientFunds:
            return False
        return True

    with ThreadPoolExecutor(10) as pool:
        assert sum(pool.map(deduct, range(20))) == 7
    assert wallets.get_wallet(ORG, owner=ADA).available == 0


def test_a_grant_inside_a_transaction_that_fails_leaves_no_trace(
    wallets: WalletOperations, database: Database
) -> None:
    def grant_and_fail() -> None:
        wallets.grant_credits(ORG, Deposit(ADA, 50, "key"))
        raise DomainErrorForTest

    with pytest.raises(DomainErrorForTest):
        database.write(grant_and_fail)
    assert not wallets.get_wallet(ORG, owner=ADA).exists
    assert not wallets.grant_credits(ORG, Deposit(ADA, 50, "key")).replayed


class DomainErrorForTest(DomainError):
    def __init__(self) -> None:
        super().__init__("stop")
