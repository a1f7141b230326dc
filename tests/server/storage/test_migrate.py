"""Migrations on both databases, and that the models are what the migrations made."""

from __future__ import annotations

import contextlib
import functools
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import psycopg
import pytest

from om_server.schema import MODELS
from om_server.storage.migrate import (
    _ADVISORY_LOCK,
    migrate,
    migrations,
    pending,
    read_incarnation,
    renew_incarnation,
)
from om_server.storage.postgresql import PostgresStore
from om_server.storage.sqlite import SqliteStore

if TYPE_CHECKING:
    from pathlib import Path

    from om_server.storage.database import Database
    from tests.databases import PostgresTemplate


def test_migrating_again_does_nothing(database: Database) -> None:
    assert migrate(database, incarnation="inc_other", now_us=1) == []
    assert pending(database) == []
    rows = database.read(
        lambda: database.engine.execute_sql("SELECT incarnation FROM incarnations").fetchall()
    )
    assert [tuple(row) for row in rows] == [("inc_test",)]


def test_a_restored_store_begins_another_life_and_keeps_one_name(database: Database) -> None:
    renew_incarnation(database, incarnation="inc_next", now_us=1)

    rows = database.read(lambda: database.engine.execute_sql("SELECT * FROM incarnations").fetchall())
    assert [tuple(row) for row in rows] == [("inc_next", 1)]
    assert read_incarnation(database) == "inc_next"


def test_a_new_database_lacks_every_migration(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "om.db", MODELS)
    try:
        names = [name for name, _ in migrations()]
        assert pending(store) == names
        assert migrate(store, incarnation="inc_test", now_us=0) == names
        assert pending(store) == []
    finally:
        store.close()


def test_every_table_has_a_model_with_its_columns(database: Database) -> None:
    by_table = {model._meta.table_name: model for model in MODELS}
    tables = set(database.read(database.engine.get_tables)) - {"migrations", "incarnations"}

    assert set(by_table) == tables
    for table, model in by_table.items():
        found = database.read(functools.partial(database.engine.get_columns, table))
        columns = {column.name: column for column in found}
        fields = {field.column_name: field for field in model._meta.sorted_fields}
        assert set(fields) == set(columns), table
        for name, column in columns.items():
            if not column.primary_key:
                assert fields[name].null == column.null, f"{table}.{name}"


@pytest.mark.parametrize("name", [name for name, _ in migrations()])
def test_migrations_are_numbered(name: str) -> None:
    number, _, rest = name.partition("_")
    assert number.isdigit()
    assert rest


def test_a_marked_statement_is_for_one_database(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    sql = (
        "CREATE TABLE everywhere (n BIGINT);\n\n-- only sqlite\nCREATE TABLE lite (n BIGINT);\n\n"
        "-- Why.\n-- only postgresql\nCREATE TABLE elephant (n BIGINT);\n"
    )
    monkeypatch.setattr("om_server.storage.migrate.migrations", lambda: [("9999_marked", sql)])
    assert migrate(database, incarnation="inc_test", now_us=0) == ["9999_marked"]
    tables = {"everywhere", "lite", "elephant"} & set(database.read(database.engine.get_tables))
    assert tables == {"everywhere", "elephant" if database.supports_row_locks else "lite"}


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_statement_of_a_migration_takes_as_long_as_its_rows_need(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index over a year of events takes minutes; whom it waits for is still not waited for long."""
    sql = "CREATE TABLE patience AS SELECT name, setting FROM pg_settings WHERE name LIKE '%%_timeout';\n"
    monkeypatch.setattr("om_server.storage.migrate.migrations", lambda: [("9999_patience", sql)])
    migrate(database, incarnation="inc_test", now_us=0)

    found = dict(database.read(lambda: database.engine.execute_sql("SELECT * FROM patience").fetchall()))
    assert (found["statement_timeout"], found["lock_timeout"]) == ("0", "2000")
    show = "SELECT current_setting('statement_timeout')"
    assert database.read(lambda: database.engine.execute_sql(show).fetchone()) == ("30s",)


def test_who_migrates_second_waits_for_the_first(
    postgres_template: PostgresTemplate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("om_server.storage.postgresql._LOCK_TIMEOUT_MS", 1)
    waits = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    with (
        postgres_template.clone() as url,
        contextlib.closing(PostgresStore(url, MODELS, pool_size=1)) as store,
        ThreadPoolExecutor(1) as pool,
        psycopg.connect(url) as first,
    ):
        first.execute(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})")
        second = pool.submit(migrate, store, incarnation="inc_test", now_us=0)
        while not second.done() and first.execute(waits).fetchone() is None:
            pass
        with contextlib.suppress(TimeoutError):
            # As long as it is refused after, where it is refused at all.
            second.result(0.1)
        first.commit()

        assert second.result(30) == []


def test_entries_that_are_older_than_the_hash_chain_are_left_out_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SqliteStore(tmp_path / "om.db", MODELS)
    try:
        every = migrations()
        monkeypatch.setattr("om_server.storage.migrate.migrations", lambda: every[:1])
        migrate(store, incarnation="inc_test", now_us=0)
        insert = "INSERT INTO wallets VALUES ('o', 'w', 'user', 'u', 'strict', 0, 5, 0, 0, 0, NULL, 3, 0)"
        store.write(lambda: store.engine.execute_sql(insert))
        monkeypatch.undo()
        assert migrate(store, incarnation="inc_test", now_us=0) == [name for name, _ in every[1:]]
        select = "SELECT chain_start, chain_hash FROM wallets"
        assert store.read(lambda: store.engine.execute_sql(select).fetchall()) == [(3, "")]
    finally:
        store.close()
