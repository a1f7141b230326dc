"""Reads and writes on both databases: transactions join, roll back, and never leak an SQL text."""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING

import peewee
import pytest

from om_server.core.errors import DependencyUnavailable
from om_server.schema import MODELS
from om_server.storage.database import Database
from om_server.storage.inbox import Inbox
from om_server.storage.sqlite import DatabaseOwned, SqliteStore

if TYPE_CHECKING:
    from pathlib import Path


def _insert(batch_id: str) -> None:
    Inbox.insert(
        organization_id="org",
        batch_id=batch_id,
        envelope="{}",
        event_count=1,
        attempt_count=0,
        retry_time=0,
        create_time=0,
    ).execute()


def _count(database: Database) -> int:
    return database.read(lambda: Inbox.select().count())


def test_what_is_to_be_done_once_committed_sees_the_commit(database: Database) -> None:
    seen: list[int] = []

    def insert() -> None:
        database.once_committed(lambda: seen.append(_count(database)))
        _insert("a")
        database.write(lambda: _insert("b"))
        assert seen == []

    database.write(insert)

    assert seen == [2]


def test_what_is_to_be_done_once_committed_is_forgotten_with_a_rollback(database: Database) -> None:
    done: list[str] = []

    def fail() -> None:
        database.once_committed(lambda: done.append("never"))
        raise LookupError

    with pytest.raises(LookupError):
        database.write(fail)
    database.write(lambda: _insert("a"))

    assert done == []


def test_what_raises_leaves_nothing_behind(database: Database) -> None:
    def insert_and_fail() -> None:
        _insert("a")
        raise LookupError

    with pytest.raises(LookupError):
        database.write(insert_and_fail)

    assert _count(database) == 0


def test_a_write_joins_the_transaction_that_is_open(database: Database) -> None:
    def outer() -> None:
        database.write(lambda: _insert("a"))
        assert database.read(lambda: Inbox.select().count()) == 1
        raise LookupError

    with pytest.raises(LookupError):
        database.write(outer)

    assert _count(database) == 0


def test_another_thread_sees_a_write_only_when_it_is_committed(database: Database) -> None:
    seen: list[int] = []

    def write() -> None:
        _insert("a")
        reader = threading.Thread(target=lambda: seen.append(_count(database)))
        reader.start()
        reader.join()

    database.write(write)

    assert seen == [0]
    assert _count(database) == 1


def test_concurrent_writers_all_commit(database: Database) -> None:
    def write_ten(name: str) -> None:
        for number in range(10):
            database.write(functools.partial(_insert, f"{name}-{number}"))

    threads = [threading.Thread(target=write_ten, args=(str(index),)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert _count(database) == 80


def test_a_broken_rule_of_the_schema_is_not_called_unavailable(database: Database) -> None:
    database.write(lambda: _insert("a"))

    with pytest.raises(peewee.IntegrityError):
        database.write(lambda: _insert("a"))


def test_an_unreachable_table_is_said_without_sql(database: Database) -> None:
    def fail() -> None:
        raise peewee.OperationalError("could not connect to 10.0.0.1, query SELECT secret")

    with pytest.raises(DependencyUnavailable) as caught:
        database.write(fail)

    assert "SELECT" not in str(caught.value)


def test_a_query_outside_read_and_write_fails_loudly(database: Database) -> None:
    with pytest.raises(peewee.InterfaceError):
        Inbox.select().count()


def test_a_second_owner_of_a_sqlite_file_is_refused(tmp_path: Path) -> None:
    first = SqliteStore(tmp_path / "om.db", MODELS)
    try:
        with pytest.raises(DatabaseOwned):
            SqliteStore(tmp_path / "om.db", MODELS)
    finally:
        first.close()


def test_a_sqlite_reader_cannot_write(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "om.db", MODELS)
    try:
        with pytest.raises(DependencyUnavailable):
            store.read(lambda: store.engine.execute_sql("CREATE TABLE sneaky (a INTEGER)"))
        with pytest.raises(RuntimeError, match="inside read"):
            store.read(lambda: store.write(lambda: None))
    finally:
        store.close()


def test_sqlite_commits_are_durable_by_setting(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "om.db", MODELS)
    try:
        full = 2
        pragmas = ("journal_mode", "synchronous")
        values = store.write(
            lambda: [store.engine.execute_sql(f"PRAGMA {name}").fetchone()[0] for name in pragmas]
        )
        assert values == ["wal", full]
    finally:
        store.close()


def test_a_database_that_is_gone_does_not_answer(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    assert database.answers()

    def fail(sql: str) -> None:
        raise peewee.OperationalError(sql)

    monkeypatch.setattr(database.engine, "execute_sql", fail)

    assert not database.answers()


def test_a_listener_hears_of_commits_where_nobody_else_writes(database: Database) -> None:
    heard: list[int] = []
    database.on_write(lambda: heard.append(1))

    def fail() -> None:
        raise KeyError

    database.write(lambda: database.write(lambda: None))
    database.read(lambda: None)
    with pytest.raises(KeyError):
        database.write(fail)

    # On PostgreSQL other processes write as well, so that it would hear too little.
    assert heard == ([] if database.supports_row_locks else [1])
