"""Row-level security: what the server's and the worker's roles see of other organizations' rows."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TYPE_CHECKING

import peewee
import psycopg
import pytest

from om_server.schema import MODELS
from om_server.storage.migrate import MigrationRefused, migrate
from om_server.storage.postgresql import PostgresStore
from om_server.storage.row_security import SERVER_ROLE, WORKER_ROLE, unguarded
from om_server.storage.tenancy import seeing, seeing_everybody
from tests.databases import member_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from om_server.storage.database import Database
    from tests.databases import PostgresTemplate

OURS, THEIRS = "org_ours", "org_theirs"
_INSERT = "INSERT INTO customers VALUES (%s, %s, '', 0)"
_RENAME = "UPDATE customers SET display_name = 'x' RETURNING organization_id"


@pytest.fixture(scope="module")
def address(postgres_template: PostgresTemplate) -> Iterator[str]:
    """A database in which two organizations have one customer each."""
    with postgres_template.clone() as url:
        with psycopg.connect(url) as connection:
            for organization_id in (OURS, THEIRS):
                connection.execute(_INSERT, (organization_id, "cus"))
        yield url


@contextlib.contextmanager
def opened(url: str) -> Iterator[PostgresStore]:
    store = PostgresStore(url, MODELS, pool_size=4)
    try:
        yield store
    finally:
        store.close()


@pytest.fixture(scope="module")
def server(address: str) -> Iterator[PostgresStore]:
    with member_of(SERVER_ROLE, address) as url, opened(url) as store:
        yield store


@pytest.fixture(scope="module")
def worker(address: str) -> Iterator[PostgresStore]:
    with member_of(WORKER_ROLE, address) as url, opened(url) as store:
        yield store


def organizations(database: Database) -> list[str]:
    """Ask without a WHERE."""
    query = "SELECT organization_id FROM customers ORDER BY 1"
    return [row[0] for row in database.engine.execute_sql(query).fetchall()]


def run_in(database: Database, way: str) -> Callable[[Callable[[], object]], object]:
    return database.write if way == "write" else database.read


@pytest.mark.parametrize("way", ["read", "write"])
def test_a_query_without_an_organization_finds_nothing(server: PostgresStore, way: str) -> None:
    assert run_in(server, way)(lambda: organizations(server)) == []


@pytest.mark.parametrize("way", ["read", "write"])
def test_a_query_without_a_where_finds_only_own_rows(server: PostgresStore, way: str) -> None:
    with seeing(OURS):
        assert run_in(server, way)(lambda: organizations(server)) == [OURS]


@pytest.mark.parametrize("way", ["read", "write"])
def test_who_serves_everybody_sees_every_row(server: PostgresStore, way: str) -> None:
    with seeing_everybody():
        assert run_in(server, way)(lambda: organizations(server)) == [OURS, THEIRS]


def test_every_statement_of_one_read_sees_own_rows(server: PostgresStore) -> None:
    with seeing(OURS):
        assert server.read(lambda: [organizations(server) for _ in range(3)]) == [[OURS]] * 3


def test_a_connection_forgets_whose_rows_the_last_one_saw(server: PostgresStore) -> None:
    with seeing(OURS):
        server.write(lambda: organizations(server))
        server.read(lambda: organizations(server))

    assert server.read(lambda: organizations(server)) == []
    assert server.write(lambda: organizations(server)) == []


def test_a_write_without_a_where_changes_only_own_rows(server: PostgresStore) -> None:
    with seeing(OURS):
        changed = server.write(lambda: server.engine.execute_sql(_RENAME).fetchall())

    assert changed == [(OURS,)]


@pytest.mark.parametrize("way", ["read", "write"])
def test_no_row_can_be_written_for_another_organization(server: PostgresStore, way: str) -> None:
    with seeing(OURS), pytest.raises(peewee.ProgrammingError, match="row-level security"):
        run_in(server, way)(lambda: server.engine.execute_sql(_INSERT, (THEIRS, "cus_new")))

    with seeing(OURS):
        assert server.read(lambda: organizations(server)) == [OURS]


def test_an_organization_that_looks_like_sql_is_text(server: PostgresStore) -> None:
    with seeing("x'; RESET om.organization_id; --"):
        assert server.write(lambda: organizations(server)) == []
        assert server.read(lambda: organizations(server)) == []


@pytest.mark.parametrize("name", ["", "*"])
def test_nobody_sees_everything_by_an_id(name: str) -> None:
    with pytest.raises(ValueError, match="needed"), seeing(name):
        pass


def test_threads_see_each_their_own(server: PostgresStore) -> None:
    def look(organization_id: str) -> list[str]:
        with seeing(organization_id):
            return server.write(lambda: organizations(server))

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(look, [OURS, THEIRS] * 10)) == [[OURS], [THEIRS]] * 10
        with seeing(OURS):
            carried = pool.submit(copy_context().run, lambda: server.read(lambda: organizations(server)))
    assert carried.result() == [OURS]


def test_the_worker_sees_every_row_and_says_nothing(worker: PostgresStore) -> None:
    assert worker.write(lambda: organizations(worker)) == [OURS, THEIRS]
    assert worker.read(lambda: organizations(worker)) == [OURS, THEIRS]


def test_no_role_owns_or_changes_a_table(server: PostgresStore, worker: PostgresStore) -> None:
    for store in (server, worker):
        with pytest.raises(peewee.ProgrammingError, match="must be owner"):
            store.write(lambda: store.engine.execute_sql("ALTER TABLE customers DISABLE ROW LEVEL SECURITY"))  # noqa: B023 - called at once


@pytest.mark.parametrize("statement", ["DELETE FROM key_lookups", "DELETE FROM incarnations"])
def test_what_belongs_to_no_organization_is_the_servers_only_as_far_as_needed(
    server: PostgresStore, statement: str
) -> None:
    with seeing(OURS), pytest.raises(peewee.ProgrammingError, match="permission denied"):
        server.write(lambda: server.engine.execute_sql(statement))


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_every_table_of_organizations_is_guarded(database: Database) -> None:
    """Also one that a migration adds tomorrow: it is looked for in the catalogue, not in a list."""
    assert unguarded(database) == []


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_table_that_comes_later_is_guarded_by_the_next_migrate(database: Database) -> None:
    database.write(lambda: database.engine.execute_sql("CREATE TABLE later (organization_id TEXT)"))
    assert unguarded(database) == ["later"]

    assert migrate(database, incarnation="inc", now_us=0) == []

    assert unguarded(database) == []


@pytest.mark.parametrize("role", ["server", "worker"])
def test_no_role_of_a_process_migrates(request: pytest.FixtureRequest, role: str) -> None:
    with pytest.raises(MigrationRefused, match="owner of the tables"):
        migrate(request.getfixturevalue(role), incarnation="inc", now_us=0)
