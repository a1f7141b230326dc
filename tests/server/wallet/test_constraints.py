"""The last line of defence: amounts that the ledger's rules never write are refused by the database."""

import peewee
import pytest

from om_server.core.ids import IdSource
from om_server.storage.database import Database
from om_server.wallet.funding import Deposit
from om_server.wallet.operations import WalletOperations
from om_server.wallet.record import EntryRow, GrantRow, LeaseRow, SliceRow, WalletRow
from om_server.wallet.wallet import Wallet
from tests.server.wallet.leases.lease_scene import ORG, OWNER, funded, take

_ENTRY = {
    "organization_id": ORG,
    "sequence": 99,
    "entry_id": "ent_99",
    "kind": "grant",
    "debit_account": "funding",
    "credit_account": "available",
    "amount": 1,
    "grant_id": "",
    "hold_id": "",
    "event_source": "",
    "event_id": "",
    "group_id": "",
    "description": "",
    "available_after": 1,
    "create_time": 1,
    "entry_hash": "",
}


class Undone(Exception):
    """Ends a transaction that would break the ledger."""


def refused(database: Database, query: peewee.Query) -> None:
    with pytest.raises(peewee.IntegrityError):
        database.write(query.execute)


@pytest.fixture(name="wallet")
def make_wallet(wallets: WalletOperations) -> Wallet:
    return funded(wallets)


@pytest.mark.parametrize("wrong", [{"amount": 0}, {"amount": -1}, {"credit_account": "funding"}], ids=str)
def test_an_entry_moves_something_from_one_account_to_another(
    database: Database, wallet: Wallet, wrong: dict[str, object]
) -> None:
    entry = _ENTRY | {"wallet_id": wallet.wallet_id}

    refused(database, EntryRow.insert(entry | wrong))

    def sound() -> None:
        EntryRow.insert(entry).execute()
        raise Undone

    with pytest.raises(Undone):
        database.write(sound)


@pytest.mark.parametrize(
    "wrong",
    [{"available": -1}, {"held": -1}, {"receivable": -1}, {"credit_limit": -1}],
    ids=str,
)
def test_a_wallet_never_goes_below_its_credit_nor_holds_or_owes_less_than_nothing(
    database: Database, wallet: Wallet, wrong: dict[str, object]
) -> None:
    refused(database, WalletRow.update(wrong).where(WalletRow.wallet_id == wallet.wallet_id))


@pytest.mark.parametrize("wrong", [{"available": -1}, {"held": -1}, {"amount": -1}], ids=str)
def test_only_the_credit_line_has_less_than_nothing(
    database: Database, wallet: Wallet, wrong: dict[str, object]
) -> None:
    of_wallet = (GrantRow.wallet_id == wallet.wallet_id) & ~GrantRow.credit_line
    refused(database, GrantRow.update(wrong).where(of_wallet))


def test_a_lease_and_its_parts_never_have_more_than_they_were_given(
    database: Database, wallets: WalletOperations, wallet: Wallet
) -> None:
    lease = take(wallets, wallet, 40)

    for wrong in (lease.amount + 1, -1):
        refused(database, LeaseRow.update(remaining=wrong).where(LeaseRow.lease_id == lease.lease_id))
        refused(database, SliceRow.update(held=wrong).where(SliceRow.lease_id == lease.lease_id))


def test_an_owner_has_one_wallet(database: Database, wallets: WalletOperations, ids: IdSource) -> None:
    wallets.grant_credits(ORG, Deposit(OWNER, 1, "grant"))
    row = database.read(WalletRow.select().first)
    assert row is not None

    refused(database, WalletRow.insert(dict(row.__data__, wallet_id=ids.new("wal"))))
