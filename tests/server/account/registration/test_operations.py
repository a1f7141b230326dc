"""Registrations over a real database. Defect B46: anybody registers any number of organizations."""

import secrets

import pytest

from om_server.account.newcomers import FOUNDED_PER_HOUR, Allowance, Newcomers, SignUpClosed
from om_server.account.registration.operations import Registering
from om_server.account.registration.registration import Registration, Tier
from om_server.core.errors import AlreadyExists, InvalidArgument, NotFound, Overloaded
from om_server.core.ids import IdSource
from om_server.core.page import PageRequest
from om_server.rpc.caller import Scope, actor
from om_server.storage.audit import AuditTrail
from om_server.storage.database import Database
from om_server.wiring import PeopleSettings, build

NOW = 1_763_700_000_000_000
HOUR = 3_600_000_000


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def registering(database: Database, clock: Clock, *, sign_up_open: bool = True) -> Registering:
    platform = build(database, clock=clock, people=PeopleSettings(sign_up_open=sign_up_open))
    ids = IdSource(lambda: clock.now // 1000, secrets.token_bytes)
    audit = AuditTrail(database, ids=ids, clock=clock, actor=actor)
    newcomers = Newcomers(welcome=sign_up_open, clock=clock)
    return Registering(database, platform.account, audit=audit, clock=clock, newcomers=newcomers)


def test_an_organization_a_team_and_a_key_come_together(database: Database, clock: Clock) -> None:
    desk = registering(database, clock)

    done = desk.register("Acme", email=" Ada@Acme.example ", tier=Tier.GROWTH)

    assert done.registration == Registration("ada@acme.example", Tier.GROWTH)
    assert done.new_key.key.scopes == frozenset(Scope)
    assert desk.find(done.organization.organization_id) == (done.organization, done.registration)
    accounts = build(database, clock=clock).account
    assert accounts.authenticate_key(done.new_key.secret).key_id == done.new_key.key.key_id
    organization_id = done.organization.organization_id
    assert [desk.plan(organization_id), desk.plan("org_unknown")] == ["GROWTH", "STARTER"]
    records = accounts.list_audit_records(organization_id, PageRequest()).items
    assert {(record.action, record.object_id) for record in records} == {
        ("CreateOrganization", organization_id),
        ("RegisterOrganization", organization_id),
        ("CreateKey", done.new_key.key.key_id),
    }


def test_a_taken_address_creates_nothing(database: Database, clock: Clock) -> None:
    desk = registering(database, clock)
    desk.register("Acme", email="ada@acme.example", tier=Tier.STARTER)
    accounts = build(database, clock=clock).account
    oldest = accounts.default_organization()

    with pytest.raises(AlreadyExists):
        desk.register("Other", email="ADA@acme.example", tier=Tier.STARTER)

    assert oldest.display_name == "Acme"
    (team,) = accounts.list_teams(oldest.organization_id, PageRequest()).items
    assert team.key_count == 1


def test_what_is_no_address_is_refused(database: Database, clock: Clock) -> None:
    with pytest.raises(InvalidArgument):
        registering(database, clock).register("Acme", email="nowhere", tier=Tier.STARTER)


def test_where_sign_up_is_closed_nobody_registers(database: Database, clock: Clock) -> None:
    with pytest.raises(SignUpClosed):
        registering(database, clock, sign_up_open=False).register(
            "Acme", email="ada@acme.example", tier=Tier.STARTER
        )


def test_an_organization_that_did_not_register_has_no_address(database: Database, clock: Clock) -> None:
    organization = build(database, clock=clock).account.create_organization("Acme")

    found = registering(database, clock).find(organization.organization_id)

    assert found[1] == Registration("", Tier.STARTER)
    with pytest.raises(NotFound):
        registering(database, clock).find("org_unknown")


def test_only_so_many_register_in_an_hour(database: Database, clock: Clock) -> None:
    desk = registering(database, clock)
    for _ in range(FOUNDED_PER_HOUR):
        # Refused ones count too, so that addresses cannot be tried out.
        with pytest.raises(InvalidArgument):
            desk.register("Acme", email="nowhere", tier=Tier.STARTER)

    with pytest.raises(Overloaded):
        desk.register("Acme", email="ada@acme.example", tier=Tier.STARTER)
    clock.now += HOUR
    desk.register("Acme", email="ada@acme.example", tier=Tier.STARTER)


def test_an_allowance_begins_anew_with_each_hour() -> None:
    allowance = Allowance(2)

    assert [allowance.take(NOW) for _ in range(3)] == [True, True, False]
    assert allowance.take(NOW + HOUR)
