"""What a test is given is as the template is, whatever an earlier test did to its copy."""

from __future__ import annotations

import contextlib
import secrets
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.databases import PostgresTemplate, postgres_server

if TYPE_CHECKING:
    from collections.abc import Iterator

_TEMPLATE = """
CREATE TABLE houses (house_id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name TEXT);
CREATE TABLE rooms (house_id BIGINT NOT NULL REFERENCES houses (house_id), name TEXT);
CREATE TABLE visits (visit_id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name TEXT);
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'never'; END $$;
CREATE TRIGGER houses_never_go BEFORE DELETE ON houses FOR EACH STATEMENT EXECUTE FUNCTION refuse();
INSERT INTO houses (name) VALUES ('Baker Street'), (E'tab\\tand\\nline');
INSERT INTO rooms VALUES (1, NULL), (2, '');
"""
_EVERYTHING = (
    "SELECT * FROM houses",
    "SELECT * FROM rooms",
    "SELECT * FROM visits",
    # Where a row stands decides in which order rows come that nobody sorts.
    "SELECT ctid FROM rooms UNION ALL SELECT ctid FROM visits",
    "SELECT schemaname, sequencename, last_value FROM pg_sequences",
    "SELECT relname, relhastriggers FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1",
)


@pytest.fixture(scope="module", name="server")
def running_server() -> Iterator[str]:
    with postgres_server() as url:
        yield url


@pytest.fixture(name="copies")
def make_copies(server: str) -> Iterator[PostgresTemplate]:
    name = f"template_{secrets.token_hex(4)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    with psycopg.connect(f"{server.rpartition('/')[0]}/{name}", autocommit=True) as connection:
        connection.execute(_TEMPLATE)
    with contextlib.closing(PostgresTemplate(server, name)) as copies:
        yield copies


@pytest.mark.parametrize(
    "done",
    [
        "SELECT 1",
        "INSERT INTO visits (name) VALUES ('Irene')",
        "INSERT INTO visits (name) VALUES ('Irene'); DELETE FROM visits",
        "BEGIN; INSERT INTO visits (name) VALUES ('Irene'); ROLLBACK",
        "SELECT nextval('visits_visit_id_seq'), nextval('houses_house_id_seq')",
        "INSERT INTO houses (name) VALUES ('Pall Mall'); INSERT INTO rooms VALUES (3, 'club')",
        "UPDATE rooms SET name = 'study' WHERE house_id = 1",
        "DELETE FROM rooms",
        "TRUNCATE houses RESTART IDENTITY CASCADE",
    ],
)
def test_whatever_was_written_is_gone_and_what_was_there_is_back(copies: PostgresTemplate, done: str) -> None:
    with copies.clone() as url:
        as_it_was, oid = _everything(url), _oid(url)
    with copies.clone() as url, psycopg.connect(url, autocommit=True) as connection:
        connection.execute(done)

    with copies.clone() as url:
        assert _everything(url) == as_it_was
        assert _oid(url) == oid, "it was not restored but made anew"


@pytest.mark.parametrize(
    "done",
    [
        "CREATE TABLE later (n BIGINT)",
        "ALTER TABLE houses DISABLE TRIGGER USER",
        "DROP TABLE visits",
        "DROP TRIGGER houses_never_go ON houses",
        "DROP SCHEMA public CASCADE; CREATE SCHEMA public",
        "GRANT ALL ON houses TO PUBLIC",
        "BEGIN; CREATE INDEX by_name ON visits (name); COMMIT; DROP INDEX by_name",
    ],
)
def test_a_copy_with_other_definitions_is_given_to_nobody(copies: PostgresTemplate, done: str) -> None:
    with copies.clone() as url:
        as_it_was = _everything(url)
    with copies.clone() as url, psycopg.connect(url, autocommit=True) as connection:
        oid = _oid(url)
        connection.execute(done)

    with copies.clone() as url:
        assert _everything(url) == as_it_was
        assert _oid(url) != oid


def test_definitions_that_were_rolled_back_did_not_change(copies: PostgresTemplate) -> None:
    with copies.clone() as url, psycopg.connect(url, autocommit=True) as connection:
        oid = _oid(url)
        connection.execute("BEGIN; DROP TABLE visits; ROLLBACK")

    with copies.clone() as url:
        assert oid == _oid(url)


def test_what_a_test_left_running_has_lost_its_copy(copies: PostgresTemplate) -> None:
    with copies.clone() as url:
        forgotten = psycopg.connect(url, autocommit=True)
        forgotten.execute("INSERT INTO visits (name) VALUES ('Irene')")

    with contextlib.closing(forgotten), pytest.raises(psycopg.OperationalError):
        forgotten.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(url)
    with copies.clone() as another:
        assert another != url


def _everything(url: str) -> list[object]:
    with psycopg.connect(url, autocommit=True) as connection:
        return [connection.execute(statement.encode()).fetchall() for statement in _EVERYTHING]


def _oid(url: str) -> int:
    """What a database keeps under every name."""
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute(
            "SELECT oid FROM pg_database WHERE datname = current_database()"
        ).fetchall()
    return int(found[0][0])
