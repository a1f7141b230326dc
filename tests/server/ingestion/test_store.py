"""Identities and keys: the one place that decides what is new, also for many at once."""

import pytest

from om_server.core.event import Event
from om_server.ingestion.store import IngestionStore
from om_server.storage.database import Database
from tests.server.ingestion.harness import ORGANIZATION, event

#: More than one statement takes.
MANY = 2_001


@pytest.fixture(name="store")
def make_store(database: Database) -> IngestionStore:
    return IngestionStore(database)


def many(count: int = MANY) -> list[Event]:
    return [
        event(f"e{number}", idempotency_key=f"k{number}", payload_hash=str(number)) for number in range(count)
    ]


def test_only_new_identities_are_claimed(database: Database, store: IngestionStore) -> None:
    events = many()
    database.write(lambda: store.claim_identities(events[:1_500]))

    new = database.write(lambda: store.claim_identities(events))

    assert new == {one.identity for one in events[1_500:]}


def test_hashes_are_found_by_source_and_id(database: Database, store: IngestionStore) -> None:
    events = [*many(), event("e1", source="batch", payload_hash="batched")]
    database.write(lambda: store.claim_identities(events))
    identities = [(one.source, one.event_id) for one in events]

    found = database.read(lambda: store.payload_hashes(ORGANIZATION, [*identities, ("api", "nobody")]))

    assert found == {(one.source, one.event_id): one.payload_hash for one in events}
    assert database.read(lambda: store.payload_hashes("org_2", identities)) == {}


def test_an_identity_that_was_taken_back_is_new_again(database: Database, store: IngestionStore) -> None:
    first, second = event("e1"), event("e2")

    def run() -> set[tuple[str, str, str]]:
        store.claim_identities([first, second])
        store.release_identities([first])
        return store.claim_identities([first, second])

    assert database.write(run) == {first.identity}


def test_a_key_belongs_to_who_claimed_it_first(database: Database, store: IngestionStore) -> None:
    events = many()
    database.write(lambda: store.claim_keys(events))
    later = [event(f"later{number}", idempotency_key=f"k{number}") for number in range(MANY + 1)]

    owners = database.write(lambda: store.claim_keys(later))

    assert len(owners) == MANY + 1
    assert all(owners[ORGANIZATION, f"k{number}"] == ("api", f"e{number}") for number in range(MANY))
    assert owners[ORGANIZATION, f"k{MANY}"] == ("api", f"later{MANY}")


def test_the_first_of_two_with_one_key_in_one_statement_has_it(
    database: Database, store: IngestionStore
) -> None:
    twins = [event("e1", idempotency_key="k"), event("e2", idempotency_key="k")]

    owners = database.write(lambda: store.claim_keys(twins))

    assert owners == {(ORGANIZATION, "k"): ("api", "e1")}


def test_hashes_are_found_by_key(database: Database, store: IngestionStore) -> None:
    events = many()
    database.write(lambda: store.claim_keys(events))
    keys = [one.idempotency_key for one in events]

    found = database.read(lambda: store.key_hashes(ORGANIZATION, [*keys, "nobodys"]))

    assert found == {one.idempotency_key: one.payload_hash for one in events}
    assert database.read(lambda: store.key_hashes("org_2", keys)) == {}
