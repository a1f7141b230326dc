import pytest

from om_server.account.clientele.store import ClienteleStore
from om_server.account.organization import Customer, User
from om_server.storage.database import Database

ORGANIZATION = "org_1"


@pytest.fixture(name="store")
def make_store(database: Database) -> ClienteleStore:
    return ClienteleStore(database)


def test_more_than_a_thousand_are_seen_at_once(store: ClienteleStore, database: Database) -> None:
    """As many as the largest batch can name."""
    names = [f"c{number}" for number in range(1000)]

    def write() -> None:
        store.add_customers(ORGANIZATION, [Customer(name, "", 1) for name in names])
        store.add_users(ORGANIZATION, [User(name, "", "{}", 1, 1) for name in names])

    database.write(write)

    assert database.read(lambda: store.count_customers(ORGANIZATION)) == 1000
    assert database.read(lambda: store.count_users(ORGANIZATION, "")) == 1000


def test_what_was_seen_is_kept_when_it_is_seen_again(store: ClienteleStore, database: Database) -> None:
    registered = Customer("acme", "Acme", 1, registered=True)
    database.write(lambda: store.add_customers(ORGANIZATION, [registered]))

    database.write(lambda: store.add_customers(ORGANIZATION, [Customer("acme", "", 9)]))

    assert database.read(lambda: store.lock_customer(ORGANIZATION, customer_id="acme")) == registered
    assert database.read(lambda: store.lock_customer("org_2", customer_id="acme")) is None
