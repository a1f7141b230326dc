import pytest

from om_server.core.money import AMOUNT_MAX, AmountOutOfRange
from om_server.wallet.correction import (
    REFUND_GRACE,
    Payment,
    adjust_down,
    by_wallet,
    give_back,
    payments_left,
    refunds,
    transfer,
)
from om_server.wallet.entry import GRANT, Cause, EntryKind
from om_server.wallet.grant import PRIORITY_DEFAULT, Grant
from om_server.wallet.ledger import InsufficientFunds, WalletBook
from tests.server.wallet.scene import NONE, NOW, book_with, empty_book, grant

EVENT = Cause(event_source="api", event_id="evt")


def grants_of(book: WalletBook) -> dict[str, Grant]:
    return {one.grant_id: one for one in book.grants}


def refund(book: WalletBook, amount: int | None) -> None:
    payments = refunds(payments_left([one for one in book.entries if one.event_id == "evt"]), amount)
    give_back(book, payments, grants=grants_of(book), cause=EVENT)


def test_the_last_payment_is_given_back_first() -> None:
    book = book_with(grant("a", 10), grant("b", 5))
    book.charge(13, cause=EVENT)
    refund(book, 4)
    assert (book.grant("a").available, book.grant("b").available) == (1, 5)
    refund(book, 2)
    assert (book.grant("a").available, book.grant("b").available) == (3, 5)
    assert payments_left(book.entries) == [Payment("wal", "a", 7)]
    refund(book, None)
    assert payments_left(book.entries) == []


@pytest.mark.parametrize("amount", [None, 1, 14, 0, -1])
def test_no_more_than_what_is_left_is_given_back(amount: int | None) -> None:
    book = book_with(grant("a", 20))
    book.charge(13, cause=EVENT)
    if amount in (None, 1):
        refund(book, None)
    with pytest.raises(AmountOutOfRange):
        refunds(payments_left(book.entries), amount)


def test_a_refund_takes_back_what_was_paid_before_it_not_what_comes_after() -> None:
    book = book_with(grant("a", 10), grant("b", 5))
    book.charge(10, cause=EVENT)
    refund(book, 4)
    book.charge(7, cause=EVENT)
    assert [(left.grant_id, left.amount) for left in payments_left(book.entries)] == [
        ("b", 3),
        ("a", 4),
        ("a", 6),
    ]


def test_what_others_moved_is_no_payment_of_the_event() -> None:
    book = book_with(grant("a", 20))
    slices = book.reserve(5, cause=Cause(hold_id="lse"))
    slices = book.capture(slices, 2, cause=Cause("lse", "api", "evt"))
    book.release(slices, 3, cause=EVENT)
    book.charge(4, cause=EVENT)
    entries = [entry for entry in book.entries if entry.event_id == "evt"]
    assert [payment.amount for payment in payments_left(entries)] == [4, 2]


def test_an_expired_grant_is_replaced_with_seven_days_of_grace() -> None:
    book = book_with(grant("a", 20, priority=3, expire_time=NOW + 10))
    book.charge(13, cause=EVENT)
    stored = grants_of(book)
    later = WalletBook(book.wallet, book.grants, now=NOW + 10, new_id=lambda prefix: f"{prefix}_new")
    entries = give_back(later, [Payment("wal", "a", 13)], grants=stored, cause=EVENT)
    new = later.grant("grt_new")
    assert (new.available, new.amount, new.priority, new.expire_time) == (
        13,
        13,
        3,
        NOW + 10 + REFUND_GRACE,
    )
    assert [entry.kind for entry in later.entries] == [EntryKind.EXPIRY, EntryKind.REFUND]
    assert [entry.grant_id for entry in entries] == ["grt_new"]


def test_a_grant_that_was_spent_to_its_end_and_forgotten_is_recalled() -> None:
    book = book_with(grant("a", 20))
    book.charge(20, cause=EVENT)
    (spent, line) = book.grants
    later = WalletBook(book.wallet, [line], now=NOW, new_id=lambda prefix: f"{prefix}_new")
    give_back(later, [Payment("wal", "a", 7)], grants={"a": spent}, cause=EVENT)
    assert later.grant("a").available == later.wallet.available == 7
    assert later.new_grants == []
    assert [grant_id for grant_id, _, _ in later.changed_columns] == ["a"]


