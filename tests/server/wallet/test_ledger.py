import dataclasses

import pytest

from om_server.core.money import AMOUNT_MAX, CREDITS, USD, AmountOutOfRange, CurrencyMismatch, Money
from om_server.wallet.entry import GRANT, PURCHASE, Account, Cause, EntryKind
from om_server.wallet.funding import credits_of
from om_server.wallet.ledger import InsufficientFunds, Paid, WalletBlocked, WalletBook
from om_server.wallet.replay import replay
from tests.server.wallet.scene import NONE, NOW, History, book_with, empty_book, grant


def columns(book: WalletBook) -> tuple[int, int, int]:
    return book.wallet.available, book.wallet.held, book.wallet.receivable


def amounts(book: WalletBook) -> dict[str, tuple[int, int]]:
    return {one.grant_id: (one.available, one.held) for one in book.grants}


def test_grants_are_spent_by_priority_then_expiry_then_age_then_id() -> None:
    book = book_with(
        grant("never", 1),
        grant("old", 1, create_time=-5),
        grant("late", 1, expire_time=NOW + 9),
        grant("soon", 1, expire_time=NOW + 1),
        grant("first", 1, priority=1),
        grant("last", 1, priority=200, expire_time=NOW + 1),
        grant("also", 1),
    )
    slices = book.reserve(7, cause=NONE)
    assert [one.grant_id for one in slices] == ["first", "soon", "late", "old", "also", "never", "last"]


def test_a_reservation_takes_all_or_nothing() -> None:
    book = book_with(grant("a", 60), grant("b", 40))
    with pytest.raises(InsufficientFunds) as refusal:
        book.reserve(101, cause=NONE)
    assert refusal.value.metadata == {
        "wallet_id": "wal",
        "needed": "0.000000101",
        "available": "0.0000001",
    }
    assert (refusal.value.needed, refusal.value.available) == (101, 100)
    assert columns(book) == (100, 0, 0)
    book.reserve(100, cause=NONE)
    assert columns(book) == (0, 100, 0)


def test_a_capture_takes_the_first_slice_first_and_a_release_the_last() -> None:
    book = book_with(grant("a", 10), grant("b", 10))
    slices = book.reserve(20, cause=NONE)
    slices = book.capture(slices, 5, cause=NONE)
    slices = book.release(slices, 12, cause=NONE)
    assert amounts(book) == {"a": (2, 3), "b": (10, 0), "line_wal": (0, 0)}
    assert [piece.held for piece in slices] == [3, 0]


def test_more_than_the_slices_hold_is_never_moved() -> None:
    book = book_with(grant("a", 10))
    slices = book.reserve(5, cause=NONE)
    with pytest.raises(ValueError, match="not held"):
        book.capture(slices, 6, cause=NONE)
    with pytest.raises(ValueError, match="not held"):
        book.release(slices, 6, cause=NONE)
    assert columns(book) == (5, 5, 0)


def test_usage_beyond_the_wallet_goes_to_the_credit_line_and_then_to_the_receivable() -> None:
    book = book_with(grant("a", 10), credit_limit=7)
    assert book.charge(30, cause=NONE) == Paid(charged=17, receivable=13)
    assert columns(book) == (-7, 0, 13)
    assert amounts(book) == {"a": (0, 0), "line_wal": (-7, 0)}


def test_a_strict_wallet_never_uses_its_credit_line() -> None:
    history = History(book_with(grant("a", 10), credit_limit=7))
    strict = dataclasses.replace(history.book.wallet, mode=empty_book().wallet.mode)
    book = history.reopen(now=NOW, wallet=strict)
    assert book.charge(30, cause=NONE) == Paid(charged=10, receivable=20)
    with pytest.raises(InsufficientFunds):
        book.reserve(1, cause=NONE)


def test_a_soft_wallet_at_its_limit_is_refused_like_a_strict_one() -> None:
    book = empty_book(credit_limit=10)
    book.reserve(10, cause=NONE)
    with pytest.raises(InsufficientFunds) as refusal:
        book.reserve(1, cause=NONE)
    assert refusal.value.available == 0


