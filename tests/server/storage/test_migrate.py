"""Migrations on both databases, and that the models are what the migrations made."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import pytest

from om_server.schema import MODELS
from om_server.storage.migrate import (
    migrate,
    migrations,
    pending,
    read_incarnation,
    renew_incarnation,
)
from om_server.storage.sqlite import SqliteStore

if TYPE_CHECKING:
    from pathlib import Path

    from om_server.storage.database import Database


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
