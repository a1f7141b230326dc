"""The platform on each database, running while the tests of a module look at it from outside.

One for each module and not for the folder: models are bound to one database at a time, and a module
beside may open one of its own. Each test makes an organization of its own instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.installation import Installation, installed
from tests.e2e.stored import Stored, stored_in_postgresql, stored_in_sqlite
from tests.server.conftest import postgres_template, sqlite_template

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["postgres_template", "sqlite_template"]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def stored(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stored]:
    if request.param == "sqlite":
        template, folder = request.getfixturevalue("sqlite_template"), tmp_path_factory.mktemp("stored")
        with stored_in_sqlite(template, folder) as opened:
            yield opened
        return
    with stored_in_postgresql(request.getfixturevalue("postgres_template")) as opened:
        yield opened


@pytest.fixture(scope="module")
def installation(stored: Stored) -> Iterator[Installation]:
    with installed(stored) as running:
        yield running
