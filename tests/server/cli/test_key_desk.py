"""Keys on the database and through a server: the same desk, so the same tests."""

import contextlib
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from om_server.account.keys.call_settings import CallSettings, CallSettingsChange, OnDisconnect
from om_server.account.keys.key import KeyChange
from om_server.account.operations import AccountOperations
from om_server.account.servicer import AccountServicer
from om_server.cli.key_client import ServerDesk
from om_server.cli.key_desk import DatabaseDesk, KeyDesk, KeyOrder, collected
from om_server.cli.own_server import OwnServer
from om_server.core.clock import system_clock
from om_server.failure import CommandFailed
from om_server.rpc.caller import Scope
from om_server.storage.database import Database
from om_server.wiring import build
from tests.rpc import made, serving

_ADMIN = "om_dev_test_key"


@pytest.fixture(name="accounts")
def make_accounts(database: Database) -> AccountOperations:
    accounts = build(database, clock=system_clock).account
    accounts.seed_development(_ADMIN)
    return accounts


@contextlib.contextmanager
def calling(accounts: AccountOperations, secret: str = _ADMIN) -> Iterator[ServerDesk]:
    with serving([made(AccountServicer, accounts)], accounts.authenticator()) as channel:
        yield ServerDesk(OwnServer(channel, secret, target="the server"))


@pytest.fixture(name="desk", params=["database", "server"])
def make_desk(request: pytest.FixtureRequest, accounts: AccountOperations) -> Iterator[KeyDesk]:
    if request.param == "database":
        yield DatabaseDesk(accounts)
        return
    with calling(accounts) as desk:
        yield desk


def test_a_new_key_opens_what_it_was_made_for(desk: KeyDesk, accounts: AccountOperations) -> None:
    order = KeyOrder(team="Blue", description="Shop", scopes=frozenset({Scope.READ}), test_mode=True)

    new = desk.create(order)

    assert accounts.authenticate_key(new.secret) == new.key
    assert new.secret.startswith("om_test_")
    assert (new.key.description, new.key.scopes) == ("Shop", frozenset({Scope.READ}))
    assert desk.team_names()[new.key.team_id] == "Blue"


def test_no_scopes_are_the_usual_three(desk: KeyDesk) -> None:
    assert desk.create(KeyOrder()).key.scopes == {Scope.INGEST, Scope.PROXY, Scope.READ}


def test_a_team_is_made_once(desk: KeyDesk) -> None:
    first, second = desk.create(KeyOrder(team="Blue")), desk.create(KeyOrder(team="Blue"))

    assert first.key.team_id == second.key.team_id
    assert sorted(desk.team_names().values()) == ["Blue", "Default"]


def test_the_list_has_every_key_and_no_secret(desk: KeyDesk) -> None:
    new = desk.create(KeyOrder())

    listed = desk.all_keys()

    assert listed[1:] == [new.key]
    assert new.secret not in repr(listed)


def test_a_revoked_key_opens_nothing(desk: KeyDesk, accounts: AccountOperations) -> None:
    new = desk.create(KeyOrder())

    ended = desk.revoke(new.key.key_id)

    assert ended.life.revoke_time is not None
    assert desk.all_keys()[1] == ended
    with pytest.raises(Exception, match="not valid"):
        accounts.authenticate_key(new.secret)


def test_what_holds_for_a_keys_calls_is_there_from_its_beginning(
    desk: KeyDesk, accounts: AccountOperations
) -> None:
    calls = CallSettings(OnDisconnect.DRAIN, (("chat", OnDisconnect.CANCEL),), clamp_output=True)

    new = desk.create(KeyOrder(calls=calls))

    assert new.key.calls == calls
    assert accounts.authenticate_key(new.secret).calls == calls


def test_a_change_leaves_what_it_does_not_name(desk: KeyDesk, accounts: AccountOperations) -> None:
    calls = CallSettings(OnDisconnect.DRAIN, (("chat", OnDisconnect.CANCEL),), clamp_output=True)
    new = desk.create(KeyOrder(description="Shop", calls=calls))

    policies = ("chat", OnDisconnect.UNSPECIFIED), ("speech", OnDisconnect.DRAIN)
    changed = desk.update(new.key.key_id, KeyChange(calls=CallSettingsChange(by_operation=policies)))
    renamed = desk.update(new.key.key_id, KeyChange("Store", CallSettingsChange(clamp_output=False)))
    off = desk.update(new.key.key_id, KeyChange(calls=CallSettingsChange(OnDisconnect.UNSPECIFIED)))

    speech = (("speech", OnDisconnect.DRAIN),)
    assert (changed.description, changed.calls) == (
        "Shop",
        CallSettings(OnDisconnect.DRAIN, speech, clamp_output=True),
    )
    assert (renamed.description, renamed.calls) == ("Store", CallSettings(OnDisconnect.DRAIN, speech))
    assert off.calls == CallSettings(by_operation=speech)
    assert accounts.authenticate_key(new.secret) == off


@pytest.mark.parametrize("way", ["revoke", "update"])
def test_a_key_that_is_not_there_cannot_be_changed(desk: KeyDesk, way: str) -> None:
    unknown = "key_" + "0" * 26

    with pytest.raises(Exception, match=f"key {unknown} was not found"):
        desk.revoke(unknown) if way == "revoke" else desk.update(unknown, KeyChange("x"))


def test_an_empty_database_gets_its_first_organization(database: Database) -> None:
    accounts = build(database, clock=system_clock).account

    new = DatabaseDesk(accounts).create(KeyOrder())

    assert accounts.get_organization(new.key.organization_id).display_name == "Default"
    assert DatabaseDesk(accounts).all_keys() == [new.key]


def test_a_key_without_the_scope_is_refused_in_one_line(accounts: AccountOperations) -> None:
    weak = DatabaseDesk(accounts).create(KeyOrder()).secret

    with (
        calling(accounts, weak) as desk,
        pytest.raises(CommandFailed, match=r"^the key lacks the scope ADMIN$"),
    ):
        desk.create(KeyOrder())


def test_an_unknown_key_is_refused_without_being_repeated(accounts: AccountOperations) -> None:
    with calling(accounts, "om_live_unknown") as desk, pytest.raises(CommandFailed) as raised:
        desk.all_keys()

    assert str(raised.value).startswith("OM_API_KEY: the server at the server does not know this key")
    assert "om_live_unknown" not in str(raised.value)


def test_an_absent_server_is_told_in_one_line() -> None:
    with grpc.insecure_channel("127.0.0.1:1") as channel:
        desk = ServerDesk(OwnServer(channel, "om_live_x", target="127.0.0.1:1"))

        with pytest.raises(CommandFailed, match=r"^no server answers at 127\.0\.0\.1:1$"):
            desk.all_keys()


def test_a_list_of_several_pages_is_one_list() -> None:
    pages: dict[str, Any] = {"": ([1, 2], "a"), "a": ([3], "b"), "b": ([], "")}

    assert collected(pages.__getitem__) == [1, 2, 3]


def test_more_keys_than_fit_a_page_are_listed(desk: KeyDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("key_desk", "key_client"):
        monkeypatch.setattr(f"om_server.cli.{module}.PAGE_SIZE_MAX", 2)
    made_ids = {desk.create(KeyOrder(team=f"Team {number}")).key.key_id for number in range(4)}

    assert made_ids < {key.key_id for key in desk.all_keys()}
    assert len(desk.team_names()) == 5
