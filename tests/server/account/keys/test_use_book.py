"""When a key was last used: within a minute of the truth, without a write for each call."""

import pytest

from om_server.account.keys.key import KeyUse
from om_server.account.keys.use_book import UseBook
from om_server.account.operations import AccountOperations
from om_server.account.organization import Team
from om_server.account.store import AccountStore
from om_server.core.errors import DependencyUnavailable
from om_server.core.page import PageRequest
from om_server.storage.database import Database
from tests.server.account.harness import SECOND, START, SetClock, create

ORGANIZATION = "org_1"
ALL = PageRequest.of(200)


class CountedStore(AccountStore):
    """Counts writes of uses; the first `failing` of them find no database."""

    writes = 0
    failing = 0

    def note_uses(self, organization_id: str, uses: object) -> None:
        self.writes += 1
        if self.writes <= self.failing:
            raise DependencyUnavailable
        super().note_uses(organization_id, uses)  # type: ignore[arg-type] # As it came.


@pytest.fixture(name="store")
def make_store(database: Database) -> CountedStore:
    return CountedStore(database)


@pytest.fixture(name="book")
def make_book(database: Database, store: CountedStore) -> UseBook:
    return UseBook(database, store)


def last(database: Database, store: AccountStore, key_id: str = "key_1") -> int | None:
    return database.read(lambda: store.last_uses(ORGANIZATION, [key_id])).get(key_id)


def test_many_calls_are_one_write_a_minute(database: Database, store: CountedStore, book: UseBook) -> None:
    for second in range(120):
        book.note_call(ORGANIZATION, KeyUse("key_1", START + second * SECOND))
        known = last(database, store) if second % 30 == 29 else START + second * SECOND
        assert known is not None
        assert START + second * SECOND - known < 60 * SECOND

    assert store.writes == 2


def test_a_call_goes_on_where_the_use_cannot_be_written(
    database: Database, store: CountedStore, book: UseBook
) -> None:
    store.failing = 1

    book.note_call(ORGANIZATION, KeyUse("key_1", START))
    assert last(database, store) is None
    book.note_call(ORGANIZATION, KeyUse("key_1", START + 1))

    assert last(database, store) == START + 1


def test_events_tell_the_newest_use_and_never_an_older_one(
    database: Database, store: CountedStore, book: UseBook
) -> None:
    book.note_events(
        ORGANIZATION, [KeyUse("key_1", 7), KeyUse("", 9), KeyUse("key_2", 3), KeyUse("key_1", 5)]
    )
    book.note_events(ORGANIZATION, [KeyUse("key_1", 6), KeyUse("key_2", 8)])

    assert last(database, store) == 7
    assert last(database, store, "key_2") == 8


def test_what_is_not_settled_is_no_use(database: Database, store: CountedStore, book: UseBook) -> None:
    def settle_and_fail() -> None:
        book.note_events(ORGANIZATION, [KeyUse("key_1", 7)])
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        database.write(settle_and_fail)
    book.note_events(ORGANIZATION, [KeyUse("key_1", 5)])

    assert last(database, store) == 5


@pytest.mark.acceptance("B-218")
def test_a_listed_key_shows_its_last_use(accounts: AccountOperations, team: Team, clock: SetClock) -> None:
    used, unused = create(accounts, team), create(accounts, team)
    clock.advance(5)
    accounts.authenticate_key(used.secret)
    accounts.note_key_uses(team.organization_id, [KeyUse(used.key.key_id, clock.now + SECOND)])

    listed = {key.key_id: key.last_use_time for key in accounts.list_keys(team.organization_id, ALL).items}

    assert listed == {used.key.key_id: clock.now + SECOND, unused.key.key_id: None}
    revoked = accounts.revoke_key(team.organization_id, used.key.key_id)
    assert revoked.last_use_time == clock.now + SECOND
