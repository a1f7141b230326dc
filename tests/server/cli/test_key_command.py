"""The commands as a person types them, on SQLite files of their own."""

from pathlib import Path

import pytest
import structlog
from typer.testing import CliRunner, Result

from om_server.__main__ import app
from om_server.account.servicer import AccountServicer
from om_server.cli.command import bring_up_to_date, opened
from om_server.connections import open_database
from om_server.failure import CommandFailed
from om_server.settings import load_settings
from om_server.storage.migrate import migrations
from om_server.wiring import build
from tests.rpc import made, serving
from tests.server.cli.web import address_of

_RUNNER = CliRunner()


@pytest.fixture(autouse=True)
def in_its_own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("OM_API_KEY", "OM_DATABASE_URL", "OM_ENV", "OM_GRPC_ADDRESS", "OM_GRPC_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OM_DATA_DIR", str(tmp_path / "data"))


def keys(*arguments: str) -> Result:
    return _RUNNER.invoke(app, ["keys", *arguments])


def test_the_first_key_of_an_empty_folder_is_all_of_standard_output() -> None:
    new = keys("create", "--team", "Ops", "--scope", "admin", "--scope", "read")

    assert new.exit_code == 0
    secret = new.stdout.removesuffix("\n")
    with opened(load_settings()) as database:
        key = build(database).account.authenticate_key(secret)
    assert {scope.name for scope in key.scopes} == {"ADMIN", "READ"}
    assert key.key_id in new.stderr
    assert "read,admin" in new.stderr
    assert secret not in new.stderr


def test_quiet_says_nothing_else() -> None:
    new = keys("create", "--quiet", "--test")

    assert new.stdout.startswith("om_test_")
    assert new.stderr == ""


def test_the_list_shows_masked_keys_and_their_state() -> None:
    secret = keys("create", "--name", "shop\x1b[31m").stdout.strip()
    assert keys("create", "--test").exit_code == 0

    lines = keys("list").stdout.splitlines()

    assert lines[0].split() == ["KEY", "ID", "KEY", "STATE", "CREATED", "SCOPES", "TEAM", "NAME"]
    assert f"om_live_...{secret[-4:]}" in lines[1]
    assert "active" in lines[1]
    assert lines[1].endswith("Default  shop?[31m")
    assert "test" in lines[2]
    assert secret not in "\n".join(lines)


def test_a_revoked_key_is_listed_as_such() -> None:
    keys("create")
    key_id = keys("list").stdout.splitlines()[1].split()[0]

    assert keys("revoke", key_id).stdout.startswith(f"{key_id} (om_live_...")
    assert "revoked" in keys("list").stdout.splitlines()[1]


def test_what_holds_for_calls_is_typed_and_shown_in_the_same_words() -> None:
    options = ("--on-disconnect", "drain", "--on-disconnect", "chat=cancel", "--clamp-output")
    keys("create", *options)
    row = keys("list").stdout.splitlines()[1].split()
    shown = f"{row[0]} ({row[1]}): on disconnect "

    assert keys("update", row[0]).stdout == f"{shown}drain, chat=cancel; clamp output yes\n"
    changes = ("--on-disconnect", "default", "--on-disconnect", "chat=default", "--no-clamp-output")
    assert keys("update", row[0], *changes).stdout == f"{shown}default; clamp output no\n"
    more = ("--on-disconnect", "speech=drain", "--on-disconnect", "speech=cancel", "--name", "Shop")
    assert keys("update", row[0], *more).stdout == f"{shown}default, speech=cancel; clamp output no\n"
    assert keys("list").stdout.splitlines()[1].endswith("Shop")


@pytest.mark.parametrize("policy", ["", "stop", "chat=", "=drain", "chat=stop", "a,b=drain", "a=b=drain"])
@pytest.mark.parametrize("command", [("create",), ("update", "key_" + "0" * 26)])
def test_a_word_that_is_no_policy_is_refused(command: tuple[str, ...], policy: str) -> None:
    assert keys(*command, "--on-disconnect", policy).exit_code == 2


@pytest.mark.parametrize(
    "arguments", [("--team", ""), ("--team", "x" * 256), ("--name", "x" * 1001), ("--scope", "root")]
)
def test_what_the_contract_refuses_is_refused_here_too(arguments: tuple[str, str]) -> None:
    assert keys("create", *arguments).exit_code == 2


def test_only_create_begins_a_database() -> None:
    listed = keys("list")

    assert isinstance(listed.exception, CommandFailed)
    assert "run `openmonetize migrate`" in str(listed.exception)


def test_a_database_that_is_behind_is_left_to_its_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(load_settings()) as database:
        bring_up_to_date(database)
    newer = [*migrations(), ("9999_later", "")]
    for place in ("om_server.storage.migrate", "om_server.cli.key_command"):
        monkeypatch.setattr(f"{place}.migrations", lambda: newer)

    new = keys("create")

    assert str(new.exception) == "the database lacks 9999_later: run `openmonetize migrate`"


def test_a_file_with_an_owner_asks_for_a_key() -> None:
    with opened(load_settings()):
        new = keys("create")

    message = str(new.exception)
    assert "set OM_API_KEY to a key with the scope admin" in message
    assert "\n" not in message
    assert new.stdout == ""


def test_a_file_with_an_owner_is_worked_on_through_its_server(monkeypatch: pytest.MonkeyPatch) -> None:
    admin = keys("create", "--scope", "admin").stdout.strip()
    monkeypatch.setenv("OM_API_KEY", admin)
    database = open_database(load_settings())
    accounts = build(database).account
    # The server logs in this process, where its lines would be among the command's.
    silence = structlog.testing.capture_logs()
    with silence, serving([made(AccountServicer, accounts)], accounts.authenticator()) as channel:
        monkeypatch.setenv("OM_GRPC_ADDRESS", address_of(channel))
        new = keys("create", "--team", "Blue")
        listed = keys("list")

        assert accounts.authenticate_key(new.stdout.strip()).key_id in listed.stdout
    database.close()


def test_an_owner_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OM_API_KEY", "om_live_any")
    monkeypatch.setenv("OM_GRPC_ADDRESS", "127.0.0.1:1")

    with opened(load_settings()):
        listed = keys("list")

    assert str(listed.exception) == "no server answers at 127.0.0.1:1"
