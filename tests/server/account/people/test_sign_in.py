"""How people come in, on both databases."""

import pytest

from om_server.account.newcomers import FOUNDED_PER_HOUR, SignUpClosed
from om_server.account.people.attempt import SignInLimited
from om_server.account.people.invite import INVITE_LIFE, LinkInvalid
from om_server.account.people.member import Role
from om_server.account.people.password import Cost
from om_server.account.people.record import MODELS, MemberRow, SecretLookupRow, SessionRow
from om_server.account.people.session import ABSOLUTE_LIMIT, IDLE_LIMIT, NewSession
from om_server.account.people.sign_in import Identity, SignUp
from om_server.core.errors import (
    AlreadyExists,
    DependencyUnavailable,
    InvalidArgument,
    Overloaded,
    Unauthenticated,
)
from om_server.core.page import PageRequest
from om_server.rpc.caller import Principal
from om_server.storage.audit import AuditRow
from om_server.storage.database import Database
from tests.server.account.harness import SECOND, SetClock
from tests.server.account.people.house import PASSWORD, House, make_house

WRONG = "another horse battery"
ADA = "ada@example.com"


def who(house: House, session: NewSession) -> tuple[Principal, str, str]:
    caller = house.authenticator.authenticate(session.secret)
    return caller.principal, caller.organization_id, caller.member_id


def actions(house: House, session: NewSession) -> list[tuple[str, str]]:
    """What the audit log holds of the session's organization, oldest first."""
    records = house.registry.audit.newest(session.organization.organization_id, before=None, limit=50)
    return [(record.action, record.actor) for record in reversed(records)]


def test_who_signs_up_owns_a_new_organization_with_a_team(house: House) -> None:
    session = house.sign_up(" Ada@Example.com ")
    organization_id = session.organization.organization_id

    assert who(house, session) == (Principal.OWNER, organization_id, session.member.member_id)
    assert (session.member.email, session.member.role) == (ADA, Role.OWNER)
    teams = house.registry.database.read(
        lambda: house.registry.organizations.teams(organization_id, now=session.session.create_time)
    )
    assert [team.display_name for team in teams] == ["Default"]
    assert actions(house, session) == [
        ("CreateOrganization", session.member.member_id),
        ("SignUp", session.member.member_id),
    ]


def test_an_address_has_one_account(house: House) -> None:
    house.sign_up()

    with pytest.raises(AlreadyExists):
        house.sign_up("ADA@example.com", organization="Looms")

    assert house.registry.database.read(MemberRow.select().count) == 1


def test_a_sign_up_that_is_refused_leaves_no_organization(house: House) -> None:
    first = house.sign_up()
    with pytest.raises(AlreadyExists):
        house.sign_up(organization="Looms")

    oldest = house.registry.database.read(house.registry.organizations.oldest_organization)
    assert oldest == first.organization
    assert house.registry.database.read(SessionRow.select().count) == 1


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_short_password_is_refused(house: House) -> None:
    with pytest.raises(InvalidArgument):
        house.people.entrance.sign_up(SignUp(ADA, "Engines", password="short"))


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_where_sign_up_is_closed_nobody_signs_up(database: Database, clock: SetClock) -> None:
    house = make_house(database, clock, sign_up_open=False)

    with pytest.raises(SignUpClosed):
        house.sign_up()
    with pytest.raises(SignUpClosed):
        house.people.entrance.sign_in_verified(Identity(ADA))


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_only_so_many_sign_up_in_an_hour(house: House, clock: SetClock) -> None:
    house.sign_up()
    for _ in range(FOUNDED_PER_HOUR - 1):
        # A taken address counts too, so that addresses cannot be tried out.
        with pytest.raises(AlreadyExists):
            house.sign_up()

    with pytest.raises(Overloaded):
        house.sign_up("bob@example.com")
    with pytest.raises(Overloaded):
        house.people.entrance.sign_in_verified(Identity("bob@example.com"))
    house.people.entrance.sign_in(ADA, PASSWORD)
    clock.advance(3600)
    house.sign_up("bob@example.com")


def test_the_right_password_starts_a_session(house: House) -> None:
    first = house.sign_up()

    session = house.people.entrance.sign_in("Ada@example.com", PASSWORD)

    assert who(house, session) == who(house, first)
    assert session.secret != first.secret
    assert session.organization == first.organization
    assert actions(house, session)[-1] == ("SignIn", session.member.member_id)


def test_an_unknown_address_and_a_wrong_password_are_one_answer(house: House) -> None:
    house.sign_up()

    with pytest.raises(Unauthenticated) as unknown:
        house.people.entrance.sign_in("bob@example.com", WRONG)
    with pytest.raises(Unauthenticated) as wrong:
        house.people.entrance.sign_in(ADA, WRONG)

    assert unknown.value.message == wrong.value.message
    assert type(unknown.value) is type(wrong.value)


