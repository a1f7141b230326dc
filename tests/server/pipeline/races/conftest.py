"""A server over a real database at a time that stands still until it is moved."""

from collections.abc import Iterator

import pytest

from om_server.storage.database import Database
from tests.server.pipeline.harness import SetClock
from tests.server.pipeline.races.scene import Server, running


@pytest.fixture(name="clock")
def make_clock() -> SetClock:
    return SetClock()


@pytest.fixture(name="server")
def serve(database: Database, clock: SetClock) -> Iterator[Server]:
    with running(database, clock) as server:
        yield server
