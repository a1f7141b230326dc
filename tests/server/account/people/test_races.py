"""What happens when two do something about people at the same moment, with real threads."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from om_server.account.people.attempt import FAILED_SIGN_INS, SignInLimited
from om_server.account.people.member import Role
from om_server.core.errors import DomainError, Unauthenticated
from om_server.core.page import PageRequest
from tests.server.account.people.house import PASSWORD, House

ROUNDS = 5


def together(works: Sequence[Callable[[], object]]) -> list[str]:
    """Start all at once; give what became of each, in their order: `done` or the reason."""
    start = threading.Barrier(len(works))

    def run(work: Callable[[], object]) -> str:
        start.wait(30)
        try:
            work()
        except DomainError as error:
            return error.reason
        return "done"

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(run, works))


@pytest.mark.parametrize("first", ["remove", "demote"])
@pytest.mark.parametrize("second", ["remove", "demote"])
def test_of_two_owners_who_go_at_once_one_stays(house: House, first: str, second: str) -> None:
    members = house.people.members
    for number in range(ROUNDS):
        ada = house.sign_up(f"ada{number}@example.com")
        bob = house.join(ada, f"bob{number}@example.com", role=Role.OWNER)
        organization_id = ada.organization.organization_id

        def leave(how: str, member_id: str, organization_id: str = organization_id) -> Callable[[], object]:
            if how == "remove":
                return lambda: members.remove_member(organization_id, member_id)
            return lambda: members.update_member(organization_id, member_id, role=Role.MEMBER)

        outcomes = together([leave(first, ada.member.member_id), leave(second, bob.member.member_id)])

        assert sorted(outcomes) == ["LAST_OWNER", "done"]
        roles = [member.role for member in members.list_members(organization_id, PageRequest()).items]
        assert roles.count(Role.OWNER) == 1


def test_an_invite_that_two_accept_at_once_lets_one_in(house: House) -> None:
    owner = house.sign_up()
    organization_id = owner.organization.organization_id
    house.people.members.create_invite(organization_id, "bob@example.com", role=Role.MEMBER)
    secret = house.mail.last_secret("join")

    outcomes = together(
        [
            lambda: house.people.entrance.accept_invite(secret, password=PASSWORD, display_name="")
            for _ in range(3)
        ]
    )

    assert sorted(outcomes) == ["CREDENTIAL_INVALID", "CREDENTIAL_INVALID", "done"]
    assert len(house.people.members.list_members(organization_id, PageRequest()).items) == 2


def test_an_address_that_two_sign_up_at_once_has_one_account(house: House) -> None:
    outcomes = together([house.sign_up, house.sign_up, house.sign_up])

    assert sorted(outcomes) == ["ALREADY_EXISTS", "ALREADY_EXISTS", "done"]


@pytest.mark.parametrize("email", ["ada@example.com", "nobody@example.com"])
def test_of_guesses_at_once_no_more_are_made_than_the_limit_allows(house: House, email: str) -> None:
    house.sign_up()

    outcomes = together(
        [lambda: house.people.entrance.sign_in(email, "another horse battery") for _ in range(16)]
    )

    # Too many hashes at once are refused before a guess is made, and may be tried again.
    guesses = FAILED_SIGN_INS.count_max - outcomes.count("CREDENTIAL_INVALID")
    assert guesses >= 0
    for _ in range(guesses):
        with pytest.raises(Unauthenticated):
            house.people.entrance.sign_in(email, "another horse battery")
    with pytest.raises(SignInLimited):
        house.people.entrance.sign_in(email, PASSWORD)


def test_a_link_that_two_use_at_once_sets_one_password(house: House) -> None:
    house.sign_up()
    house.people.resets.request("ada@example.com")
    secret = house.mail.last_secret("reset")
    passwords = [f"the password number {number}" for number in range(3)]

    outcomes = together(
        [lambda password=password: house.people.resets.reset(secret, password) for password in passwords]  # type: ignore[misc] # A default binds it.
    )

    assert sorted(outcomes) == ["CREDENTIAL_INVALID", "CREDENTIAL_INVALID", "done"]
    house.people.entrance.sign_in("ada@example.com", passwords[outcomes.index("done")])


def test_two_links_of_one_person_used_at_once_set_one_password(house: House) -> None:
    """Neither may wait for what the other holds: a deadlock would be UNAVAILABLE."""
    for number in range(ROUNDS):
        email = f"ada{number}@example.com"
        house.sign_up(email)
        links = []
        for _ in range(2):
            house.people.resets.request(email)
            links.append(house.mail.last_secret("reset"))

        outcomes = together(
            [lambda link=link: house.people.resets.reset(link, "a new horse battery") for link in links]  # type: ignore[misc] # A default binds it.
        )

        assert sorted(outcomes) == ["CREDENTIAL_INVALID", "done"]


def test_who_sets_a_password_while_he_is_removed_is_out(house: House) -> None:
    owner = house.sign_up()
    for number in range(ROUNDS):
        email = f"bob{number}@example.com"
        bob = house.join(owner, email).member
        house.people.resets.request(email)
        secret = house.mail.last_secret("reset")

        outcomes = together(
            [
                lambda secret=secret: house.people.resets.reset(secret, "a new horse battery"),  # type: ignore[misc] # A default binds it.
                lambda bob=bob: house.people.members.remove_member(bob.organization_id, bob.member_id),  # type: ignore[misc] # Also.
            ]
        )

        assert outcomes[1] == "done"
        assert outcomes[0] in {"done", "CREDENTIAL_INVALID"}


def test_one_address_invited_twice_at_once_has_one_invite(house: House) -> None:
    organization_id = house.sign_up().organization.organization_id

    outcomes = together(
        [
            lambda: house.people.members.create_invite(organization_id, "bob@example.com", role=Role.MEMBER)
            for _ in range(3)
        ]
    )

    assert outcomes == ["done"] * 3
    assert len(house.people.members.list_invites(organization_id, PageRequest()).items) == 1


def test_a_sign_in_with_the_old_password_does_not_outlive_its_reset(house: House) -> None:
    for number in range(ROUNDS):
        email = f"ada{number}@example.com"
        house.sign_up(email)
        house.people.resets.request(email)
        secret = house.mail.last_secret("reset")
        opened: list[str] = []

        def enter(email: str = email, opened: list[str] = opened) -> None:
            opened.append(house.people.entrance.sign_in(email, PASSWORD).secret)

        def reset(secret: str = secret) -> None:
            house.people.resets.reset(secret, "a new horse battery")

        assert together([enter, reset])[1] == "done"
        for session in opened:
            with pytest.raises(DomainError):
                house.authenticator.authenticate(session)
