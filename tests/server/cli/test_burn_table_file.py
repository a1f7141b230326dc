"""Burn tables of a file, as the server applies them at its start."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from om_server import wiring
from om_server.__main__ import app
from om_server.cli.command import apply_burn_tables, opened, prepare
from om_server.core.page import PageRequest
from om_server.failure import CommandFailed
from om_server.settings import load_settings
from om_server.storage.database import Database

FILE = {
    "format": 1,
    "currency": "CREDITS",
    "tables": [{"name": "Sale", "rules": [{"credits_per_dollar": "500"}]}],
}


@pytest.fixture(name="platform")
def make_platform(database: Database) -> wiring.Platform:
    return wiring.build(database)


def tables(platform: wiring.Platform) -> list[str]:
    organization_id = platform.account.default_organization().organization_id
    page = platform.burn_tables.list_burn_tables(organization_id, page=PageRequest.of())
    return [state.table.display_name for state in page.tables if state.active]


def test_a_file_applies_once_however_often_the_server_starts(
    platform: wiring.Platform, tmp_path: Path
) -> None:
    path = tmp_path / "burntable.json"
    path.write_text(json.dumps(FILE))
    apply_burn_tables(path, platform, dry_run=True)
    assert tables(platform) == []

    first = apply_burn_tables(path, platform)
    again = apply_burn_tables(path, platform)

    assert tables(platform) == ["Sale"]
    assert ([one.changed for one in first], [one.changed for one in again]) == ([True], [False])


def test_every_flaw_is_said_and_nothing_is_stored(platform: wiring.Platform, tmp_path: Path) -> None:
    path = tmp_path / "burntable.json"
    path.write_text(json.dumps({**FILE, "currency": "USD", "format": 2}))

    with pytest.raises(CommandFailed, match=r"\$\.format: .*; \$\.currency: "):
        apply_burn_tables(path, platform)

    assert tables(platform) == []


@pytest.mark.parametrize("content", [None, b"\xff"])
def test_a_file_that_cannot_be_read_is_named(
    platform: wiring.Platform, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "burntable.json"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(CommandFailed, match=r"burntable\.json cannot be read"):
        apply_burn_tables(path, platform)


def test_a_file_is_applied_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OM_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("OM_DATABASE_URL", raising=False)
    prepare(load_settings())
    (tmp_path / "burntable.json").write_text(json.dumps(FILE))
    command = ["burn-table", "apply", "burntable.json"]

    tried = CliRunner().invoke(app, [*command, "--dry-run"])
    with opened(load_settings()) as database:
        assert tables(wiring.build(database)) == []
    applied, again = (CliRunner().invoke(app, command) for _ in range(2))

    assert "nothing is written" in tried.stderr
    assert tried.stdout.startswith("Sale (everybody): applies from 20")
    assert applied.stdout.startswith("Sale (everybody): applies from 20")
    assert again.stdout == "Sale (everybody): unchanged\n"
    with opened(load_settings()) as database:
        assert tables(wiring.build(database)) == ["Sale"]
