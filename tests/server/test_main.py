"""The command line as a process: what stops a start is one line, with a name and without a value."""

import contextlib
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from om_server.__main__ import app
from om_server.cli.command import migrate_database
from om_server.settings import SettingsInvalid, load_settings
from tests.databases import PostgresTemplate
from tests.faults.launcher import Host
from tests.server.cli.processes import SERVER, environment


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended, and all that it wrote."""

    returncode: int
    output: str


@pytest.fixture(scope="module", name="host")
def running_host() -> Iterator[Host]:
    with contextlib.closing(Host()) as host:
        yield host


@pytest.fixture(name="run")
def make_run(host: Host, tmp_path: Path) -> Callable[..., Ended]:
    """Run a command in a process of its own, in the test's folder."""

    def run(*arguments: str, **variables: str) -> Ended:
        log = tmp_path / "output.log"
        process = host.start(arguments, environment(tmp_path, **variables), log=log)
        return Ended(process.wait(), log.read_text())

    return run


_WRONG = [
    ("OM_ENV", "s3cret"),
    ("OM_DATABASE_URL", "mysql://u:s3cret@h/db"),
    ("OM_DATABASE_URL", "postgresql://u:x@s3cret@h/db"),
    ("OM_REDIS_URL", "amqp://u:s3cret@h"),
    ("OM_PROXY_PORT", "s3cret"),
    ("OM_SIMULATED_PROXY_PORT", "s3cret"),
    ("OM_REST_PORT", "s3cret"),
    ("OM_INGEST_PORT", "s3cret"),
    ("OM_RATING_PORT", "s3cret"),
    ("OM_GRPC_PORT", "s3cret"),
    ("LOG_LEVEL", "s3cret"),
]


@pytest.mark.parametrize("arguments", [["up"], ["serve", "rpc"], ["migrate"], ["keys", "list"]])
@pytest.mark.parametrize(("variable", "value"), _WRONG)
def test_a_wrong_setting_stops_every_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, arguments: list[str], variable: str, value: str
) -> None:
    for name, usable in environment(tmp_path, **{variable: value}).items():
        monkeypatch.setenv(name, usable)
    monkeypatch.chdir(tmp_path)

    ended = CliRunner().invoke(app, arguments)

    assert isinstance(ended.exception, SettingsInvalid)
    assert str(ended.exception).startswith(f"{variable}: ")
    assert not list(tmp_path.iterdir())


def test_wrong_settings_are_one_line_with_names_and_no_value(tmp_path: Path) -> None:
    # From its very beginning, as a shell starts it.
    ended = subprocess.run(
        [*SERVER, "up"],
        env=environment(tmp_path, **dict(_WRONG)),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("openmonetize: OM_ENV: ")
    assert [variable for variable, _ in _WRONG if f"{variable}: " not in ended.stderr] == []
    assert ended.stderr.count("\n") == 1
    assert "s3cret" not in ended.stderr
    assert not list(tmp_path.iterdir())


def test_a_service_without_its_token_does_not_start(run: Callable[..., Ended]) -> None:
    ended = run("serve", "rpc")

    assert ended.returncode == 1
    assert ended.output.startswith("openmonetize: OM_SERVICE_TOKEN: not set")


def test_a_data_folder_that_cannot_be_made_is_one_line(run: Callable[..., Ended], tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    ended = run("up", OM_DATA_DIR=str(tmp_path / "file" / "data"))

    assert ended.returncode == 1
    assert ended.output.startswith("openmonetize: ")
    assert ended.output.count("\n") == 1


def test_a_file_that_is_no_database_is_one_line(run: Callable[..., Ended], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "openmonetize.db").write_bytes(b"not a database" * 100)

    ended = run("migrate")

    assert ended.returncode == 1
    assert "openmonetize.db cannot be opened: file is not a database" in ended.output
    assert ended.output.count("\n") == 1


def test_a_database_that_is_away_is_one_line_that_names_the_doctor(run: Callable[..., Ended]) -> None:
    ended = run("up", OM_DATABASE_URL="postgresql://u:s3cret@127.0.0.1:1/db")

    assert ended.returncode == 1
    assert "`openmonetize doctor`" in ended.output
    assert ended.output.count("\n") == 1
    assert "s3cret" not in ended.output


def test_a_taken_port_is_one_line_and_changes_nothing(run: Callable[..., Ended], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        ended = run("up", OM_INGEST_PORT=port)

    assert ended.returncode == 1
    assert ended.output == (
        f"openmonetize: port {port} is taken (wanted for rest); set OM_INGEST_PORT to another\n"
    )
    assert not (tmp_path / "data" / "openmonetize.db").exists()


def test_a_taken_port_is_one_line_of_a_single_service_too(run: Callable[..., Ended], tmp_path: Path) -> None:
    migrate_database(load_settings(OM_DATA_DIR=tmp_path / "data", OM_DATABASE_URL=""))
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        ended = run("serve", "rpc", OM_GRPC_PORT=port, OM_SERVICE_TOKEN="token")

    assert ended.returncode == 1
    last = ended.output.splitlines()[-1]
    assert last == f"openmonetize: cannot listen on 127.0.0.1:{port}; set OM_GRPC_PORT to a free port"
    assert "Traceback" not in ended.output


def test_a_worker_of_its_own_needs_postgresql(run: Callable[..., Ended]) -> None:
    ended = run("serve", "worker")

    assert ended.returncode == 1
    assert ended.output.startswith("openmonetize: OM_DATABASE_URL: ")


def test_only_a_worker_has_a_ready_file(run: Callable[..., Ended]) -> None:
    assert run("serve", "rest", "--ready-file", "x").returncode == 2


def test_a_worker_says_that_it_is_ready_and_ends_on_a_signal(
    tmp_path: Path, postgres_template: PostgresTemplate
) -> None:
    ready = tmp_path / "ready"
    with postgres_template.clone() as url:
        worker = subprocess.Popen(
            [*SERVER, "serve", "worker", "--ready-file", str(ready)],
            env=environment(tmp_path, OM_DATABASE_URL=url, LOG_LEVEL="info"),
            stderr=subprocess.PIPE,
            text=True,
        )
        assert worker.stderr is not None
        with worker.stderr:
            assert "worker_started" in worker.stderr.readline()
            assert ready.read_text() == f"{worker.pid}\n"
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(30) == 0
    assert not ready.exists()


def test_the_demonstration_says_what_to_start(run: Callable[..., Ended]) -> None:
    ended = run("demo")

    assert ended.returncode == 1
    assert "`openmonetize up` starts the platform" in ended.output
    assert ended.output.count("\n") == 1
