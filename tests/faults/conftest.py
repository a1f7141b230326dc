"""Sites for crash tests: a copy of one prepared database each, and one process that starts all others.

OM_FAULT_ROUNDS says how many seeds each test runs with, and OM_FAULT_SEED which is the first.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from typing import TYPE_CHECKING

import psycopg
import pytest

from om_server.schema import MODELS
from om_server.storage.postgresql import PostgresStore
from om_server.storage.sqlite import SqliteStore
from tests.databases import PostgresTemplate, postgres_server
from tests.faults.estate import Tenant, settle_estate
from tests.faults.launcher import Host
from tests.faults.site import Site
from tests.faults.traffic import Traffic
from tests.redis_server import RedisServer, redis_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_ROUNDS = int(os.environ.get("OM_FAULT_ROUNDS", "1"))
_FIRST_SEED = int(os.environ.get("OM_FAULT_SEED", "1"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        seeds = range(_FIRST_SEED, _FIRST_SEED + _ROUNDS)
        metafunc.parametrize("seed", seeds, ids=[f"seed{seed}" for seed in seeds])


@pytest.fixture(scope="session")
def host() -> Iterator[Host]:
    running = Host()
    yield running
    running.close()


@pytest.fixture(scope="session")
def sqlite_estate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Tenant]]:
    path = tmp_path_factory.mktemp("estate") / "openmonetize.db"
    store = SqliteStore(path, MODELS)
    tenants = settle_estate(store)
    store.close()
    return path, tenants


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    with postgres_server() as url:
        yield url


@pytest.fixture(scope="session")
def postgres_estate(postgres_url: str) -> Iterator[tuple[PostgresTemplate, list[Tenant]]]:
    name = f"om_estate_{secrets.token_hex(4)}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    store = PostgresStore(f"{postgres_url.rpartition('/')[0]}/{name}", MODELS, pool_size=2)
    tenants = settle_estate(store)
    store.close()
    with contextlib.closing(PostgresTemplate(postgres_url, name)) as copies:
        yield copies, tenants


@pytest.fixture(scope="session")
def running_redis() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture
def make_site(request: pytest.FixtureRequest, host: Host, tmp_path: Path) -> Iterator[Callable[[str], Site]]:
    """Build a site of a kind: sqlite, postgresql, or redis on top of PostgreSQL. Nothing runs yet."""
    with contextlib.ExitStack() as stack:

        def make(kind: str) -> Site:
            if kind == "sqlite":
                template, tenants = request.getfixturevalue("sqlite_estate")
                shutil.copy(template, tmp_path / "openmonetize.db")
                site = Site(host, tmp_path, tenants)
            else:
                clones, tenants = request.getfixturevalue("postgres_estate")
                redis = request.getfixturevalue("running_redis") if kind == "redis" else None
                if redis is not None:
                    redis.reset()
                url = stack.enter_context(clones.clone())
                site = Site(host, tmp_path, tenants, database_url=url, redis=redis)
            stack.callback(site.close)
            return site

        yield make


@pytest.fixture
def make_traffic() -> Iterator[Callable[..., Traffic]]:
    with contextlib.ExitStack() as stack:

        def make(site: Site, seed: int, **options: object) -> Traffic:
            traffic = Traffic(site, seed, **options)  # type: ignore[arg-type] # A table's row.
            stack.callback(traffic.close)
            return traffic

        yield make
