"""A migrated database for each test, on SQLite and on PostgreSQL."""

from __future__ import annotations

import contextlib
import secrets
import shutil
from typing import TYPE_CHECKING

import psycopg
import pytest

from om_server.schema import MODELS
from om_server.storage.migrate import migrate
from om_server.storage.postgresql import PostgresStore
from om_server.storage.sqlite import SqliteStore
from tests.databases import PostgresTemplate, postgres_server
from tests.redis_server import RedisServer, redis_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from om_server.storage.database import Database


@pytest.fixture(scope="session")
def postgres_template() -> Iterator[PostgresTemplate]:
    """One server and one migrated template for the whole process."""
    with postgres_server() as url:
        template = f"om_template_{secrets.token_hex(4)}"
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {template}")
        store = PostgresStore(url.rsplit("/", 1)[0] + f"/{template}", MODELS, pool_size=2)
        migrate(store, incarnation="inc_test", now_us=0)
        store.close()
        with contextlib.closing(PostgresTemplate(url, template)) as copies:
            yield copies


@pytest.fixture(scope="session")
def running_redis() -> Iterator[RedisServer]:
    """One Redis for the whole process."""
    with redis_server() as server:
        yield server


@pytest.fixture(name="redis_server")
def empty_redis(running_redis: RedisServer) -> RedisServer:
    """A Redis with nothing in it, which the test may stop, start and fill."""
    running_redis.reset()
    return running_redis


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One migrated file for the whole process."""
    path = tmp_path_factory.mktemp("template") / "om.db"
    store = SqliteStore(path, MODELS)
    migrate(store, incarnation="inc_test", now_us=0)
    store.close()
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A fresh migrated database."""
    store: Database
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / "om.db")
        store = SqliteStore(tmp_path / "om.db", MODELS)
        yield store
        store.close()
        return
    with request.getfixturevalue("postgres_template").clone() as url:
        store = PostgresStore(url, MODELS, pool_size=20)
        yield store
        store.close()
