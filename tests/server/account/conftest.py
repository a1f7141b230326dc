"""Accounts over a real database, at a time that the test sets."""

import pytest

from om_server.account.operations import AccountOperations
from om_server.account.organization import Organization, Team
from om_server.storage.database import Database
from tests.server.account.harness import SetClock, make_operations
from tests.server.account.people.house import House, make_house


@pytest.fixture(name="clock")
def make_clock() -> SetClock:
    return SetClock()


@pytest.fixture(name="accounts")
def make_accounts(database: Database, clock: SetClock) -> AccountOperations:
    return make_operations(database, clock)


@pytest.fixture(name="organization")
def make_organization(accounts: AccountOperations) -> Organization:
    return accounts.create_organization("Haberdashery")


@pytest.fixture(name="team")
def make_team(accounts: AccountOperations, organization: Organization) -> Team:
    return accounts.create_team(organization.organization_id, "Hats")


@pytest.fixture(name="house")
def make_people(database: Database, clock: SetClock) -> House:
    return make_house(database, clock)
