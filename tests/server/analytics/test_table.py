import threading
from concurrent.futures import ThreadPoolExecutor

import peewee
import pytest

from om_server.analytics.table import SeriesRow, insert_rows
from om_server.core.errors import DependencyUnavailable
from om_server.storage.database import Database
from tests.server.analytics.examples import ORG

ROW = (ORG, "series", "team", "", "", "", "", "", None, "API_CALL", "", "", False)


def test_rows_come_back_as_they_were_written(database: Database) -> None:
    database.write(lambda: insert_rows(SeriesRow, [ROW, (ORG, "other", *ROW[2:])]))

    stored = database.read(lambda: list(SeriesRow.select().order_by(SeriesRow.series_id).tuples()))

    assert stored == [(ORG, "other", *ROW[2:]), ROW]


def test_a_row_that_exists_is_an_integrity_error_of_peewee(database: Database) -> None:
    """The driver's own error would pass by whoever handles peewee's."""
    with pytest.raises(peewee.IntegrityError):
        database.write(lambda: insert_rows(SeriesRow, [ROW, ROW]))


def test_a_lock_that_is_not_given_says_try_again(database: Database) -> None:
    """An error of the driver's own would make the worker set events aside that it should settle later."""

    def insert() -> None:
        insert_rows(SeriesRow, [ROW], on_conflict="ON CONFLICT DO NOTHING")

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


def test_no_rows_are_no_statement(database: Database) -> None:
    insert_rows(SeriesRow, [])
