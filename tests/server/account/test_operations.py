import dataclasses
import enum

import pytest

from om_server.account import development
from om_server.account.keys.key import KeyWish
from om_server.account.operations import AccountOperations
from om_server.account.organization import Organization, OrganizationChange, Team
from om_server.core.errors import AlreadyExists, NotFound, Unauthenticated
from om_server.core.ids import id_pattern
from om_server.core.page import PageRequest
from om_server.rpc.caller import Scope
from om_server.storage.database import Database
from tests.server.account.harness import SECOND, START, SetClock, create

DEVELOPMENT_KEY = "om_dev_test_key"
ALL = PageRequest.of(200)


def test_an_organization_begins_with_one_team(accounts: AccountOperations) -> None:
    organization = accounts.create_organization("Haberdashery")

    assert accounts.get_organization(organization.organization_id) == organization
    assert id_pattern("org").fullmatch(organization.organization_id)
    [team] = accounts.list_teams(organization.organization_id, ALL).items
    assert (team.display_name, team.key_count) == ("Default", 0)


def test_an_unknown_organization_is_not_found(accounts: AccountOperations) -> None:
    with pytest.raises(NotFound):
        accounts.get_organization("org_1")


def test_the_default_organization_is_the_oldest(accounts: AccountOperations, clock: SetClock) -> None:
    first = accounts.default_organization()
    clock.advance(1)
    accounts.create_organization("Later")

    assert accounts.default_organization() == first


def test_a_team_name_is_taken_once_in_an_organization(accounts: AccountOperations, team: Team) -> None:
    with pytest.raises(AlreadyExists) as raised:
        accounts.create_team(team.organization_id, "Hats")

    assert raised.value.metadata == {"kind": "team", "id": "Hats"}
    other = accounts.create_organization("Another")
    accounts.create_team(other.organization_id, "Hats")


@pytest.mark.acceptance("B-225")
def test_a_team_is_renamed_to_a_name_that_is_free(accounts: AccountOperations, team: Team) -> None:
    create(accounts, team)
    accounts.create_team(team.organization_id, "Gloves")

    renamed = accounts.rename_team(team.organization_id, team.team_id, display_name="Caps")
    again = accounts.rename_team(team.organization_id, team.team_id, display_name="Caps")
    with pytest.raises(AlreadyExists):
        accounts.rename_team(team.organization_id, team.team_id, display_name="Gloves")

    assert (renamed.display_name, renamed.key_count) == ("Caps", 1)
    assert again == renamed == accounts.get_team(team.organization_id, team.team_id)
    other = accounts.create_organization("Another")
    with pytest.raises(NotFound):
        accounts.rename_team(other.organization_id, team.team_id, display_name="Mine")


def test_an_organization_changes_what_is_given(
    accounts: AccountOperations, organization: Organization
) -> None:
    organization_id = organization.organization_id

    renamed = accounts.update_organization(organization_id, OrganizationChange(display_name="Hats & Co"))
    changed = accounts.update_organization(
        organization_id,
        OrganizationChange(user_wallet_required=True, unknown_outcome_policy="suspend"),
    )

    assert renamed == dataclasses.replace(organization, display_name="Hats & Co")
    assert changed == dataclasses.replace(
        renamed, user_wallet_required=True, unknown_outcome_policy="suspend"
    )
    assert accounts.get_organization(organization_id) == changed
    assert accounts.update_organization(organization_id, OrganizationChange()) == changed


def test_a_team_is_made_only_if_it_is_missing(accounts: AccountOperations, team: Team) -> None:
    assert accounts.ensure_team(team.organization_id, "Hats") == team
    assert accounts.ensure_team(team.organization_id, "Gloves") != team


def test_a_team_of_another_organization_is_not_found(accounts: AccountOperations, team: Team) -> None:
    other = accounts.create_organization("Another")

    with pytest.raises(NotFound):
        accounts.get_team(other.organization_id, team.team_id)
    with pytest.raises(NotFound):
        accounts.create_key(other.organization_id, KeyWish(team.team_id))


def test_a_team_counts_the_keys_that_work(accounts: AccountOperations, team: Team, clock: SetClock) -> None:
    create(accounts, team)
    create(accounts, team, expire_time=START + SECOND)
    revoked = create(accounts, team).key
    accounts.revoke_key(team.organization_id, revoked.key_id)

    assert accounts.get_team(team.organization_id, team.team_id).key_count == 2
    clock.advance(1)
    assert accounts.get_team(team.organization_id, team.team_id).key_count == 1
    counts = {one.display_name: one.key_count for one in accounts.list_teams(team.organization_id, ALL).items}
    assert counts == {"Default": 0, "Hats": 1}


def test_lists_go_from_the_oldest_page_by_page(
    accounts: AccountOperations, organization: Organization, clock: SetClock
) -> None:
    for number in range(3):
        clock.advance(1)
        accounts.create_team(organization.organization_id, f"Team {number}")

    first = accounts.list_teams(organization.organization_id, PageRequest.of(2))
    rest = accounts.list_teams(organization.organization_id, PageRequest.of(2, first.next_page_token))

    assert [team.display_name for team in (*first.items, *rest.items)] == [
        "Default", "Team 0", "Team 1", "Team 2",
    ]  # fmt: skip
    assert rest.next_page_token == ""


