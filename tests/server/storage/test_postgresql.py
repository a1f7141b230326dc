"""Writes that nobody waits for on PostgreSQL: when they are heard of, and as what."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import peewee
import pytest

from om_server.core.errors import DependencyUnavailable, DomainError
from om_server.storage.batch import BatchWriter, Row, RowsContended
from om_server.wallet.record import WalletRow
from tests.server.storage.test_batch import stored, wallet

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from om_server.storage.database import Database

_KILL = "SELECT pg_terminate_backend(%s)"
_TIMEOUT_S = 10


# SQLite writes at once.
pytestmark = pytest.mark.parametrize("database", ["postgresql"], indirect=True)


def insert(database: Database, *wallet_ids: str, available: int = 0) -> None:
    rows: list[Row] = [wallet(wallet_id, available=available) for wallet_id in wallet_ids]
    BatchWriter(database).insert(WalletRow, rows)


def overdraw(database: Database, wallet_id: str) -> None:
    """Break a CHECK of the table."""
    BatchWriter(database).update(WalletRow, ("available",), rows=[(-5, "org", wallet_id)])


def ids(database: Database) -> list[object]:
    return [row[0] for row in stored(database)]


def backend(database: Database) -> int:
    return int(database.engine.execute_sql("SELECT pg_backend_pid()").fetchone()[0])


def test_what_was_sent_is_there_for_the_next_statement(database: Database) -> None:
    def run() -> list[object]:
        insert(database, "a", "b")
        insert(database, "c")
        return ids(database)

    assert database.write(run) == ["a", "b", "c"]


def test_a_write_that_nobody_reads_after_is_heard_of_before_the_commit(database: Database) -> None:
    def run() -> None:
        insert(database, "a")
        overdraw(database, "a")
        insert(database, "b")

    with pytest.raises(peewee.IntegrityError):
        database.write(run)
    assert ids(database) == []


@pytest.mark.parametrize("before", [1, 5])
@pytest.mark.parametrize("behind", [0, 1, 30])
def test_the_first_failure_is_raised_and_not_that_the_rest_was_not_run(
    database: Database, before: int, behind: int
) -> None:
    """An aborted pipeline looks like a database that is away: a bad row would be tried for ever."""

    def run() -> None:
        insert(database, *(f"before{number}" for number in range(before)))
        insert(database, "twice")
        insert(database, "twice")
        for number in range(behind):
            insert(database, f"behind{number}")

    with pytest.raises(peewee.IntegrityError, match="duplicate key"):
        database.write(run)
    assert ids(database) == []


def test_a_statement_that_reads_raises_what_was_sent_before_it(database: Database) -> None:
    reached: list[object] = []

    def run() -> None:
        insert(database, "a")
        overdraw(database, "a")
        reached.append(ids(database))

    with pytest.raises(peewee.IntegrityError):
        database.write(run)
    assert reached == []


def test_a_value_that_a_column_cannot_hold_is_no_fault_that_passes(database: Database) -> None:
    with pytest.raises(peewee.DataError):
        database.write(lambda: insert(database, "a", available=2**63))


def test_a_guard_that_fails_stops_the_commit(database: Database) -> None:
    database.write(lambda: insert(database, "a"))

    def run() -> None:
        batch = BatchWriter(database)
        batch.update(WalletRow, ("entry_sequence",), rows=[(9, "org", "a", 3)], guard="entry_sequence")
        insert(database, "b")

    with pytest.raises(RowsContended):
        database.write(run)
    assert ids(database) == ["a"]


def test_a_connection_that_is_lost_says_try_again_and_the_next_transaction_has_another(
    database: Database,
) -> None:
    with ThreadPoolExecutor(1) as pool:

        def run() -> None:
            killed = backend(database)
            insert(database, "a")
            kill = pool.submit(
                database.read, lambda: database.engine.execute_sql(_KILL, (killed,)).fetchone()
            )
            assert kill.result(_TIMEOUT_S)
            insert(database, "b")
            insert(database, "c")

        with pytest.raises(DependencyUnavailable):
            database.write(run)
    database.write(lambda: insert(database, "d"))
    assert ids(database) == ["d"]


def test_an_idle_connection_that_died_says_try_again_at_the_first_statement(database: Database) -> None:
    killed = database.write(lambda: backend(database))
    with ThreadPoolExecutor(1) as pool:
        held, done = threading.Event(), threading.Event()

        def hold() -> None:
            # It has taken the idle connection, so that the kill is done with another.
            held.set()
            done.wait(_TIMEOUT_S)

        holding = pool.submit(database.read, hold)
        held.wait(_TIMEOUT_S)
        database.read(lambda: database.engine.execute_sql(_KILL, (killed,)).fetchone())
        done.set()
        holding.result()
    for _ in range(2):
        try:
            database.write(lambda: insert(database, "a"))
        except DependencyUnavailable:
            continue
        break
    assert ids(database) == ["a"]


def test_a_deadlock_says_try_again_to_one_of_the_two(database: Database) -> None:
    database.write(lambda: insert(database, "a", "b"))
    meeting = threading.Barrier(2)

    def run(first: str, second: str) -> None:
        database.engine.execute_sql("SET LOCAL deadlock_timeout = '50ms'")
        for position, wallet_id in enumerate((first, second)):
            BatchWriter(database).update(WalletRow, ("available",), rows=[(7, "org", wallet_id)])
            ids(database)
            if not position:
                meeting.wait(_TIMEOUT_S)

    with ThreadPoolExecutor(2) as pool:
        both = [
            pool.submit(database.write, lambda: run("a", "b")),
            pool.submit(database.write, lambda: run("b", "a")),
        ]
        errors = [future.exception(_TIMEOUT_S) for future in both]
    assert [type(error) for error in errors if error] == [DependencyUnavailable]
    assert [row[:2] for row in stored(database)] == [("a", 7), ("b", 7)]


def test_a_transaction_that_is_given_up_leaves_nothing_unheard(database: Database) -> None:
    class Refused(DomainError):
        pass

    def run() -> None:
        insert(database, "a", "a")
        raise Refused("no")

    with pytest.raises(Refused):
        database.write(run)
    database.write(lambda: insert(database, "a"))
    assert ids(database) == ["a"]


def test_a_statement_that_failed_often_works_again(database: Database) -> None:
    """The driver prepares what is run often, and must not believe in what a failure took back."""
    database.write(lambda: insert(database, "a"))
    for _ in range(12):
        with pytest.raises(peewee.IntegrityError):
            database.write(lambda: insert(database, "a"))
    for number in range(12):
        database.write(lambda number=number: insert(database, f"b{number}"))  # type: ignore[misc]
    assert len(ids(database)) == 13


def test_a_write_outside_a_transaction_is_waited_for(database: Database) -> None:
    counted: list[int] = []

    def run(values: Sequence[object]) -> None:
        database.send("DELETE FROM wallets WHERE wallet_id = %s", values, counted=counted.append)

    database.write(lambda: insert(database, "a"))
    database.read(lambda: run(("a",)))
    assert counted == [1]


def test_a_question_is_planned_anew_however_often_it_is_asked(database: Database) -> None:
    """Of statements that run often PostgreSQL keeps a plan for any values, which may be far from the best."""
    prepared = "SELECT COUNT(*) FROM pg_prepared_statements WHERE statement LIKE '%wallet_id%'"
    query = WalletRow.select(WalletRow.wallet_id).where(WalletRow.organization_id == "org")

    def kept(ask: Callable[[], object]) -> int:
        for _ in range(10):
            ask()
        return int(database.engine.execute_sql(prepared.replace("%", "%%")).fetchone()[0])

    def run() -> list[int]:
        insert(database, "a")
        assert database.ask(query) == [("a",)]
        return [kept(lambda: database.ask(query)), kept(lambda: list(query.clone()))]

    before, after = database.write(run)

    assert after == before + 1
