"""A new password, on both databases."""

from collections.abc import Callable

import pytest

from om_server.account.people.invite import RESET_LIFE, LinkInvalid
from om_server.account.people.mail import MailUndelivered
from om_server.account.people.member import Role
from om_server.account.people.record import PasswordResetRow
from om_server.core.errors import InvalidArgument, Unauthenticated
from om_server.storage.database import Database
from tests.server.account.harness import SECOND, SetClock
from tests.server.account.people.house import PASSWORD, House, make_house

ADA = "ada@example.com"
NEW = "a new horse battery"


def asked(house: House) -> str:
    house.people.resets.request("Ada@Example.com")
    return house.mail.last_secret("reset")


def test_a_link_sets_the_password_once(house: House) -> None:
    house.sign_up()
    secret = asked(house)

    house.people.resets.reset(secret, NEW)

    house.people.entrance.sign_in(ADA, NEW)
    with pytest.raises(Unauthenticated):
        house.people.entrance.sign_in(ADA, PASSWORD)
    with pytest.raises(LinkInvalid):
        house.people.resets.reset(secret, NEW)


def test_every_session_of_that_person_ends_and_no_other(house: House) -> None:
    first = house.sign_up()
    second = house.people.entrance.sign_in(ADA, PASSWORD)
    bob = house.join(first, "bob@example.com")

    house.people.resets.reset(asked(house), NEW)

    for session in (first, second):
        with pytest.raises(Unauthenticated):
            house.authenticator.authenticate(session.secret)
    assert house.authenticator.authenticate(bob.secret).member_id == bob.member.member_id


def test_the_other_links_of_that_person_end_too(house: House) -> None:
    house.sign_up()
    first, second = asked(house), asked(house)

    house.people.resets.reset(second, NEW)

    with pytest.raises(LinkInvalid):
        house.people.resets.reset(first, NEW)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_link_works_for_an_hour(house: House, clock: SetClock) -> None:
    house.sign_up()
    secret = asked(house)
    clock.advance(RESET_LIFE // SECOND)

    with pytest.raises(LinkInvalid):
        house.people.resets.reset(secret, NEW)


def test_a_short_password_leaves_the_link_open(house: House) -> None:
    house.sign_up()
    secret = asked(house)

    with pytest.raises(InvalidArgument) as raised:
        house.people.resets.reset(secret, "short")

    assert raised.value.field == "new_password"
    house.people.resets.reset(secret, NEW)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_an_unknown_address_gets_no_mail_and_no_other_answer(house: House) -> None:
    house.people.resets.request("nobody@example.com")

    assert not house.mail.sent


@pytest.mark.parametrize("email", [ADA, "nobody@example.com"])
def test_the_answer_comes_before_anything_is_looked_up(
    database: Database, clock: SetClock, email: str
) -> None:
    left: list[Callable[[], None]] = []
    house = make_house(database, clock, later=left.append)
    house.sign_up()

    house.people.resets.request(email)

    assert len(left) == 1
    assert not house.mail.sent
    assert database.read(PasswordResetRow.select().count) == 0
    left[0]()
    assert len(house.mail.sent) == (email == ADA)


def test_an_address_gets_five_mails_in_an_hour(house: House, clock: SetClock) -> None:
    house.sign_up()
    for _ in range(7):
        house.people.resets.request(ADA)
    assert len(house.mail.sent) == 5

    clock.advance(3600)
    house.people.resets.request(ADA)

    assert len(house.mail.sent) == 6


@pytest.mark.parametrize("email", [ADA, "nobody@example.com"])
def test_how_often_somebody_may_be_invited_tells_nothing_of_resets(house: House, email: str) -> None:
    """An owner of anything must not learn who has an account elsewhere, nor keep him from a new password."""
    house.sign_up()
    stranger = house.sign_up("zoe@example.com", organization="Looms").organization.organization_id
    for _ in range(7):
        house.people.resets.request(email)
    house.mail.sent.clear()

    for _ in range(5):
        house.people.members.create_invite(stranger, email, role=Role.MEMBER)

    assert len(house.mail.sent) == 5


def test_invites_keep_nobody_from_a_new_password(house: House) -> None:
    house.sign_up()
    stranger = house.sign_up("zoe@example.com", organization="Looms").organization.organization_id
    for _ in range(5):
        house.people.members.create_invite(stranger, ADA, role=Role.MEMBER)

    house.people.resets.reset(asked(house), NEW)

    house.people.entrance.sign_in(ADA, NEW)


def test_links_that_ended_are_not_kept(house: House, database: Database, clock: SetClock) -> None:
    house.sign_up()
    asked(house)
    clock.advance(RESET_LIFE // SECOND)
    asked(house)

    assert database.read(PasswordResetRow.select().count) == 1


def test_who_was_locked_out_comes_in_with_a_new_password(house: House) -> None:
    house.sign_up()
    for _ in range(10):
        with pytest.raises(Unauthenticated):
            house.people.entrance.sign_in(ADA, NEW)

    house.people.resets.reset(asked(house), NEW)

    house.people.entrance.sign_in(ADA, NEW)


def test_a_mail_that_nobody_took_can_be_asked_for_again(house: House) -> None:
    house.sign_up()
    house.mail.away = True
    with pytest.raises(MailUndelivered):
        house.people.resets.request(ADA)

    house.mail.away = False
    house.people.resets.reset(asked(house), NEW)


def test_a_link_of_a_member_who_was_removed_is_dead(house: House) -> None:
    owner = house.sign_up()
    bob = house.join(owner, "bob@example.com")
    house.people.resets.request("bob@example.com")
    secret = house.mail.last_secret("reset")
    house.people.members.remove_member(owner.organization.organization_id, bob.member.member_id)

    with pytest.raises(LinkInvalid):
        house.people.resets.reset(secret, NEW)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("secret", ["", "omr_x", "omr_" + "a" * 32, "omi_" + "a" * 32])
def test_a_link_that_nobody_sent_sets_nothing(house: House, secret: str) -> None:
    with pytest.raises(LinkInvalid):
        house.people.resets.reset(secret, NEW)