def test_what_was_never_paid_lowers_the_receivable_first() -> None:
    book = book_with(grant("a", 10))
    book.charge(16, cause=EVENT)
    refund(book, 4)
    assert (book.wallet.receivable, book.wallet.available) == (2, 0)
    refund(book, None)
    assert (book.wallet.receivable, book.wallet.available) == (0, 10)
    assert book.grant("a").available == 10


def test_a_debt_that_was_paid_meanwhile_comes_back_as_money_that_never_expires() -> None:
    book = book_with(credit_limit=5)
    book.charge(9, cause=EVENT)
    assert (book.wallet.available, book.wallet.receivable) == (-5, 4)
    book.fund(grant("a", 20, expire_time=NOW + 5), GRANT, cause=NONE)
    assert book.wallet.available == 11
    refund(book, None)
    assert (book.wallet.available, book.wallet.receivable, book.overdraft) == (20, 0, 0)
    fresh = [one for one in book.grants if one.grant_id not in ("a", "line_wal")]
    assert [(one.available, one.priority, one.expire_time) for one in fresh] == [
        (4, PRIORITY_DEFAULT, None),
        (5, PRIORITY_DEFAULT, None),
    ]


def test_a_refund_pays_the_overdraft_like_new_money() -> None:
    book = book_with(grant("a", 10), credit_limit=5)
    book.charge(10, cause=EVENT)
    book.charge(5, cause=NONE)
    refund(book, None)
    assert (book.wallet.available, book.overdraft, book.grant("a").available) == (5, 0, 5)


def test_a_wallet_takes_no_more_than_fits() -> None:
    book = book_with(grant("a", AMOUNT_MAX))
    book.charge(5, cause=EVENT)
    book.fund(grant("b", 5), GRANT, cause=NONE)
    with pytest.raises(AmountOutOfRange):
        refund(book, None)


def test_payments_are_grouped_by_wallet_in_the_order_of_their_first() -> None:
    one, two, three = Payment("b", "x", 1), Payment("a", "y", 2), Payment("b", "z", 3)
    assert list(by_wallet([one, two, three])) == [("b", [one, three]), ("a", [two])]


def test_a_transfer_keeps_priority_and_expiry_and_one_group() -> None:
    source = book_with(
        grant("a", 10, priority=1, expire_time=NOW + 9), grant("b", 10, priority=2), grant("c", 10)
    )
    target = empty_book(wallet_id="other")
    given, taken = transfer(source, target, 15, cause=Cause(description="move"))
    assert [(entry.grant_id, entry.amount) for entry in given] == [("a", 10), ("b", 5)]
    arrived = [target.grant(entry.grant_id) for entry in taken]
    assert [(one.available, one.priority, one.expire_time) for one in arrived] == [
        (10, 1, NOW + 9),
        (5, 2, None),
    ]
    assert {entry.group_id for entry in given + taken} == {given[0].entry_id}
    assert {(entry.debit_account, entry.credit_account) for entry in given} == {("available", "clearing")}
    assert {(entry.debit_account, entry.credit_account) for entry in taken} == {("clearing", "available")}
    assert (source.wallet.available, target.wallet.available) == (15, 15)


def test_a_transfer_pays_debts_of_who_gets_it() -> None:
    source, target = book_with(grant("a", 10)), empty_book(wallet_id="other")
    target.charge(7, cause=NONE)
    transfer(source, target, 10, cause=NONE)
    assert (target.wallet.available, target.wallet.receivable) == (3, 0)


def test_neither_credit_nor_expired_money_is_transferred() -> None:
    source = book_with(grant("a", 10), credit_limit=50)
    with pytest.raises(InsufficientFunds) as refusal:
        transfer(source, empty_book(wallet_id="other"), 11, cause=NONE)
    assert refusal.value.available == 10
    old = book_with(grant("a", 10, expire_time=NOW + 1))
    later = WalletBook(old.wallet, old.grants, now=NOW + 1, new_id=lambda prefix: prefix)
    with pytest.raises(InsufficientFunds) as refusal:
        transfer(later, empty_book(wallet_id="other"), 1, cause=NONE)
    assert refusal.value.available == 0


def test_an_adjustment_takes_in_burn_order_and_within_the_credit() -> None:
    book = book_with(grant("a", 10), credit_limit=5)
    entries = adjust_down(book, 12, cause=NONE)
    assert [(entry.kind, entry.amount, entry.credit_account) for entry in entries] == [
        ("adjustment", 10, "funding"),
        ("adjustment", 2, "funding"),
    ]
    assert book.wallet.available == -2
    with pytest.raises(InsufficientFunds):
        adjust_down(book, 4, cause=NONE)
