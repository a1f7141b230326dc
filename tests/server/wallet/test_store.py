import pytest

from om_server.core.ids import IdSource
from om_server.storage.batch import RowsContended
from om_server.storage.database import Database
from om_server.wallet.entry import GRANT
from om_server.wallet.grant import Grant
from om_server.wallet.ledger import WalletBook
from om_server.wallet.store import WalletStore
from om_server.wallet.wallet import Owner, OwnerKind, Wallet
from tests.server.wallet.scene import NONE

ORG = "org_1"
ADA = Owner(OwnerKind.USER, "ada")


@pytest.fixture
def wallet(database: Database, store: WalletStore, ids: IdSource) -> Wallet:
    return database.write(lambda: store.ensure(ORG, ADA, now=1, new_id=ids.new)).opened


def look(database: Database, store: WalletStore, wallet: Wallet, ids: IdSource) -> WalletBook:
    book = database.read(lambda: store.look(ORG, [wallet.wallet_id], now=1, new_id=ids.new))[wallet.wallet_id]
    assert book is not None
    return book


def test_of_two_books_of_one_wallet_only_the_first_is_saved(
    database: Database, store: WalletStore, ids: IdSource, wallet: Wallet
) -> None:
    """The guard of last resort, if somebody ever saves a book that was not locked."""
    books = [look(database, store, wallet, ids) for _ in range(2)]
    for number, book in enumerate(books):
        book.fund(Grant(f"grt_{number}", wallet.wallet_id, 5, 1), GRANT, cause=NONE)
    database.write(lambda: store.save(ORG, [books[0]]))
    with pytest.raises(RowsContended):
        database.write(lambda: store.save(ORG, [books[1]]))
    after = look(database, store, wallet, ids)
    assert (after.wallet.available, after.wallet.entry_sequence) == (5, 1)
    assert [one.grant_id for one in after.grants[:-1]] == ["grt_0"]


def test_an_owner_has_one_wallet_however_often_it_is_made_sure_of(
    database: Database, store: WalletStore, ids: IdSource, wallet: Wallet
) -> None:
    again = database.write(lambda: store.ensure(ORG, ADA, now=2, new_id=ids.new)).opened
    assert again == wallet
    twin = Wallet("wal_twin", ADA, create_time=3)
    assert not database.write(lambda: store.create(ORG, twin, credit_line_id="grt_twin"))
    assert database.write(lambda: store.create("org_2", twin, credit_line_id="grt_twin"))


def test_a_locked_wallet_that_does_not_exist_has_no_book(
    database: Database, store: WalletStore, ids: IdSource, wallet: Wallet
) -> None:
    ids_asked = ["wal_none", wallet.wallet_id, wallet.wallet_id]
    books = database.write(lambda: store.lock(ORG, ids_asked, now=1, new_id=ids.new))
    assert list(books) == [wallet.wallet_id]
    assert database.write(lambda: store.lock("org_2", ids_asked, now=1, new_id=ids.new)) == {}
