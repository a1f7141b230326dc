import threading
from concurrent.futures import ThreadPoolExecutor

import peewee
import pytest

from om_server.core.errors import DependencyUnavailable
from om_server.storage.batch import BatchWriter, Row, RowsContended
from om_server.storage.database import Database
from om_server.wallet.record import GrantRow, SliceRow, WalletRow

BIG = 2**62


def wallet(wallet_id: str, *, available: int = 0, blocked: bool = False, overflow: str | None = None) -> Row:
    fixed: Row = ("org", wallet_id, "user", wallet_id, "strict", blocked)
    return (*fixed, available, 0, 0, 0, overflow, 4, 1, "", 0)


def stored(database: Database) -> list[tuple[object, ...]]:
    return database.read(
        lambda: [
            (row.wallet_id, row.available, row.blocked, row.overflow_wallet_id, row.entry_sequence)
            for row in WalletRow.select().order_by(WalletRow.wallet_id)
        ]
    )


def test_rows_of_every_type_are_inserted_exactly(database: Database) -> None:
    rows = [
        wallet('w"\\\u00e9', available=BIG),
        wallet("x", available=-BIG + BIG, blocked=True, overflow="w"),
    ]
    database.write(lambda: BatchWriter(database).insert(WalletRow, rows))
    assert stored(database) == [('w"\\\u00e9', BIG, False, None, 4), ("x", 0, True, "w", 4)]


def test_rows_are_updated_by_their_keys_and_no_others(database: Database) -> None:
    batch = BatchWriter(database)
    database.write(lambda: batch.insert(WalletRow, [wallet("a"), wallet("b"), wallet("c")]))
    rows: list[Row] = [(7, True, "org", "a"), (9, False, "org", "b")]
    database.write(lambda: batch.update(WalletRow, ("available", "blocked"), rows=rows))
    assert [row[:3] for row in stored(database)] == [("a", 7, True), ("b", 9, False), ("c", 0, False)]


def test_a_key_may_have_three_parts(database: Database) -> None:
    batch = BatchWriter(database)
    rows: list[Row] = [("org", "lse", position, "wal", "grt", 5, 5) for position in range(3)]
    database.write(lambda: batch.insert(SliceRow, rows))
    database.write(lambda: batch.update(SliceRow, ("held",), rows=[(2, "org", "lse", 1)]))
    held = database.read(lambda: [row.held for row in SliceRow.select().order_by(SliceRow.position)])
    assert held == [5, 2, 5]


def test_a_guard_lets_only_what_was_read_be_changed(database: Database) -> None:
    batch = BatchWriter(database)
    database.write(lambda: batch.insert(WalletRow, [wallet("a"), wallet("b")]))
    columns = ("available", "entry_sequence")
    database.write(
        lambda: batch.update(WalletRow, columns, rows=[(7, 5, "org", "a", 4)], guard="entry_sequence")
    )
    stale: list[Row] = [(8, 5, "org", "b", 4), (9, 6, "org", "a", 4)]
    with pytest.raises(RowsContended):
        database.write(lambda: batch.update(WalletRow, columns, rows=stale, guard="entry_sequence"))
    assert [(row[0], row[1], row[4]) for row in stored(database)] == [("a", 7, 5), ("b", 0, 4)]


def test_a_row_that_is_not_there_is_an_error(database: Database) -> None:
    with pytest.raises(RowsContended):
        database.write(
            lambda: BatchWriter(database).update(GrantRow, ("available",), rows=[(1, "org", "none")])
        )


def test_no_rows_are_no_statement(database: Database) -> None:
    database.write(lambda: BatchWriter(database).insert(WalletRow, []))
    database.write(lambda: BatchWriter(database).update(WalletRow, ("available",), rows=[]))
    assert stored(database) == []


def test_a_conflict_does_what_the_statement_ends_in(database: Database) -> None:
    batch = BatchWriter(database)
    database.write(lambda: batch.insert(WalletRow, [wallet("a", available=1), wallet("b", available=2)]))
    again = [wallet("b", available=5), wallet("c", available=7)]

    database.write(lambda: batch.insert(WalletRow, again, on_conflict="ON CONFLICT DO NOTHING"))
    key = "(organization_id, wallet_id)"
    adding = f"ON CONFLICT {key} DO UPDATE SET available = wallets.available + excluded.available"
    database.write(lambda: batch.insert(WalletRow, again, on_conflict=adding))

    assert [row[:2] for row in stored(database)] == [("a", 1), ("b", 7), ("c", 14)]


def test_a_row_that_exists_is_an_integrity_error_of_peewee(database: Database) -> None:
    """The driver's own error would pass by whoever handles peewee's."""
    with pytest.raises(peewee.IntegrityError):
        database.write(lambda: BatchWriter(database).insert(WalletRow, [wallet("a"), wallet("a")]))


def test_a_lock_that_is_not_given_says_try_again(database: Database) -> None:
    """An error of the driver's own would make the worker set events aside that it should settle later."""

    def insert() -> None:
        BatchWriter(database).insert(WalletRow, [wallet("a")], on_conflict="ON CONFLICT DO NOTHING")

    if not database.supports_row_locks:
        # SQLite's one writer never waits for a row; its readers may not write.
        with pytest.raises(DependencyUnavailable):
            database.read(insert)
        return

    def insert_impatiently() -> None:
        database.engine.execute_sql("SET LOCAL lock_timeout = '20ms'")
        insert()

    inserted, tried = threading.Event(), threading.Event()

    def insert_and_hold() -> None:
        insert()
        inserted.set()
        tried.wait(10)

    with ThreadPoolExecutor(1) as pool:
        holding = pool.submit(database.write, insert_and_hold)
        inserted.wait(10)
        try:
            with pytest.raises(DependencyUnavailable):
                database.write(insert_impatiently)
        finally:
            tried.set()
        holding.result()


def test_of_many_rows_only_those_with_a_free_key_are_inserted_and_told(database: Database) -> None:
    batch = BatchWriter(database)
    database.write(lambda: batch.insert(WalletRow, [wallet("a", available=1)]))
    rows = [wallet("a", available=9), wallet("b", blocked=True, overflow="x"), wallet("c", available=BIG)]

    new = database.write(lambda: batch.insert_new(WalletRow, rows, returning=("wallet_id", "available")))

    assert sorted(tuple(row) for row in new) == [("b", 0), ("c", BIG)]
    assert stored(database) == [("a", 1, False, None, 4), ("b", 0, True, "x", 4), ("c", BIG, False, None, 4)]
    assert database.write(lambda: batch.insert_new(WalletRow, [], returning=("wallet_id",))) == []
