"""The platform on SQLite, as the end-to-end tests run it: which database it is changes nothing for an SDK."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.installation import Installation, installed
from tests.e2e.stored import stored_in_sqlite
from tests.server.conftest import sqlite_template

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["sqlite_template"]


@pytest.fixture(scope="module")
def installation(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with (
        stored_in_sqlite(sqlite_template, tmp_path_factory.mktemp("stored")) as stored,
        installed(stored) as it,
    ):
        yield it
