import pytest

from om_server.account.operations import AccountOperations
from om_server.account.organization import Organization
from om_server.core.errors import AlreadyExists, InvalidArgument
from om_server.core.page import PageRequest
from tests.server.account.harness import START, SetClock

ALL = PageRequest.of(200)


def test_a_customer_is_registered_once(accounts: AccountOperations, organization: Organization) -> None:
    organization_id = organization.organization_id
    made = accounts.create_customer(organization_id, "acme", display_name="Acme")

    assert (made.display_name, made.create_time) == ("Acme", START)
    assert accounts.list_customers(organization_id, ALL).items == (made,)
    with pytest.raises(AlreadyExists):
        accounts.create_customer(organization_id, "acme", display_name="Other")
    assert accounts.list_customers(organization_id, ALL).items == (made,)


def test_whom_an_event_named_first_can_still_be_registered(
    accounts: AccountOperations, organization: Organization, clock: SetClock
) -> None:
    """The first use may overtake the registration, which is nobody's fault."""
    organization_id = organization.organization_id
    accounts.note_sightings(organization_id, customers=["acme"], users=["u1"], now=5)
    clock.advance(1)

    customer = accounts.create_customer(organization_id, "acme", display_name="Acme")
    user = accounts.create_user(organization_id, "u1", email="u1@example.com", metadata_json='{"a":1}')

    assert (customer.display_name, customer.create_time) == ("Acme", 5)
    assert (user.email, user.create_time, user.update_time) == ("u1@example.com", 5, clock.now)
    assert accounts.get_user(organization_id, "u1") == user
    with pytest.raises(AlreadyExists):
        accounts.create_user(organization_id, "u1", email="", metadata_json="{}")


def test_a_later_event_changes_nothing_of_a_registered_user(
    accounts: AccountOperations, organization: Organization
) -> None:
    user = accounts.create_user(
        organization.organization_id, "u1", email="u1@example.com", metadata_json="{}"
    )

    accounts.note_sightings(organization.organization_id, customers=[], users=["u1"], now=9)

    assert accounts.get_user(organization.organization_id, "u1") == user


def test_an_organization_is_not_its_own_customer(
    accounts: AccountOperations, organization: Organization
) -> None:
    organization_id = organization.organization_id

    with pytest.raises(InvalidArgument):
        accounts.create_customer(organization_id, organization_id, display_name="")


def test_two_organizations_may_use_the_same_names(
    accounts: AccountOperations, organization: Organization
) -> None:
    other = accounts.create_organization("Another").organization_id
    mine = accounts.create_user(organization.organization_id, "u1", email="a@example.com", metadata_json="{}")

    accounts.create_user(other, "u1", email="b@example.com", metadata_json="{}")

    assert accounts.get_user(organization.organization_id, "u1") == mine
