"""The platform twice, running while the tests look at it from outside.

On SQLite it runs in this process, a database for each module: models are bound to one database at a time,
and a module beside may open one of its own. On PostgreSQL and Redis each component is a process of its
own, as in production, started once; each module only opens their database anew. Each test makes an
organization of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.installation import Installation, attached, installed
from tests.e2e.processes import Processes, running_processes
from tests.e2e.stored import stored_in_postgresql, stored_in_sqlite
from tests.server.conftest import postgres_template, running_redis, sqlite_template

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.databases import PostgresTemplate
    from tests.redis_server import RedisServer

__all__ = ["postgres_template", "running_redis", "sqlite_template"]


@pytest.fixture(scope="session")
def processes(
    postgres_template: PostgresTemplate,
    running_redis: RedisServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Processes]:
    """Every component of the platform, for all tests of this process."""
    with (
        postgres_template.clone() as url,
        running_processes(url, running_redis, tmp_path_factory.mktemp("processes")) as running,
    ):
        yield running


@pytest.fixture(scope="module", params=["sqlite", "processes"])
def installation(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    if request.param == "sqlite":
        template, folder = request.getfixturevalue("sqlite_template"), tmp_path_factory.mktemp("stored")
        with stored_in_sqlite(template, folder) as stored, installed(stored) as running:
            yield running
        return
    found: Processes = request.getfixturevalue("processes")
    with (
        stored_in_postgresql(found.database_url) as stored,
        attached(stored, found.addresses, logs=found.logs, measured=found.measured) as running,
    ):
        yield running
