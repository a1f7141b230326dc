"""One platform for all documents, on SQLite."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from om_server.schema import MODELS
from om_server.storage.migrate import migrate
from om_server.storage.sqlite import SqliteStore
from tests.docs.running import Running, running

if TYPE_CHECKING:
    from collections.abc import Iterator


# Not longer than the module: models belong to the database that was opened last, so a platform that
# goes on running would work on the database of whatever test comes next.
@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("documents")
    store = SqliteStore(folder / "openmonetize.db", MODELS)
    migrate(store, incarnation="inc_documents", now_us=0)
    with running(store, folder) as found:
        yield found
    store.close()