def test_new_funds_pay_the_overdraft_first_and_the_receivable_second() -> None:
    book = empty_book(credit_limit=10)
    book.charge(25, cause=NONE)
    entries = book.fund(grant("a", 12), PURCHASE, cause=Cause(description="top-up"))
    assert columns(book) == (0, 0, 13)
    assert [(entry.kind, entry.debit_account, entry.credit_account, entry.amount) for entry in entries] == [
        (EntryKind.PURCHASE, Account.FUNDING, Account.AVAILABLE, 12),
        (EntryKind.REPAYMENT, Account.AVAILABLE, Account.CLEARING, 10),
        (EntryKind.REPAYMENT, Account.CLEARING, Account.AVAILABLE, 10),
        (EntryKind.REPAYMENT, Account.AVAILABLE, Account.RECEIVABLE, 2),
    ]
    assert {entry.group_id for entry in entries} == {entries[0].entry_id}
    book.fund(grant("b", 20), PURCHASE, cause=NONE)
    assert columns(book) == (7, 0, 0)


def test_a_released_hold_pays_the_receivable() -> None:
    book = book_with(grant("a", 10))
    slices = book.reserve(10, cause=NONE)
    assert book.charge(4, cause=NONE) == Paid(charged=0, receivable=4)
    book.release(slices, 10, cause=NONE)
    assert columns(book) == (6, 0, 0)


def test_money_set_aside_on_the_credit_line_is_owed_only_when_it_is_captured() -> None:
    book = empty_book(credit_limit=30)
    slices = book.reserve(30, cause=NONE)
    book.fund(grant("a", 50, expire_time=NOW + 1), GRANT, cause=NONE)
    assert amounts(book) == {"a": (50, 0), "line_wal": (-30, 30)}
    slices = book.capture(slices, 10, cause=NONE)
    assert amounts(book) == {"a": (40, 0), "line_wal": (-20, 20)}
    book.release(slices, 20, cause=NONE)
    assert amounts(book) == {"a": (40, 0), "line_wal": (0, 0)}


def test_an_expired_grant_is_not_spendable_and_becomes_breakage_when_the_wallet_is_next_used() -> None:
    history = History(book_with(grant("a", 10, expire_time=NOW + 5), grant("b", 3)))
    book = history.reopen(now=NOW + 5)
    assert book.spendable == 3
    slices = book.reserve(3, cause=NONE)
    assert [piece.grant_id for piece in slices] == ["b"]
    assert book.entries[0].kind is EntryKind.EXPIRY
    assert columns(book) == (0, 3, 0)
    assert book.entries[0].group_id != book.entries[1].group_id


def test_a_grant_that_expires_while_it_is_held_can_be_captured_and_expires_when_it_is_released() -> None:
    history = History(book_with(grant("a", 10, expire_time=NOW + 5)))
    slices = history.book.reserve(10, cause=NONE)
    book = history.reopen(now=NOW + 6)
    slices = book.capture(slices, 4, cause=NONE)
    book.release(slices, 6, cause=NONE)
    assert [entry.kind for entry in book.entries] == ["capture", "release", "expiry"]
    assert columns(book) == (0, 0, 0)


def test_a_blocked_wallet_starts_nothing_and_still_settles_and_takes_money() -> None:
    history = History(book_with(grant("a", 10)))
    slices = history.book.reserve(4, cause=NONE)
    blocked = dataclasses.replace(history.book.wallet, blocked=True)
    book = history.reopen(now=NOW, wallet=blocked)
    for refused in (book.reserve, book.deduct):
        with pytest.raises(WalletBlocked):
            refused(1, cause=NONE)
    book.capture(slices, 4, cause=NONE)
    book.charge(1, cause=NONE)
    book.fund(grant("b", 5), GRANT, cause=NONE)
    assert columns(book) == (10, 0, 0)


