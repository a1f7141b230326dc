"""One running application for every test of the folder: starting it costs more than most of them."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from om_server.schema import MODELS
from om_server.storage.sqlite import SqliteStore
from tests.openapi.site import Site, site_on
from tests.server.conftest import sqlite_template

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["sqlite_template"]


@pytest.fixture(scope="module", name="site")
def running_site(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    path = tmp_path_factory.mktemp("site") / "om.db"
    shutil.copy(sqlite_template, path)
    database = SqliteStore(path, MODELS)
    try:
        with site_on(database) as site:
            yield site
    finally:
        database.close()
