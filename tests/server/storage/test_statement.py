import threading
from typing import Any

import peewee
import pytest

from om_server.core.errors import DependencyUnavailable
from om_server.storage.batch import BatchWriter, Row
from om_server.storage.database import Database
from om_server.storage.statement import Statement, Value, among, given
from om_server.wallet.record import WalletRow

BIG = 2**62

ONE: dict[str, Value] = {"organization_id": "org", "wallet_ids": ["a"], "above": 0}


def stock(database: Database, *wallet_ids: str) -> None:
    rows: list[Row] = [
        ("org", wallet_id, "user", wallet_id, "strict", False, BIG, 0, 0, 0, None, 4, 1, "", 0)
        for wallet_id in wallet_ids
    ]
    database.write(lambda: BatchWriter(database).insert(WalletRow, rows))


def composed(database: Database) -> Statement:
    query = WalletRow.select(WalletRow.wallet_id, WalletRow.available, WalletRow.overflow_wallet_id).where(
        (WalletRow.organization_id == given("organization_id"))
        & among(database, WalletRow.wallet_id, "wallet_ids")
        & (WalletRow.available > given("above"))
    )
    return Statement(database, query.order_by(WalletRow.wallet_id))


def found(database: Database, statement: Statement, *wallet_ids: str, above: int = 0) -> list[str]:
    rows = database.read(lambda: statement.rows(organization_id="org", wallet_ids=wallet_ids, above=above))
    return [row[0] for row in rows]


def test_one_text_serves_any_number_of_values(database: Database) -> None:
    odd = 'c"\\,{}%s?\u00e9'
    stock(database, "a", "b", odd)
    statement = composed(database)
    assert found(database, statement, "b", "a", "a", "none") == ["a", "b"]
    assert found(database, statement, odd) == [odd]
    assert found(database, statement) == []
    assert found(database, statement, "a", above=BIG) == []
    many = [f"w{number:05}" for number in range(40_000)]
    assert found(database, statement, *many, "b") == ["b"]


def test_rows_are_plain_tuples_in_the_order_of_the_columns(database: Database) -> None:
    stock(database, "a")
    statement = composed(database)
    assert database.read(lambda: statement.rows(**ONE)) == [("a", BIG, None)]
    assert database.read(lambda: statement.row(**ONE)) == ("a", BIG, None)
    assert database.read(lambda: statement.row(**ONE | {"organization_id": "other"})) is None


@pytest.mark.parametrize(
    "values",
    [
        {"organization_id": "org", "wallet_ids": ["a"]},
        {"organization_id": "org", "wallet_ids": ["a"], "above": 0, "below": 9},
        {"organization_id": "org", "wallet_ids": "a", "above": 0},
        {"organization_id": "org", "wallet_ids": None, "above": 0},
    ],
)
def test_a_value_that_is_missing_unknown_or_of_the_wrong_number_is_refused(
    database: Database, values: dict[str, Value]
) -> None:
    with pytest.raises(TypeError):
        database.read(lambda: composed(database).rows(**values))


def test_what_is_written_goes_with_its_transaction(database: Database) -> None:
    stock(database, "a", "b")
    update = Statement(
        database,
        WalletRow.update(
            available=WalletRow.available - given("part"), overflow_wallet_id=given("target")
        ).where(among(database, WalletRow.wallet_id, "wallet_ids")),
    )

    def write(*, fail: bool) -> int:
        count = update.run(part=5, target="b", wallet_ids=["a", "none"])
        if fail:
            raise ZeroDivisionError
        return count

    with pytest.raises(ZeroDivisionError):
        database.write(lambda: write(fail=True))
    assert database.read(lambda: composed(database).rows(**ONE)) == [("a", BIG, None)]
    assert database.write(lambda: write(fail=False)) == 1
    assert database.read(lambda: composed(database).rows(**ONE)) == [("a", BIG - 5, "b")]


def test_what_an_insert_or_a_deletion_returns_is_read(database: Database) -> None:
    stock(database, "a", "b")
    deletion = WalletRow.delete().where(WalletRow.wallet_id == given("wallet_id"))
    statement = Statement(database, deletion.returning(WalletRow.wallet_id, WalletRow.entry_sequence))
    assert database.write(lambda: statement.rows(wallet_id="a")) == [("a", 4)]
    assert database.write(lambda: statement.rows(wallet_id="a")) == []
    assert found(database, composed(database), "a", "b") == ["b"]


# SQLite has no locks on rows: its one writer keeps everybody waiting.
@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_lock_that_the_query_asks_for_is_taken(database: Database) -> None:
    stock(database, "a")
    query: peewee.ModelSelect[Any] = WalletRow.select(WalletRow.wallet_id).where(
        WalletRow.wallet_id == given("wallet_id")
    )
    locking = Statement(database, database.locked(query))
    beside = Statement(database, query.for_update("FOR UPDATE SKIP LOCKED"))  # type: ignore[arg-type]  # Stubs.
    locked, done = threading.Event(), threading.Event()

    def hold() -> None:
        locking.rows(wallet_id="a")
        locked.set()
        done.wait(10)

    holder = threading.Thread(target=lambda: database.write(hold))
    holder.start()
    try:
        assert locked.wait(10)
        assert database.write(lambda: beside.rows(wallet_id="a")) == []
    finally:
        done.set()
        holder.join()
    assert database.write(lambda: beside.rows(wallet_id="a")) == [("a",)]


def test_a_statement_that_the_database_refuses_is_peewees_error(database: Database) -> None:
    stock(database, "a")
    statement = Statement(database, WalletRow.update(held=given("held")))
    with pytest.raises(peewee.IntegrityError):
        database.write(lambda: statement.run(held=-1))
    missing = Statement(database, peewee.Select(columns=[peewee.SQL("nothing")]))
    with pytest.raises((DependencyUnavailable, peewee.ProgrammingError)):
        database.read(missing.rows)
