"""One platform for all documents of a test process, on SQLite."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from om_server.schema import MODELS
from om_server.storage.migrate import migrate
from om_server.storage.sqlite import SqliteStore
from tests.docs.running import Running, running

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("documents")
    store = SqliteStore(folder / "openmonetize.db", MODELS)
    migrate(store, incarnation="inc_documents", now_us=0)
    with running(store, folder) as found:
        yield found
    store.close()
