"""What another rating of an event has still to move."""

import dataclasses

import pytest

from om_server.storage.batch import RowsContended
from om_server.wallet.charging import Charge
from om_server.wallet.correction import give_back, refunds
from om_server.wallet.entry import Cause
from om_server.wallet.funding import Deposit
from om_server.wallet.operations import WalletOperations
from om_server.wallet.revision import Revised, Revision, balance_of
from om_server.wallet.store import WalletStore
from om_server.wallet.wallet import Owner, OwnerKind
from tests.server.wallet.scene import book_with, grant
from tests.server.wallet.test_correction import grants_of

BY_HAND = Cause(event_source="api", event_id="evt")
REVISION = Revision("api", "evt", number=1, charge=0, wallet_id="wal")


@pytest.mark.parametrize(("charge", "due"), [(0, -10), (10, 0), (13, 3)])
def test_only_the_difference_to_what_was_paid_is_due(charge: int, due: int) -> None:
    book = book_with(grant("a", 20))
    book.charge(10, cause=BY_HAND)

    assert balance_of(book.entries).due(charge) == due


@pytest.mark.parametrize(("by_hand", "charge", "due"), [(True, 10, 0), (True, 3, -6), (False, 10, 4)])
def test_a_refund_by_hand_stays_given_and_one_by_rating_does_not(
    by_hand: bool,  # noqa: FBT001 - a case
    charge: int,
    due: int,
) -> None:
    book = book_with(grant("a", 20))
    book.charge(10, cause=BY_HAND)
    cause = BY_HAND if by_hand else REVISION.cause("org")
    give_back(book, refunds(balance_of(book.entries).payments, 4), grants=grants_of(book), cause=cause)

    assert balance_of(book.entries).due(charge) == due


def test_what_nobody_paid_has_nothing_to_come_back() -> None:
    assert balance_of([]).due(0) == 0


def test_the_group_is_named_by_event_and_number_and_nothing_else() -> None:
    same = dataclasses.replace(REVISION, charge=5, wallet_id="other", description="search")
    others = (
        dataclasses.replace(REVISION, number=2),
        dataclasses.replace(REVISION, event_id="evt2"),
        dataclasses.replace(REVISION, source="proxy"),
    )

    group = REVISION.cause("org").group_id

    assert same.cause("org").group_id == group
    assert len({group, REVISION.cause("org2").group_id, *(one.cause("org").group_id for one in others)}) == 5


def test_every_entry_of_a_revision_has_its_group() -> None:
    book = book_with(grant("a", 4))
    cause = REVISION.cause("org")

    book.charge(10, cause=cause)

    assert [entry.group_id for entry in book.entries[-2:]] == [cause.group_id] * 2


def test_money_that_another_wallet_refunded_meanwhile_is_not_missed(
    wallets: WalletOperations, store: WalletStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The entries name a wallet that was not locked: the transaction writes nothing and is tried again."""
    owner = Owner.of("org", OwnerKind.ORGANIZATION)
    wallet = wallets.grant_credits("org", Deposit(owner, 20, "k")).wallet
    wallets.settle_charges("org", [Charge("api", "evt", 10, wallet.wallet_id)])
    of_events, calls = store.journal.of_events, []

    def late(*arguments: object) -> object:
        calls.append(arguments)
        return of_events(*arguments) if len(calls) > 1 else {}  # type: ignore[arg-type] # Passed on.

    monkeypatch.setattr(store.journal, "of_events", late)
    with pytest.raises(RowsContended):
        wallets.revise_charges("org", [Revision("api", "evt", 1, 4)])
    assert wallets.get_wallet("org").available == 10

    [revised] = wallets.revise_charges("org", [Revision("api", "evt", 1, 4)])
    assert revised == Revised(-6, 0)
    assert wallets.get_wallet("org").available == 16


def test_where_the_wallet_is_unknown_nothing_is_charged(wallets: WalletOperations) -> None:
    assert wallets.revise_charges("org", [Revision("api", "evt", 1, 5, "wal_gone")]) == [Revised()]
