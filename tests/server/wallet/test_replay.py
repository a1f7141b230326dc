from typing import Any

import pytest

from om_server.wallet.chain import chained
from om_server.wallet.entry import GRANT, Account, Cause, Entry
from om_server.wallet.replay import JournalBroken, Replay, replay
from tests.server.wallet.scene import NONE, book_with, empty_book, grant


def journal() -> list[Entry]:
    book = book_with(grant("a", 10), grant("b", 5))
    slices = book.reserve(12, cause=NONE)
    book.capture(slices, 11, cause=NONE)
    book.charge(9, cause=NONE)
    return list(book.entries)


def test_a_whole_journal_gives_every_column() -> None:
    replayed = replay(journal())
    assert (replayed.available, replayed.held, replayed.receivable) == (0, 1, 6)
    assert replayed.grants == {"a": (0, 0), "b": (0, 1)}
    assert replayed.entry_count == len(journal())


def test_no_entries_are_an_empty_wallet() -> None:
    replayed = replay([])
    assert (replayed.available, replayed.held, replayed.receivable, replayed.entry_count) == (0, 0, 0, 0)


@pytest.mark.parametrize("index", range(len(journal()) - 1))
def test_a_missing_entry_is_found_at_the_next(index: int) -> None:
    entries = journal()
    del entries[index]
    with pytest.raises(JournalBroken) as broken:
        replay(entries)
    assert broken.value.entry_id == entries[index].entry_id


@pytest.mark.parametrize("index", range(len(journal())))
def test_a_changed_amount_is_found_unless_it_moved_nothing_available(index: int) -> None:
    entries = journal()
    entries[index] = entries[index]._replace(amount=entries[index].amount + 1)
    if Account.AVAILABLE in (entries[index].debit_account, entries[index].credit_account):
        with pytest.raises(JournalBroken) as broken:
            replay(entries)
        assert broken.value.entry_id == entries[index].entry_id
    elif entries[index].debit_account is Account.RECEIVABLE:
        assert replay(entries).receivable != replay(journal()).receivable


@pytest.mark.parametrize(
    "change",
    [
        {"amount": 0},
        {"amount": -3},
        {"credit_account": Account.AVAILABLE, "debit_account": Account.AVAILABLE},
    ],
)
def test_an_entry_that_moves_nothing_is_found(change: dict[str, Any]) -> None:
    entries = journal()
    entries[2] = entries[2]._replace(**change)
    with pytest.raises(JournalBroken, match="moves nothing"):
        replay(entries)


def test_capturing_more_than_is_held_is_found() -> None:
    entries = journal()
    captured = next(entry for entry in entries if entry.debit_account is Account.HELD)
    again = captured._replace(sequence=len(entries) + 1, available_after=entries[-1].available_after)
    with pytest.raises(JournalBroken, match="not there"):
        replay([*entries, again])


def test_money_of_no_account_is_found() -> None:
    (row, *_) = chained("org", journal(), previous="")
    stray = (*row[:5], "pocket", *row[6:-1], "")
    with pytest.raises(JournalBroken, match="does not exist"):
        Replay(chain_start=1).follow(stray)  # type: ignore[arg-type]


def test_paying_more_than_is_receivable_is_found() -> None:
    book = empty_book()
    book.charge(4, cause=NONE)
    book.fund(grant("a", 10), GRANT, cause=NONE)
    *before, repaid = book.entries
    again = repaid._replace(sequence=repaid.sequence + 1, available_after=repaid.available_after - 4)
    with pytest.raises(JournalBroken, match="not there"):
        replay([*before, repaid, again])


def test_one_hold_does_not_give_what_another_has() -> None:
    book = book_with(grant("a", 10))
    book.reserve(4, cause=Cause(hold_id="one"))
    slices = book.reserve(4, cause=Cause(hold_id="two"))
    book.release(slices, 1, cause=Cause(hold_id="two"))
    assert replay(book.entries).holds == {"one": 4, "two": 3}
    *before, released = book.entries
    with pytest.raises(JournalBroken, match="than its hold has"):
        replay([*before, released._replace(hold_id="three")])
