"""What owners do about people, on both databases."""

import json

import pytest

from om_server.account.people.invite import INVITE_LIFE
from om_server.account.people.mail import MailUndelivered
from om_server.account.people.member import LastOwner, Role
from om_server.account.people.session import NewSession
from om_server.core.errors import AlreadyExists, NotFound, Overloaded, PageTokenInvalid, Unauthenticated
from om_server.core.page import PageRequest
from om_server.rpc.caller import Principal
from tests.server.account.harness import SECOND, SetClock
from tests.server.account.people.house import House

BOB = "bob@example.com"
NOBODY = "mem_" + "0" * 26


def organization_of(session: NewSession) -> str:
    return session.organization.organization_id


def test_members_are_listed_oldest_first_page_by_page(house: House, clock: SetClock) -> None:
    owner = house.sign_up()
    clock.advance(1)
    bob = house.join(owner, BOB)
    clock.advance(1)
    eve = house.join(owner, "eve@example.com")
    house.sign_up("zoe@example.com", organization="Looms")

    first = house.people.members.list_members(organization_of(owner), PageRequest(2))
    rest = house.people.members.list_members(organization_of(owner), PageRequest(2, first.next_page_token))

    assert (*first.items, *rest.items) == (owner.member, bob.member, eve.member)
    assert not rest.next_page_token
    with pytest.raises(PageTokenInvalid):
        house.people.members.list_invites(organization_of(owner), PageRequest(2, first.next_page_token))


def test_a_new_role_holds_at_the_next_call(house: House) -> None:
    owner = house.sign_up()
    bob = house.join(owner, BOB)

    changed = house.people.members.update_member(
        organization_of(owner), bob.member.member_id, role=Role.OWNER
    )

    assert changed.role is Role.OWNER
    assert house.authenticator.authenticate(bob.secret).principal is Principal.OWNER
    house.people.members.update_member(organization_of(owner), owner.member.member_id, role=Role.MEMBER)
    assert house.authenticator.authenticate(owner.secret).principal is Principal.MEMBER


def test_a_removed_member_is_out_at_the_next_call_and_his_address_is_free(house: House) -> None:
    owner = house.sign_up()
    bob = house.join(owner, BOB)

    house.people.members.remove_member(organization_of(owner), bob.member.member_id)

    with pytest.raises(Unauthenticated):
        house.authenticator.authenticate(bob.secret)
    members = house.people.members.list_members(organization_of(owner), PageRequest())
    assert members.items == (owner.member,)
    assert house.sign_up(BOB, organization="Looms").member.member_id != bob.member.member_id


def test_the_last_owner_is_neither_removed_nor_made_a_member(house: House) -> None:
    owner = house.sign_up()
    bob = house.join(owner, BOB)
    me = owner.member.member_id

    with pytest.raises(LastOwner):
        house.people.members.remove_member(organization_of(owner), me)
    with pytest.raises(LastOwner):
        house.people.members.update_member(organization_of(owner), me, role=Role.MEMBER)
    house.people.members.update_member(organization_of(owner), me, role=Role.OWNER)
    house.people.members.update_member(organization_of(owner), bob.member.member_id, role=Role.OWNER)

    house.people.members.remove_member(organization_of(owner), me)
    with pytest.raises(LastOwner):
        house.people.members.remove_member(organization_of(owner), bob.member.member_id)


@pytest.mark.parametrize("whose", ["random", "strangers"])
def test_a_member_of_another_organization_is_like_a_random_id(house: House, whose: str) -> None:
    owner = house.sign_up()
    stranger = house.sign_up("zoe@example.com", organization="Looms")
    house.join(stranger, BOB, role=Role.OWNER)
    member_id = NOBODY if whose == "random" else stranger.member.member_id

    with pytest.raises(NotFound):
        house.people.members.update_member(organization_of(owner), member_id, role=Role.MEMBER)
    with pytest.raises(NotFound):
        house.people.members.remove_member(organization_of(owner), member_id)

    assert house.authenticator.authenticate(stranger.secret).principal is Principal.OWNER


def test_the_mail_has_the_link_and_names_the_organization(house: House) -> None:
    owner = house.sign_up(organization="Engines\nand Looms")

    house.people.members.create_invite(organization_of(owner), " Bob@Example.com ", role=Role.MEMBER)

    [mail] = house.mail.sent
    assert (mail.recipient, mail.subject) == (BOB, "You are invited to Engines and Looms on OpenMonetize")
    assert f"https://om.example/join?secret={house.mail.last_secret('join')}" in mail.text
    assert house.mail.last_secret("join") not in repr(mail)