def test_no_secret_is_kept_as_it_is(house: House, database: Database) -> None:
    session = house.sign_up()
    house.people.members.create_invite(
        session.organization.organization_id, "bob@example.com", role=Role.MEMBER
    )
    house.people.resets.request(ADA)
    secrets = [session.secret, PASSWORD, house.mail.last_secret("reset")]

    kept = [
        str(row)
        for model in (*MODELS, AuditRow)
        for row in database.read(lambda model=model: list(model.select().tuples()))  # type: ignore[misc] # A default binds it.
    ]
    assert len(kept) >= len(MODELS)
    assert not [secret for secret in secrets if any(secret in row for row in kept)]


@pytest.mark.parametrize("email", [ADA, "nobody@example.com"])
def test_ten_wrong_passwords_make_everybody_wait(house: House, clock: SetClock, email: str) -> None:
    house.sign_up()
    for _ in range(10):
        with pytest.raises(Unauthenticated):
            house.people.entrance.sign_in(email, WRONG)

    clock.advance(60)
    with pytest.raises(SignInLimited) as limited:
        house.people.entrance.sign_in(email, PASSWORD)

    assert limited.value.metadata == {"retry_after_s": str(14 * 60)}


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_the_wait_ends_although_somebody_goes_on(house: House, clock: SetClock) -> None:
    house.sign_up()
    for _ in range(10):
        with pytest.raises(Unauthenticated):
            house.people.entrance.sign_in(ADA, WRONG)
    for _ in range(14):
        clock.advance(60)
        with pytest.raises(SignInLimited):
            house.people.entrance.sign_in(ADA, WRONG)

    clock.advance(60)

    house.people.entrance.sign_in(ADA, PASSWORD)


def test_a_sign_in_that_succeeds_is_forgiven_the_failures_before(house: House) -> None:
    house.sign_up()
    for _ in range(2):
        for _ in range(9):
            with pytest.raises(Unauthenticated):
                house.people.entrance.sign_in(ADA, WRONG)
        house.people.entrance.sign_in(ADA, PASSWORD)


def test_a_hash_of_another_cost_is_made_again_at_sign_in(database: Database, clock: SetClock) -> None:
    cheap, dearer = make_house(database, clock), make_house(database, clock, cost=Cost(2, 8))
    cheap.sign_up()

    dearer.people.entrance.sign_in(ADA, PASSWORD)

    [row] = database.read(lambda: list(MemberRow.select()))
    assert "t=2" in row.password_hash
    cheap.people.entrance.sign_in(ADA, PASSWORD)


