import dataclasses

import pytest

from om_server.account import development
from om_server.account.keys.key import KeyLife
from om_server.account.store import AccountStore
from om_server.core.ids import hash_key
from om_server.storage.database import Database

SECRET = "om_dev_test_key"
KEY = development.key(SECRET, now=1)


@pytest.fixture(name="store")
def make_store(database: Database) -> AccountStore:
    store = AccountStore(database)

    def write() -> None:
        store.add_organization(development.organization(1))
        assert store.add_team(development.team(1))
        store.add_key(KEY, key_hash=hash_key(SECRET))

    database.write(write)
    return store


def test_a_key_comes_back_as_it_went(store: AccountStore, database: Database) -> None:
    ending = dataclasses.replace(
        KEY, key_id="key_2", life=KeyLife(5, 6), scopes=frozenset(), test_mode=True, description="a'b"
    )
    database.write(lambda: store.add_key(ending, key_hash="h"))

    assert database.read(lambda: store.find_key(KEY.organization_id, key_id="key_2")) == ending
    assert database.read(lambda: store.find_key_by_hash("h")) == ending


def test_adding_again_changes_nothing(store: AccountStore, database: Database) -> None:
    def add_changed() -> bool:
        store.add_organization(dataclasses.replace(development.organization(9), display_name="Changed"))
        store.add_key(dataclasses.replace(KEY, description="Changed"), key_hash=hash_key(SECRET))
        return store.add_team(dataclasses.replace(development.team(9), display_name="Changed"))

    assert database.write(add_changed) is False
    assert database.read(store.oldest_organization) == development.organization(1)
    assert database.read(lambda: store.find_key_by_hash(hash_key(SECRET))) == KEY


def test_a_key_is_found_by_its_hash_alone(store: AccountStore, database: Database) -> None:
    assert database.read(lambda: store.find_key_by_hash(hash_key(SECRET))) == KEY
    assert database.read(lambda: store.find_key_by_hash(SECRET)) is None


def test_a_key_that_changed_meanwhile_is_not_changed_again(store: AccountStore, database: Database) -> None:
    assert database.write(lambda: store.replace_life(KEY, life=KeyLife(expire_time=50)))
    assert not database.write(lambda: store.replace_life(KEY, life=KeyLife(expire_time=99)))

    found = database.read(lambda: store.find_key(KEY.organization_id, key_id=KEY.key_id))
    assert found is not None
    assert found.life == KeyLife(expire_time=50)


def test_a_revoked_key_keeps_its_first_time(store: AccountStore, database: Database) -> None:
    for now in (5, 9):
        database.write(lambda: store.revoke_key(KEY.organization_id, key_id=KEY.key_id, now=now))  # noqa: B023 - runs at once

    found = database.read(lambda: store.find_key(KEY.organization_id, key_id=KEY.key_id))
    assert found is not None
    assert found.life == KeyLife(revoke_time=5)


def test_more_than_a_thousand_keys_are_asked_for_at_once(store: AccountStore, database: Database) -> None:
    """As many as the largest batch can name."""
    names = [f"key_{number}" for number in range(1000)]

    assert len(database.read(lambda: store.key_owners([KEY.key_id, *names]))) == 1
