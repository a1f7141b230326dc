"""Organizations as whoever runs the installation sees them, and what suspending one does, over a database."""

import secrets

import pytest

from om_server.account.administration.operations import Administration, Figures
from om_server.account.administration.overview import OrganizationSearch
from om_server.account.registration.registration import Registration, Tier
from om_server.account.registration.store import RegistrationStore
from om_server.account.store import AccountStore
from om_server.core.errors import NotFound, Unauthenticated
from om_server.core.ids import IdSource
from om_server.core.page import PageRequest
from om_server.rpc.caller import actor
from om_server.storage.audit import AuditTrail
from om_server.storage.change_log import ChangeRow
from om_server.storage.database import Database
from tests.server.account.harness import SetClock, create, make_operations
from tests.server.account.people.house import PASSWORD, make_house

ALL = OrganizationSearch()
PAGE = PageRequest.of()


class Site:
    """Accounts and their administration, with figures that the test sets."""

    def __init__(self, database: Database, clock: SetClock) -> None:
        self.database, self.clock = database, clock
        self.accounts = make_operations(database, clock)
        self.balances: dict[str, int] = {}
        ids = IdSource(lambda: clock.now // 1000, secrets.token_bytes)
        self.administration = Administration(
            database,
            AccountStore(database),
            figures=Figures(lambda _ids: self.balances, lambda _organization_id: 7),
            audit=AuditTrail(database, ids=ids, clock=clock, actor=actor),
            clock=clock,
        )

    def organization(self, name: str, registration: Registration | None = None) -> str:
        """Make an organization, a second after the one before."""
        self.clock.advance(1)
        organization_id = self.accounts.create_organization(name).organization_id
        if registration is not None:
            store, now = RegistrationStore(), self.clock.now
            self.database.write(lambda: store.add(organization_id, registration, now=now))
        return organization_id

    def found(self, search: OrganizationSearch = ALL, page: PageRequest = PAGE) -> tuple[list[str], int]:
        """The names that a search gives, and how many there are."""
        rows, total = self.administration.list_organizations(search, page)
        return [row.organization.display_name for row in rows], total

    def changes(self) -> list[tuple[str, int]]:
        """What edges are told of keys."""
        rows = self.database.read(lambda: list(ChangeRow.select().order_by(ChangeRow.change_id)))
        return [(row.subject_id, row.value) for row in rows if row.kind == "key_revoked"]

    def actions(self, organization_id: str) -> list[str]:
        records = self.accounts.list_audit_records(organization_id, PAGE).items
        return [
            record.action for record in records if record.action.endswith(("dOrganization", "eOrganization"))
        ]


@pytest.fixture(name="site")
def make_site(database: Database, clock: SetClock) -> Site:
    return Site(database, clock)


def test_organizations_are_listed_newest_first_with_figures(site: Site) -> None:
    first = site.organization("First")
    second = site.organization("Second", Registration("ada@second.example", Tier.GROWTH))
    site.accounts.create_user(second, "u1", email="", metadata_json="{}")
    site.balances = {first: 5}

    rows, total = site.administration.list_organizations(ALL, PAGE)

    assert total == 2
    assert [(row.organization.organization_id, row.user_count, row.balance) for row in rows] == [
        (second, 1, 0),
        (first, 0, 5),
    ]
    assert [row.registration for row in rows] == [
        Registration("ada@second.example", Tier.GROWTH),
        Registration("", Tier.STARTER),
    ]
    assert site.found(page=PageRequest.of(1, skip=1)) == (["First"], 2)


def test_a_search_is_by_name_address_plan_and_standing(site: Site) -> None:
    acme = site.organization("Acme 100%", Registration("ada@hats.example", Tier.GROWTH))
    site.organization("Bees", Registration("bob@bees.example", Tier.ENTERPRISE))
    site.organization("Plain")
    site.administration.suspend(acme)

    assert site.found(OrganizationSearch("ACME")) == (["Acme 100%"], 1)
    assert site.found(OrganizationSearch("@BEES"))[0] == ["Bees"]
    assert site.found(OrganizationSearch("%"))[0] == ["Acme 100%"]
    assert site.found(OrganizationSearch(tier=Tier.STARTER))[0] == ["Plain"]
    assert site.found(OrganizationSearch(suspended=True))[0] == ["Acme 100%"]
    assert site.found(OrganizationSearch(suspended=False))[0] == ["Plain", "Bees"]


def test_everything_is_counted(site: Site) -> None:
    first = site.organization("First")
    site.organization("Second", Registration("ada@second.example", Tier.GROWTH))
    site.accounts.create_user(first, "u1", email="", metadata_json="{}")
    site.balances = {first: 3, "other": 4}
    site.administration.suspend(first)

    found = site.administration.installation()

    assert (found.organization_count, found.suspended_count, found.user_count, found.balance) == (2, 1, 1, 7)
    assert found.tiers == {Tier.STARTER: 1, Tier.GROWTH: 1, Tier.ENTERPRISE: 0}


def test_a_suspended_organization_s_keys_are_refused_until_it_is_active(site: Site) -> None:
    ours, theirs = site.organization("Ours"), site.organization("Theirs")
    (team,) = site.accounts.list_teams(ours, PAGE).items
    (other,) = site.accounts.list_teams(theirs, PAGE).items
    new, foreign = create(site.accounts, team), create(site.accounts, other)
    key_id = new.key.key_id

    suspended = site.administration.suspend(ours)

    assert suspended.organization.suspend_time == site.clock.now
    with pytest.raises(Unauthenticated):
        site.accounts.authenticate_key(new.secret)
    assert site.accounts.authenticate_key(foreign.secret).key_id == foreign.key.key_id
    # Late events still find whose they are, and nothing new begins.
    assert site.accounts.keys_by_id([key_id])[key_id].ended(site.clock.now)
    assert site.accounts.list_keys(ours, PAGE).items[0].life == new.key.life

    site.administration.activate(ours)

    assert site.accounts.authenticate_key(new.secret).key_id == key_id
    assert not site.accounts.keys_by_id([key_id])[key_id].ended(site.clock.now)


def test_edges_are_told_of_each_key_that_had_not_ended(site: Site) -> None:
    organization_id = site.organization("Ours")
    (team,) = site.accounts.list_teams(organization_id, PAGE).items
    kept, revoked = create(site.accounts, team).key.key_id, create(site.accounts, team).key.key_id
    site.accounts.revoke_key(organization_id, revoked)
    before = len(site.changes())

    site.administration.suspend(organization_id)
    suspend_time = site.clock.now
    site.clock.advance(5)
    site.administration.activate(organization_id)

    assert site.changes()[before:] == [(kept, suspend_time), (kept, 0)]


def test_a_repeat_changes_nothing_and_each_change_is_audited(site: Site) -> None:
    organization_id = site.organization("Ours")
    site.administration.suspend(organization_id)
    first = site.clock.now
    site.clock.advance(5)

    assert site.administration.suspend(organization_id).organization.suspend_time == first
    site.administration.activate(organization_id)
    site.administration.activate(organization_id)

    assert site.actions(organization_id) == [
        "ActivateOrganization",
        "SuspendOrganization",
        "CreateOrganization",
    ]


def test_an_organization_that_nobody_has_is_not_found(site: Site) -> None:
    for act in (site.administration.find, site.administration.suspend, site.administration.activate):
        with pytest.raises(NotFound):
            act("org_nobody")


def test_one_organization_has_the_number_of_its_events(site: Site) -> None:
    overview, events = site.administration.find(site.organization("Ours"))

    assert (overview.organization.display_name, events) == ("Ours", 7)


def test_sessions_of_a_suspended_organization_are_refused_and_none_begins(
    site: Site, database: Database, clock: SetClock
) -> None:
    house = make_house(database, clock)
    session = house.sign_up()
    organization_id = session.organization.organization_id
    assert house.authenticator.authenticate(session.secret).organization_id == organization_id

    site.administration.suspend(organization_id)

    with pytest.raises(Unauthenticated):
        house.authenticator.authenticate(session.secret)
    with pytest.raises(Unauthenticated):
        house.people.entrance.sign_in("ada@example.com", PASSWORD)

    site.administration.activate(organization_id)

    assert house.authenticator.authenticate(session.secret).organization_id == organization_id
