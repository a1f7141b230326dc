"""A world over a real database, whose ledgers are audited at the end of every test."""

from collections.abc import Iterator

import pytest

from om_server.rating.catalogue import load_catalogue
from om_server.rating.operations import RatingOperations
from om_server.storage.database import Database
from tests.server.pipeline.harness import START, Tenant, World
from tests.server.wallet.conftest import audit


@pytest.fixture(scope="session", name="rating")
def make_rating() -> RatingOperations:
    """Reading the catalogue takes longer than most tests."""
    return RatingOperations(load_catalogue(), clock=lambda: START)


@pytest.fixture(name="world")
def make_world(database: Database, rating: RatingOperations) -> Iterator[World]:
    world = World(database, rating)
    yield world
    world.poller.stop()
    database.read(lambda: audit(world.wallet_store))


@pytest.fixture(name="tenant")
def make_tenant(world: World) -> Tenant:
    """An organization with 1,000 credits."""
    return world.tenant(granted=1_000 * 10**9)
