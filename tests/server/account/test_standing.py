"""Callers who were let in are looked at again, over a real database."""

import dataclasses

import pytest

from om_server.account.keys.key import KeyWish
from om_server.account.operations import AccountOperations
from om_server.account.people.session import IDLE_LIMIT
from om_server.account.standing import Standing
from om_server.account.store import AccountStore
from om_server.core.page import PageRequest
from om_server.rpc.caller import Caller, Principal
from om_server.storage.database import Database
from tests.server.account.harness import SECOND, START, SetClock, make_operations
from tests.server.account.people.house import House, make_house


class Door:
    """Lets people and keys in, and looks at them again."""

    def __init__(self, database: Database, clock: SetClock) -> None:
        self.house: House = make_house(database, clock)
        self.accounts: AccountOperations = make_operations(database, clock)
        self.database, self.clock = database, clock
        self.owner = self.house.sign_up()
        self.organization_id = self.owner.organization.organization_id
        self._standing = Standing(database, AccountStore(database), self.house.registry.secrets, clock=clock)

    def let_in(self, secret: str) -> Caller:
        """A caller as the gate makes it, with the id of a request."""
        return dataclasses.replace(self.house.authenticator.authenticate(secret), request_id="req")

    def key(self, *, expire_time: int | None = None) -> Caller:
        (team,) = self.accounts.list_teams(self.organization_id, PageRequest.of()).items
        wish = KeyWish(team.team_id, expire_time=expire_time)
        return self.let_in(self.accounts.create_key(self.organization_id, wish).secret)

    def lost(self, *callers: Caller) -> set[Caller]:
        return set(self._standing.lost(callers))


@pytest.fixture(name="door")
def make_door(database: Database, clock: SetClock) -> Door:
    return Door(database, clock)


def test_nobody_is_lost_to_whom_nothing_happened(door: Door) -> None:
    service = Caller(Principal.SERVICE)

    assert door.lost(door.key(), door.let_in(door.owner.secret), service) == set()
    assert door.lost() == set()


def test_a_key_that_was_revoked_or_is_over_is_lost(door: Door) -> None:
    kept, revoked, expired = door.key(), door.key(), door.key(expire_time=START + SECOND)
    door.accounts.revoke_key(door.organization_id, revoked.key_id)
    door.clock.advance(1)
    stranger = dataclasses.replace(kept, key_id="key_of_nobody")

    assert door.lost(kept, revoked, expired, stranger) == {revoked, expired, stranger}


def test_a_session_is_lost_with_its_end_or_its_member(door: Door) -> None:
    ada = door.let_in(door.owner.secret)
    bob, cleo = (door.house.join(door.owner, f"{name}@example.com") for name in ("bob", "cleo"))
    removed, signed_out = door.let_in(bob.secret), door.let_in(cleo.secret)
    door.house.people.members.remove_member(door.organization_id, bob.member.member_id)
    desk = door.house.registry.sessions
    door.database.write(lambda: desk.end(door.organization_id, signed_out.session_id))

    assert door.lost(ada, removed, signed_out) == {removed, signed_out}

    door.clock.advance(IDLE_LIMIT // SECOND)

    assert door.lost(ada) == {ada}


def test_everybody_of_a_suspended_organization_is_lost_until_it_is_active(door: Door) -> None:
    other = door.house.sign_up("eve@example.com", "Elsewhere")
    ours, theirs = {door.key(), door.let_in(door.owner.secret)}, door.let_in(other.secret)
    store = AccountStore(door.database)

    door.database.write(lambda: store.set_suspend_time(door.organization_id, door.clock.now))

    assert door.lost(*ours, theirs) == ours

    door.database.write(lambda: store.set_suspend_time(door.organization_id, None))

    assert door.lost(*ours, theirs) == set()
