"""Prompts over a real database."""

import pytest

from om_server.storage.database import Database
from tests.server.prompt.desk import Desk


@pytest.fixture
def desk(database: Database) -> Desk:
    return Desk(database)