def test_what_is_of_one_moment_is_on_one_page_each(accounts: AccountOperations, team: Team) -> None:
    made = {create(accounts, team).key.key_id for _ in range(5)}
    seen: list[str] = []
    token, pages = "", 0
    while pages == 0 or token:
        page = accounts.list_keys(team.organization_id, PageRequest.of(2, token))
        seen += [key.key_id for key in page.items]
        token, pages = page.next_page_token, pages + 1

    assert (sorted(seen), pages) == (sorted(made), 3)


def test_development_is_seeded_once(accounts: AccountOperations, clock: SetClock) -> None:
    organization_id = accounts.seed_development(DEVELOPMENT_KEY)
    clock.advance(60)

    assert accounts.seed_development(DEVELOPMENT_KEY) == organization_id == development.ORGANIZATION_ID
    key = accounts.authenticate_key(DEVELOPMENT_KEY)
    assert (key.team_id, set(key.scopes)) == (development.TEAM_ID, set(Scope))
    assert key.create_time == START
    [team] = accounts.list_teams(organization_id, ALL).items
    assert (team.display_name, team.key_count) == ("Default", 1)


def test_production_never_lets_the_public_key_in(accounts: AccountOperations) -> None:
    accounts.seed_development(DEVELOPMENT_KEY)

    accounts.retire_development()

    with pytest.raises(Unauthenticated):
        accounts.authenticate_key(DEVELOPMENT_KEY)
    accounts.seed_development(DEVELOPMENT_KEY)
    accounts.authenticate_key(DEVELOPMENT_KEY)


def test_there_may_be_nothing_to_retire(accounts: AccountOperations) -> None:
    accounts.retire_development()

    with pytest.raises(Unauthenticated):
        accounts.authenticate_key(DEVELOPMENT_KEY)


def test_whom_events_name_is_recorded_once(accounts: AccountOperations, organization: Organization) -> None:
    organization_id = organization.organization_id

    accounts.note_sightings(organization_id, customers=["acme", "acme"], users={"u1", ""}, now=5)
    accounts.note_sightings(
        organization_id, customers=["acme", "zeta", organization_id], users=["u1", "u2"], now=9
    )

    customers = accounts.list_customers(organization_id, ALL)
    assert [(one.customer_id, one.create_time) for one in customers.items] == [("acme", 5), ("zeta", 9)]
    assert customers.total_size == 2
    users = accounts.list_users(organization_id, ALL)
    assert [(one.user_id, one.create_time, one.update_time) for one in users.items] == [
        ("u1", 5, 5),
        ("u2", 9, 9),
    ]


def test_sightings_are_part_of_the_transaction_around_them(
    accounts: AccountOperations, organization: Organization, database: Database
) -> None:
    def settle_and_fail() -> None:
        accounts.note_sightings(organization.organization_id, customers=["acme"], users=["u"], now=5)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        database.write(settle_and_fail)

    assert not accounts.list_customers(organization.organization_id, ALL).items
    assert not accounts.list_users(organization.organization_id, ALL).items


def test_nothing_seen_writes_nothing(accounts: AccountOperations, organization: Organization) -> None:
    accounts.note_sightings(organization.organization_id, customers=[], users=[], now=5)

    assert accounts.list_customers(organization.organization_id, ALL).total_size == 0


def test_a_list_may_pass_over_its_beginning(accounts: AccountOperations, organization: Organization) -> None:
    organization_id = organization.organization_id
    for time, name in enumerate("abcd"):
        accounts.note_sightings(organization_id, customers=[name], users=[], now=time)

    page = accounts.list_customers(organization_id, PageRequest.of(2, skip=1))
    after = accounts.list_customers(organization_id, PageRequest.of(2, page.next_page_token))

    assert [one.customer_id for one in page.items] == ["b", "c"]
    assert [one.customer_id for one in after.items] == ["d"]
    assert page.total_size == after.total_size == 4


@pytest.mark.parametrize(
    ("search", "found"),
    [("", ["Ann", "b%b", "bob"]), ("AN", ["Ann"]), ("%", ["b%b"]), ("b_b", []), ("b", ["b%b", "bob"])],
)
def test_users_are_found_by_part_of_their_id(
    accounts: AccountOperations, organization: Organization, search: str, found: list[str]
) -> None:
    accounts.note_sightings(organization.organization_id, customers=[], users=["bob", "Ann", "b%b"], now=5)

    page = accounts.list_users(organization.organization_id, ALL, search=search)

    assert [user.user_id for user in page.items] == found
    assert page.total_size == len(found)


def test_a_user_belongs_to_an_organization(accounts: AccountOperations, organization: Organization) -> None:
    accounts.note_sightings(organization.organization_id, customers=[], users=["u1"], now=5)
    other = accounts.create_organization("Another")

    assert accounts.get_user(organization.organization_id, "u1").metadata_json == "{}"
    with pytest.raises(NotFound):
        accounts.get_user(other.organization_id, "u1")


class Dimension(enum.Enum):
    TEAM = "team_id"
    KEY = "key_id"
    MODEL = "model"


def test_teams_and_keys_have_names(accounts: AccountOperations, team: Team) -> None:
    named, nameless = create(accounts, team, description="Shop").key, create(accounts, team).key
    accounts.create_organization("Another")

    teams = accounts.names(team.organization_id, Dimension.TEAM)
    assert sorted(teams.values()) == ["Default", "Hats"]
    assert teams[team.team_id] == "Hats"
    assert accounts.names(team.organization_id, Dimension.KEY) == {
        named.key_id: "Shop",
        nameless.key_id: nameless.masked_secret,
    }
    assert accounts.names(team.organization_id, Dimension.MODEL) == {}
