"""Intake over a real database, at a time that the test sets."""

import pytest

from om_server.storage.database import Database
from tests.server.ingestion.harness import Intake


@pytest.fixture(name="intake")
def make_intake(database: Database) -> Intake:
    return Intake(database)
