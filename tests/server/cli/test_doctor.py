import os
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from om_server.__main__ import app
from om_server.cli.command import migrate_database, opened
from om_server.cli.doctor import (
    data_folder_finding,
    database_finding,
    diagnose,
    service_token_finding,
)
from om_server.cli.finding import Finding
from om_server.settings import Settings, load_settings
from tests.databases import PostgresTemplate

_PORTS = (
    "OM_GRPC_PORT",
    "OM_REST_PORT",
    "OM_INGEST_PORT",
    "OM_RATING_PORT",
    "OM_PROXY_PORT",
    "OM_SIMULATED_PROXY_PORT",
    "OM_SIMULATOR_PORT",
)


@pytest.fixture(autouse=True)
def on_free_ports(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A folder, and ports that nobody has at this moment."""
    for field in Settings.model_fields.values():
        monkeypatch.delenv(str(field.alias), raising=False)
    monkeypatch.chdir(tmp_path)
    found = [socket.create_server(("127.0.0.1", 0)) for _ in _PORTS]
    for name, listener in zip(_PORTS, found, strict=True):
        monkeypatch.setenv(name, str(listener.getsockname()[1]))
    for listener in found:
        listener.close()


def said(findings: list[Finding]) -> dict[str, str]:
    return {finding.check: str(finding) for finding in findings}


def test_a_new_machine_has_no_problem() -> None:
    findings = list(diagnose())

    assert not [finding for finding in findings if finding.problem]
    checks = said(findings)
    assert {"settings", "providers", "data folder", "service token", "database"} < checks.keys()
    assert {"gRPC health", "REST /health", "proxy /health/ready"} < checks.keys()
    assert sum(check.startswith("port ") for check in checks) == len(_PORTS)
    assert not list(Path().iterdir())


def test_the_command_prints_a_line_each_and_exits_with_one_on_a_problem(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    well = CliRunner().invoke(app, ["doctor"])
    monkeypatch.setenv("OM_GEMINI_BASE_URL", "example.com")
    ill = CliRunner().invoke(app, ["doctor"])

    assert (well.exit_code, ill.exit_code) == (0, 1)
    assert all(line.startswith("ok       ") for line in well.stdout.splitlines())
    problems = [line for line in ill.stdout.splitlines() if line.startswith("problem  ")]
    assert len(problems) == 1
    assert problems[0].startswith("problem  settings: OM_GEMINI_BASE_URL must be an origin such as ")
    assert problems[0].endswith("; do: correct or unset OM_GEMINI_BASE_URL")


def test_every_wrong_setting_is_told_and_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OM_REST_PORT", "s3cret")
    monkeypatch.setenv("OM_DATABASE_URL", "mysql://u:s3cret@h/db")

    lines = [str(finding) for finding in diagnose() if finding.problem]

    assert [line.split()[2] for line in lines] == ["OM_DATABASE_URL", "OM_REST_PORT"]
    assert "s3cret" not in "".join(lines)


def test_no_secret_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OM_SERVICE_TOKEN", "s3cret")
    monkeypatch.setenv("OM_API_KEY", "s3cret")
    monkeypatch.setenv("OM_DATABASE_URL", "postgresql://u:s3cret@127.0.0.1:1/db")
    monkeypatch.setenv("OM_REDIS_URL", "redis://:s3cret@127.0.0.1:1")
    monkeypatch.setenv("OM_OPENAI_BASE_URL", "https://u:s3cret@example.com")

    findings = list(diagnose())

    assert "s3cret" not in "".join(str(finding) for finding in findings)
    assert {finding.check for finding in findings if finding.problem} == {"database", "redis"}


def test_a_data_folder_must_be_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert data_folder_finding(tmp_path / "file").problem
    assert data_folder_finding(tmp_path / "file" / "below").problem
    assert not data_folder_finding(tmp_path).problem
    assert data_folder_finding(tmp_path / "new" / "folder").text.endswith("can be made")


def test_a_data_folder_must_be_writable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Root may write anywhere, so the system's answer is given here.
    monkeypatch.setattr(os, "access", lambda *_: False)

    assert "not writable" in data_folder_finding(tmp_path).text


@pytest.mark.parametrize(("mode", "problem"), [(0o600, False), (0o640, True), (0o604, True)])
def test_a_service_token_is_for_its_user_alone(tmp_path: Path, *, mode: int, problem: bool) -> None:
    token = tmp_path / "service_token"
    token.touch()
    token.chmod(mode)

    assert service_token_finding(load_settings(OM_DATA_DIR=tmp_path)).problem is problem


def test_a_database_of_sqlite_in_its_states(tmp_path: Path) -> None:
    settings = load_settings(OM_DATA_DIR=tmp_path)
    assert "not there yet" in database_finding(settings).text
    with opened(settings):
        assert "in use by a running server" in database_finding(settings).text
    assert database_finding(settings).remedy == "openmonetize migrate"
    migrate_database(settings)
    assert str(database_finding(settings)).endswith("openmonetize.db is up to date")
    settings.sqlite_path.write_bytes(b"not a database, and long enough to be looked at" * 100)
    assert database_finding(settings).problem


def test_a_database_of_postgresql_in_its_states(postgres_template: PostgresTemplate) -> None:
    with postgres_template.clone() as url:
        assert "is up to date" in database_finding(load_settings(OM_DATABASE_URL=url)).text
        absent = database_finding(load_settings(OM_DATABASE_URL=url.rsplit("/", 1)[0] + "/absent"))
        with opened(load_settings(OM_DATABASE_URL=url)) as database:
            database.write(lambda: database.engine.execute_sql("DELETE FROM migrations"))
        behind = database_finding(load_settings(OM_DATABASE_URL=url))

    assert "refuses the connection" in absent.text
    assert behind.remedy == "openmonetize migrate"
    nobody = database_finding(load_settings(OM_DATABASE_URL="postgresql://u@127.0.0.1:1/db"))
    assert nobody.text == "nothing answers at PostgreSQL 127.0.0.1:1"
