"""`openmonetize verify` on a database of its own, and through the server that owns one."""

from pathlib import Path

import pytest
import structlog
from typer.testing import CliRunner, Result

from om_server.__main__ import app
from om_server.cli.command import opened, prepare
from om_server.cli.demo import DEVELOPMENT_KEY
from om_server.settings import load_settings
from om_server.wallet.servicer import WalletServicer
from om_server.wiring import build
from tests.rpc import made, serving
from tests.server.cli.web import address_of

_RUNNER = CliRunner()


@pytest.fixture(autouse=True)
def in_its_own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("OM_API_KEY", "OM_DATABASE_URL", "OM_GRPC_ADDRESS", "OM_GRPC_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OM_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("OM_ENV", "development")
    prepare(load_settings())


def verify() -> Result:
    return _RUNNER.invoke(app, ["verify"])


def steal() -> None:
    """Change a balance behind the ledger's back."""
    with opened(load_settings()) as database:
        database.write(lambda: database.engine.execute_sql("UPDATE wallets SET available = available + 1"))


def test_a_sound_ledger_is_counted() -> None:
    found = verify()

    assert found.exit_code == 0
    assert "1 entries in 1 ledgers read, none of them wrong" in found.stdout


def test_a_balance_that_no_entry_explains_ends_with_1() -> None:
    steal()

    found = verify()

    assert found.exit_code == 1
    assert "1 of them wrong" in found.stdout


@pytest.mark.parametrize("sound", [True, False])
def test_the_owner_of_the_file_is_asked(monkeypatch: pytest.MonkeyPatch, *, sound: bool) -> None:
    if not sound:
        steal()
    monkeypatch.setenv("OM_API_KEY", DEVELOPMENT_KEY)
    # The server logs in this process, where its lines would be among the command's.
    with opened(load_settings()) as database, structlog.testing.capture_logs():
        platform = build(database)
        servicer = made(WalletServicer, platform.wallet)
        with serving([servicer], platform.account.authenticator()) as channel:
            monkeypatch.setenv("OM_GRPC_ADDRESS", address_of(channel))
            found = verify()

    assert found.exit_code == (0 if sound else 1)
    assert ("nothing wrong" in found.stdout) is sound


def test_without_a_key_the_owner_is_not_asked() -> None:
    with opened(load_settings()):
        found = verify()

    assert "set OM_API_KEY" in str(found.exception)
