import peewee
import pytest

from om_server.storage.database import Database
from om_server.wallet.entry import Entry
from om_server.wallet.journal import JournalStore
from tests.server.wallet.scene import NONE, book_with, grant


def entries() -> list[Entry]:
    book = book_with(grant("a", 10), credit_limit=3)
    slices = book.reserve(4, cause=NONE)
    book.charge(11, cause=NONE)
    book.capture(slices, 4, cause=NONE)
    return list(book.entries)


def test_entries_are_read_back_as_they_were(database: Database) -> None:
    journal, written = JournalStore(database), entries()
    database.write(lambda: journal.append("org", written))
    assert database.read(lambda: list(journal.all("org", "wal"))) == written
    newest = database.read(lambda: journal.before("org", "wal", sequence=4, limit=2))
    assert newest == [written[2], written[1]]
    assert database.read(lambda: list(journal.all("org_2", "wal"))) == []


def test_a_position_is_taken_once(database: Database) -> None:
    journal, written = JournalStore(database), entries()
    database.write(lambda: journal.append("org", written[:2]))
    with pytest.raises(peewee.IntegrityError):
        database.write(lambda: journal.append("org", written[1:]))
    assert database.read(lambda: list(journal.all("org", "wal"))) == written[:2]