def test_who_signs_out_is_out_at_the_next_call_and_only_there(house: House) -> None:
    first = house.sign_up()
    second = house.people.entrance.sign_in(ADA, PASSWORD)

    house.people.entrance.sign_out(house.authenticator.authenticate(first.secret))

    with pytest.raises(Unauthenticated):
        house.authenticator.authenticate(first.secret)
    assert who(house, second)
    assert actions(house, second)[-1] == ("SignOut", first.member.member_id)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_use_prolongs_a_session_up_to_its_absolute_end(house: House, clock: SetClock) -> None:
    session = house.sign_up()
    day = 24 * 3600

    for _ in range(ABSOLUTE_LIMIT // SECOND // (5 * day) - 1):
        clock.advance(5 * day)
        assert who(house, session)
    clock.advance(5 * day)

    with pytest.raises(Unauthenticated):
        house.authenticator.authenticate(session.secret)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_session_that_nobody_uses_ends(house: House, clock: SetClock) -> None:
    session = house.sign_up()

    clock.advance(IDLE_LIMIT // SECOND)

    with pytest.raises(Unauthenticated):
        house.authenticator.authenticate(session.secret)


def test_what_ended_by_itself_is_removed_when_something_begins(
    house: House, clock: SetClock, database: Database
) -> None:
    house.sign_up()
    clock.advance(ABSOLUTE_LIMIT // SECOND)

    house.people.entrance.sign_in(ADA, PASSWORD)

    assert database.read(SessionRow.select().count) == 1
    assert database.read(SecretLookupRow.select().count) == 1


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("secret", ["oms_", "oms_" + "a" * 32, "oms_" + "a" * 33, "om_live_x", ""])
def test_what_is_no_secret_of_ours_proves_nothing(house: House, secret: str) -> None:
    with pytest.raises(Unauthenticated):
        house.authenticator.authenticate(secret)


def test_an_invite_lets_in_once(house: House) -> None:
    owner = house.sign_up()

    joined = house.join(owner, "Bob@example.com")

    organization_id = owner.organization.organization_id
    assert who(house, joined) == (Principal.MEMBER, organization_id, joined.member.member_id)
    assert joined.member.email == "bob@example.com"
    house.people.entrance.sign_in("bob@example.com", PASSWORD)
    assert ("AcceptInvite", joined.member.member_id) in actions(house, owner)
    with pytest.raises(LinkInvalid):
        house.people.entrance.accept_invite(
            house.mail.last_secret("join"), password=PASSWORD, display_name=""
        )
    assert not house.people.members.list_invites(organization_id, PageRequest()).items


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_an_invite_ends_after_seven_days(house: House, clock: SetClock) -> None:
    owner = house.sign_up()
    house.people.members.create_invite(
        owner.organization.organization_id, "bob@example.com", role=Role.MEMBER
    )
    clock.advance(INVITE_LIFE // SECOND)

    with pytest.raises(LinkInvalid):
        house.people.entrance.accept_invite(
            house.mail.last_secret("join"), password=PASSWORD, display_name=""
        )


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("secret", ["", "omi_x", "omi_" + "a" * 32, "oms_" + "a" * 32])
def test_a_link_that_nobody_sent_lets_nobody_in(house: House, secret: str) -> None:
    with pytest.raises(LinkInvalid):
        house.people.entrance.accept_invite(secret, password=PASSWORD, display_name="")


def test_a_short_password_leaves_the_invite_open(house: House) -> None:
    owner = house.sign_up()
    house.people.members.create_invite(
        owner.organization.organization_id, "bob@example.com", role=Role.MEMBER
    )
    secret = house.mail.last_secret("join")

    with pytest.raises(InvalidArgument):
        house.people.entrance.accept_invite(secret, password="short", display_name="")

    house.people.entrance.accept_invite(secret, password=PASSWORD, display_name="Bob")


def test_a_person_belongs_to_one_organization_and_the_invite_stays(house: House) -> None:
    ada, bob = house.sign_up(), house.sign_up("bob@example.com", organization="Looms")
    organization_id = ada.organization.organization_id
    house.people.members.create_invite(organization_id, "bob@example.com", role=Role.MEMBER)
    secret = house.mail.last_secret("join")

    with pytest.raises(AlreadyExists):
        house.people.entrance.accept_invite(secret, password=PASSWORD, display_name="")

    assert who(house, bob)[1] == bob.organization.organization_id
    assert len(house.people.members.list_invites(organization_id, PageRequest()).items) == 1


def test_an_identity_provider_signs_in_who_has_an_account(house: House) -> None:
    owner = house.sign_up()
    bob = house.join(owner, "bob@example.com")

    session = house.people.entrance.sign_in_verified(Identity("Bob@Example.com", "Bob"))

    assert session.member == bob.member
    assert who(house, bob)
    house.people.entrance.sign_in("bob@example.com", PASSWORD)


def test_an_identity_provider_signs_up_who_has_none(house: House) -> None:
    session = house.people.entrance.sign_in_verified(Identity(ADA, "Ada Lovelace"))

    assert (session.member.role, session.organization.display_name) == (Role.OWNER, "Ada Lovelace")
    assert house.people.entrance.sign_in_verified(Identity(ADA)).member == session.member
    for password in ("", PASSWORD):
        with pytest.raises(Unauthenticated):
            house.people.entrance.sign_in(ADA, password)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_an_identity_provider_lets_in_who_was_invited_also_where_sign_up_is_closed(
    database: Database, clock: SetClock
) -> None:
    owner = make_house(database, clock).sign_up()
    house = make_house(database, clock, sign_up_open=False)
    house.people.members.create_invite(
        owner.organization.organization_id, "bob@example.com", role=Role.MEMBER
    )
    secret = house.mail.last_secret("join")

    with pytest.raises(LinkInvalid):
        house.people.entrance.sign_in_verified(Identity("eve@example.com"), invite_secret=secret)
    session = house.people.entrance.sign_in_verified(Identity("bob@example.com", "Bob"), invite_secret=secret)

    assert (session.organization, session.member.role) == (owner.organization, Role.MEMBER)


def test_who_took_an_address_before_its_owner_came_is_out_when_the_owner_comes(house: House) -> None:
    squatter = house.sign_up()

    session = house.people.entrance.sign_in_verified(Identity(ADA))

    assert session.member == squatter.member
    with pytest.raises(Unauthenticated):
        house.authenticator.authenticate(squatter.secret)
    with pytest.raises(Unauthenticated):
        house.people.entrance.sign_in(ADA, PASSWORD)
    assert who(house, house.people.entrance.sign_in_verified(Identity(ADA)))
    assert who(house, session)


def test_a_use_that_cannot_be_written_down_costs_nobody_his_call(
    house: House, clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = house.sign_up()
    clock.advance(3600)

    def away(_work: object) -> None:
        raise DependencyUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(house.registry.database, "write", away)
        assert who(house, session)[2] == session.member.member_id