def test_a_deduction_takes_all_or_nothing() -> None:
    book = book_with(grant("a", 10), grant("b", 10))
    with pytest.raises(InsufficientFunds):
        book.deduct(21, cause=NONE)
    entries = book.deduct(15, cause=Cause(description="seat"))
    assert [(entry.grant_id, entry.amount, entry.description) for entry in entries] == [
        ("a", 10, "seat"),
        ("b", 5, "seat"),
    ]
    assert columns(book) == (5, 0, 0)


def test_entries_name_their_cause_and_what_was_available_after_them() -> None:
    book = book_with(grant("a", 10))
    slices = book.reserve(6, cause=Cause(hold_id="lse_1"))
    cause = Cause(hold_id="lse_1", event_source="proxy", event_id="evt_1", description="chat")
    book.capture(slices, 4, cause=cause)
    entry = book.entries[-1]
    assert (entry.sequence, entry.hold_id, entry.event_source, entry.event_id) == (
        3,
        "lse_1",
        "proxy",
        "evt_1",
    )
    assert (entry.available_after, entry.description, entry.create_time) == (4, "chat", NOW)
    assert [one.sequence for one in book.entries] == [1, 2, 3]


@pytest.mark.parametrize("amount", [0, -1, AMOUNT_MAX + 1])
def test_a_grant_of_nothing_or_too_much_is_refused(amount: int) -> None:
    with pytest.raises(AmountOutOfRange):
        empty_book().fund(grant("a", amount), GRANT, cause=NONE)


def test_sums_never_leave_the_range_of_amounts() -> None:
    book = book_with(grant("a", AMOUNT_MAX))
    with pytest.raises(AmountOutOfRange):
        book.fund(grant("b", 1), GRANT, cause=NONE)
    rich = book_with(grant("a", AMOUNT_MAX), credit_limit=AMOUNT_MAX)
    rich.reserve(AMOUNT_MAX, cause=NONE)
    with pytest.raises(AmountOutOfRange):
        rich.reserve(1, cause=NONE)
    broke = empty_book()
    broke.charge(AMOUNT_MAX, cause=NONE)
    with pytest.raises(AmountOutOfRange):
        broke.charge(1, cause=NONE)


def test_only_positive_credits_can_be_moved() -> None:
    assert credits_of(Money(CREDITS, 5)) == 5
    with pytest.raises(CurrencyMismatch):
        credits_of(Money(USD, 5))
    with pytest.raises(AmountOutOfRange):
        credits_of(Money(CREDITS, 0))


def test_nothing_happens_for_no_amount() -> None:
    book = book_with(grant("a", 10))
    before = len(book.entries)
    assert book.reserve(0, cause=NONE) == ()
    assert book.charge(0, cause=NONE) == Paid(0, 0)
    assert len(book.entries) == before


def test_the_next_expiry_is_that_of_a_grant_that_still_has_something() -> None:
    book = book_with(grant("a", 1, expire_time=NOW + 1), grant("b", 5, expire_time=NOW + 2))
    book.deduct(1, cause=NONE)
    assert book.wallet.next_expire_time == NOW + 2
    book.reserve(5, cause=NONE)
    assert book.wallet.next_expire_time == NOW + 2


def test_replaying_the_entries_gives_the_columns() -> None:
    book = book_with(grant("a", 10), credit_limit=5)
    slices = book.reserve(12, cause=NONE)
    book.charge(9, cause=NONE)
    book.capture(slices, 11, cause=NONE)
    replayed = replay(book.entries)
    assert (replayed.available, replayed.held, replayed.receivable) == columns(book)
    assert replayed.entry_count == book.wallet.entry_sequence


def test_a_receivable_has_an_end_and_a_beginning() -> None:
    book = empty_book()
    for amount in (0, AMOUNT_MAX + 1):
        with pytest.raises(AmountOutOfRange):
            book.owe(amount, cause=NONE)
    book.owe(AMOUNT_MAX, cause=NONE)
    with pytest.raises(AmountOutOfRange):
        book.owe(1, cause=NONE)
