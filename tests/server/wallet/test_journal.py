import peewee
import pytest

from om_server.storage.database import Database
from om_server.wallet.chain import chained
from om_server.wallet.entry import Cause, Entry
from om_server.wallet.journal import JournalStore
from tests.server.wallet.scene import NONE, book_with, empty_book, grant


def entries() -> list[Entry]:
    book = book_with(grant("a", 10), credit_limit=3)
    slices = book.reserve(4, cause=NONE)
    book.charge(11, cause=NONE)
    book.capture(slices, 4, cause=NONE)
    return list(book.entries)


def test_entries_are_read_back_as_they_were(database: Database) -> None:
    journal, written = JournalStore(database), entries()
    database.write(lambda: journal.append(chained("org", written, previous="")))
    assert database.read(lambda: list(journal.all("org", "wal"))) == written
    newest = database.read(lambda: journal.before("org", "wal", sequence=4, limit=2))
    assert newest == [written[2], written[1]]
    assert database.read(lambda: list(journal.all("org_2", "wal"))) == []


def test_a_position_is_taken_once(database: Database) -> None:
    journal, written = JournalStore(database), entries()
    rows = chained("org", written, previous="")
    database.write(lambda: journal.append(rows[:2]))
    with pytest.raises(peewee.IntegrityError):
        database.write(lambda: journal.append(rows[1:]))
    assert database.read(lambda: list(journal.all("org", "wal"))) == written[:2]


@pytest.mark.parametrize(
    "statement",
    ["UPDATE entries SET amount = 1 WHERE sequence = 2", "DELETE FROM entries WHERE sequence = 3"],
)
def test_the_database_refuses_to_change_an_entry(database: Database, statement: str) -> None:
    journal, written = JournalStore(database), entries()
    database.write(lambda: journal.append(chained("org", written, previous="")))
    with pytest.raises((peewee.IntegrityError, peewee.InternalError), match="append-only"):
        database.write(lambda: database.engine.execute_sql(statement))
    assert database.read(lambda: list(journal.all("org", "wal"))) == written


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_postgresql_refuses_to_empty_the_journal(database: Database) -> None:
    """SQLite has no TRUNCATE."""
    with pytest.raises((peewee.IntegrityError, peewee.InternalError), match="append-only"):
        database.write(lambda: database.engine.execute_sql("TRUNCATE entries"))


def test_what_an_event_moved_is_found_in_every_wallet_and_no_other_organization(database: Database) -> None:
    journal = JournalStore(database)
    for wallet_id in ("wal_a", "wal_b"):
        book = empty_book(wallet_id=wallet_id)
        book.charge(3, cause=Cause(event_source="api", event_id="evt"))
        book.charge(4, cause=Cause(event_source="proxy", event_id="evt"))
        book.charge(5, cause=Cause(event_source="api", event_id="other"))
        rows = chained("org", book.entries, previous="")
        database.write(lambda rows=rows: journal.append(rows))  # type: ignore[misc]
    found = database.read(lambda: journal.of_event("org", source="api", event_id="evt"))
    assert sorted((entry.wallet_id, entry.amount) for entry in found) == [("wal_a", 3), ("wal_b", 3)]
    assert database.read(lambda: journal.of_event("org_2", source="api", event_id="evt")) == []