def test_a_second_invite_takes_the_place_of_the_first(house: House) -> None:
    owner = house.sign_up()
    first = house.people.members.create_invite(organization_of(owner), BOB, role=Role.MEMBER)
    secret = house.mail.last_secret("join")

    second = house.people.members.create_invite(organization_of(owner), BOB, role=Role.OWNER)

    assert house.people.members.list_invites(organization_of(owner), PageRequest()).items == (second,)
    assert first.invite_id != second.invite_id
    with pytest.raises(Unauthenticated):
        house.people.entrance.accept_invite(secret, password="0123456789", display_name="")
    joined = house.people.entrance.accept_invite(
        house.mail.last_secret("join"), password="0123456789", display_name="Bob"
    )
    assert (joined.member.role, joined.member.display_name) == (Role.OWNER, "Bob")


def test_open_invites_are_listed_oldest_first(house: House, clock: SetClock) -> None:
    owner = house.sign_up()
    invites = []
    for name in ("a", "b", "c"):
        clock.advance(1)
        address = f"{name}@example.com"
        invites.append(house.people.members.create_invite(organization_of(owner), address, role=Role.MEMBER))

    first = house.people.members.list_invites(organization_of(owner), PageRequest(2))
    rest = house.people.members.list_invites(organization_of(owner), PageRequest(2, first.next_page_token))
    assert [*first.items, *rest.items] == invites

    clock.advance(INVITE_LIFE // SECOND - 2)
    assert list(house.people.members.list_invites(organization_of(owner), PageRequest()).items) == invites[1:]


def test_an_invite_that_was_taken_back_lets_nobody_in(house: House) -> None:
    owner = house.sign_up()
    invite = house.people.members.create_invite(organization_of(owner), BOB, role=Role.MEMBER)
    stranger = house.sign_up("zoe@example.com", organization="Looms")

    with pytest.raises(NotFound):
        house.people.members.revoke_invite(organization_of(stranger), invite.invite_id)
    house.people.members.revoke_invite(organization_of(owner), invite.invite_id)

    with pytest.raises(Unauthenticated):
        house.people.entrance.accept_invite(
            house.mail.last_secret("join"), password="0123456789", display_name=""
        )
    with pytest.raises(NotFound):
        house.people.members.revoke_invite(organization_of(owner), invite.invite_id)


def test_who_is_a_member_is_not_invited_again(house: House) -> None:
    owner = house.sign_up()

    with pytest.raises(AlreadyExists):
        house.people.members.create_invite(organization_of(owner), "ADA@example.com", role=Role.MEMBER)

    assert not house.mail.sent


def test_an_invite_survives_a_mail_server_that_is_away(house: House) -> None:
    owner = house.sign_up()
    house.mail.away = True

    with pytest.raises(MailUndelivered):
        house.people.members.create_invite(organization_of(owner), BOB, role=Role.MEMBER)
    assert len(house.people.members.list_invites(organization_of(owner), PageRequest()).items) == 1

    house.mail.away = False
    assert house.join(owner, BOB).member.email == BOB


def test_nobody_can_be_flooded_with_invites(house: House, clock: SetClock) -> None:
    owner = house.sign_up()
    for _ in range(5):
        house.people.members.create_invite(organization_of(owner), BOB, role=Role.MEMBER)

    with pytest.raises(Overloaded):
        house.people.members.create_invite(organization_of(owner), BOB, role=Role.MEMBER)

    clock.advance(3600)
    house.people.members.create_invite(organization_of(owner), BOB, role=Role.MEMBER)
    assert len(house.mail.sent) == 6


def test_an_organization_writes_to_a_hundred_addresses_in_an_hour(house: House, clock: SetClock) -> None:
    """Whoever may sign up could have us write to the whole world otherwise, under a name of his own."""
    owner, other = house.sign_up(), house.sign_up("zoe@example.com", organization="Looms")

    def invite(session: NewSession, email: str) -> None:
        house.people.members.create_invite(organization_of(session), email, role=Role.MEMBER)

    for number in range(100):
        invite(owner, f"bob{number}@example.com")
    with pytest.raises(Overloaded):
        invite(owner, BOB)

    invite(other, BOB)
    clock.advance(3600)
    invite(owner, BOB)
    assert len(house.mail.sent) == 102


def test_the_audit_log_tells_what_was_done_about_whom(house: House) -> None:
    owner = house.sign_up()
    bob = house.join(owner, BOB).member.member_id
    house.people.members.update_member(organization_of(owner), bob, role=Role.OWNER)
    house.people.members.update_member(organization_of(owner), bob, role=Role.OWNER)
    house.people.members.remove_member(organization_of(owner), bob)

    records = house.registry.audit.newest(organization_of(owner), before=None, limit=50)

    member = {"display_name": "", "email": BOB, "role": "MEMBER"}
    told = [
        (record.action, record.object_id, record.before and json.loads(record.before)) for record in records
    ]
    assert told[:2] == [
        ("RemoveMember", bob, member | {"role": "OWNER"}),
        ("UpdateMember", bob, member),
    ]
    assert [action for action, *_ in told[2:]] == [
        "AcceptInvite",
        "CreateInvite",
        "SignUp",
        "CreateOrganization",
    ]
