from itertools import pairwise

import pytest

from om_server.core.errors import NotFound, PageTokenInvalid
from om_server.core.money import AMOUNT_MAX
from om_server.core.page import PageRequest
from om_server.wallet.charging import Charge
from om_server.wallet.entry import EntryKind
from om_server.wallet.funding import Deduction, Deposit
from om_server.wallet.leases.closing import Past
from om_server.wallet.leases.lease import EdgeIdentity, LeaseRequest
from om_server.wallet.operations import WalletChange, WalletOperations
from om_server.wallet.transaction import Transaction
from om_server.wallet.wallet import Owner, OwnerKind, WalletMode

ORG = "org_1"
OWNER = Owner.of(ORG, OwnerKind.ORGANIZATION)
ADA = Owner(OwnerKind.USER, "ada")


def grant(wallets: WalletOperations, amount: int, key: str, *, owner: Owner = OWNER) -> str:
    return wallets.grant_credits(ORG, Deposit(owner, amount, key, description=key)).wallet.wallet_id


def listed(wallets: WalletOperations, *, size: int = 0, skip: int = 0) -> tuple[Transaction, ...]:
    page = PageRequest.of(size, skip=skip)
    return wallets.list_transactions(ORG, owner=OWNER, page=page).transactions


def test_what_was_only_set_aside_is_no_transaction(wallets: WalletOperations) -> None:
    wallet_id = grant(wallets, 100, "first")
    edge = EdgeIdentity("edg_1", 1, "instance-1")
    wallets.resync(edge, Past("boot"))
    assert wallets.fund(ORG, LeaseRequest(wallet_id, edge, "admit", "hash", 30, 30, 0)).lease is not None
    wallets.deduct_credits(ORG, Deduction(OWNER, 20, "deduction"))

    newest, oldest = listed(wallets)

    assert (newest.entry.kind, newest.amount) == (EntryKind.DEDUCTION, -20)
    # What is set aside still belongs to the wallet.
    assert (newest.balance_before, newest.balance_after) == (100, 80)
    assert (oldest.entry.kind, oldest.amount, oldest.balance_before) == (EntryKind.GRANT, 100, 0)


def test_every_balance_continues_the_one_before_on_every_page(wallets: WalletOperations) -> None:
    wallet_id = grant(wallets, 50, "first")
    soft = WalletChange(wallet_id=wallet_id, mode=WalletMode.SOFT, credit_limit=1000)
    wallets.update_wallet(ORG, OWNER, change=soft)
    for number in range(6):
        wallets.settle_charges(ORG, [Charge("api", f"event-{number}", 20, wallet_id=wallet_id)])
    # Pays the overdraft back in rows that pass through clearing.
    grant(wallets, 200, "second")

    everything = listed(wallets)
    pages = [one for skip in range(0, 12, 2) for one in listed(wallets, size=2, skip=skip)]

    assert pages == list(everything)
    assert all(newer.balance_before == older.balance_after for newer, older in pairwise(everything))
    assert everything[0].balance_after == wallets.get_wallet(ORG).posted == 130
    assert everything[-1].balance_before == 0
    assert sum(one.amount for one in everything) == 130


def test_a_token_leads_to_the_next_page_and_belongs_to_its_list(wallets: WalletOperations) -> None:
    for number in range(3):
        grant(wallets, 10, f"grant-{number}")

    first = wallets.list_transactions(ORG, owner=OWNER, page=PageRequest(2))
    second = wallets.list_transactions(ORG, owner=OWNER, page=PageRequest(2, first.next_page_token))

    assert (first.total_size, second.total_size, second.next_page_token) == (3, 3, "")
    found = [one.entry.description for one in (*first.transactions, *second.transactions)]
    assert found == ["grant-2", "grant-1", "grant-0"]
    assert [one.balance_after for one in second.transactions] == [10]
    with pytest.raises(PageTokenInvalid):
        wallets.list_transactions(ORG, owner=ADA, page=PageRequest(2, first.next_page_token))


def test_large_amounts_are_summed_exactly(wallets: WalletOperations) -> None:
    largest = AMOUNT_MAX - 1
    for number in range(3):
        grant(wallets, largest, f"grant-{number}")
        wallets.deduct_credits(ORG, Deduction(OWNER, largest, f"deduction-{number}"))

    assert [one.balance_after for one in listed(wallets, size=1, skip=5)] == [largest]


def test_an_owner_without_a_wallet_has_no_transactions(wallets: WalletOperations) -> None:
    page = wallets.list_transactions(ORG, owner=ADA, page=PageRequest())

    assert (page.transactions, page.total_size, page.next_page_token) == ((), 0, "")


def test_another_organization_s_wallet_is_not_found(wallets: WalletOperations) -> None:
    wallet_id = grant(wallets, 10, "first")

    with pytest.raises(NotFound):
        wallets.list_transactions("org_2", owner=ADA, wallet_id=wallet_id, page=PageRequest())
    found = wallets.list_transactions(ORG, owner=ADA, wallet_id=wallet_id, page=PageRequest())
    assert found.total_size == 1


def test_wallets_are_listed_by_their_owners(wallets: WalletOperations) -> None:
    for name in ("ada", "bob", "eve"):
        grant(wallets, 10, name, owner=Owner(OwnerKind.USER, name))

    page = wallets.list_wallets(
        ORG, kind=OwnerKind.USER, owner_ids=["eve", "ada", "nobody"], page=PageRequest()
    )

    assert {wallet.owner.owner_id for wallet in page.wallets} == {"ada", "eve"}
