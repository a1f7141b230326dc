"""Rating over a real database."""

import pytest

from om_server.storage.database import Database
from tests.server.rating.desk import Desk


@pytest.fixture(name="desk")
def make_desk(database: Database) -> Desk:
    return Desk(database)
