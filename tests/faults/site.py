"""One installation of real processes over real databases, whose processes die and start again."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from typing import TYPE_CHECKING, Any

import grpc
import psycopg
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.faults.patience import awaited
from tests.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.faults.estate import Tenant
    from tests.faults.failpoint import Fault
    from tests.faults.launcher import Host, Process
    from tests.redis_server import RedisServer

SERVICE_TOKEN = "service-token-of-the-crash-tests"

#: A dead server is asked again at once when it is back, on the same port.
_RECONNECT = [("grpc.initial_reconnect_backoff_ms", 20), ("grpc.min_reconnect_backoff_ms", 20),
              ("grpc.max_reconnect_backoff_ms", 50)]  # fmt: skip
_SERVING = health_pb2.HealthCheckResponse.SERVING


class Site:
    """SQLite with the worker in the server's process, or PostgreSQL with workers of their own."""

    def __init__(
        self,
        host: Host,
        folder: Path,
        tenants: Sequence[Tenant],
        *,
        database_url: str = "",
        redis: RedisServer | None = None,
    ) -> None:
        self.host = host
        self.folder = folder
        self.tenants = tenants
        self.redis = redis
        self.database_url = database_url
        (port,) = free_ports(1)
        self.environment = {
            "OM_ENV": "production",
            "OM_DATA_DIR": str(folder),
            "OM_DATABASE_URL": database_url,
            "OM_REDIS_URL": redis.url if redis else "",
            "OM_QUEUE_ABANDONED_AFTER_S": "1",
            "OM_SERVICE_TOKEN": SERVICE_TOKEN,
            "OM_GRPC_PORT": str(port),
            "OM_GRPC_THREADS": "8",
            "LOG_LEVEL": "warning",
        }
        self._address = f"127.0.0.1:{port}"
        self.channel = self.new_channel()
        self._running: dict[str, Process] = {}
        self._started = 0
        self._reader: psycopg.Connection | None = None

    def new_channel(self) -> grpc.Channel:
        return grpc.insecure_channel(self._address, options=_RECONNECT)

    @property
    def on_sqlite(self) -> bool:
        return not self.database_url

    @property
    def worker_names(self) -> Sequence[str]:
        if self.on_sqlite:
            return ()
        return ("a", "b") if self.redis else ("a",)

    @property
    def settler(self) -> str:
        """The name of the process that settles; the first if there are two."""
        return "rpc" if self.on_sqlite else "a"

    def start(self, *, victim: str = "", fault: Fault | None = None, modes: Sequence[str] = ()) -> None:
        """Start what does not run; the victim has the fault."""
        for name in ("rpc", *self.worker_names):
            if name not in self._running:
                self.start_one(name, fault=fault if name == victim else None, modes=modes)

    def start_one(self, name: str, *, fault: Fault | None = None, modes: Sequence[str] = ()) -> Process:
        """Start the server or a worker and return when it is ready."""
        ready = self.folder / f"{name}.ready"
        ready.unlink(missing_ok=True)
        command = ["rpc"] if name == "rpc" else ["worker", "--ready-file", str(ready)]
        process = self.run("serve", *command, fault=fault, modes=modes)
        self._running[name] = process
        awaited(lambda: process.ended or (ready.exists() if name != "rpc" else self._answers()))
        assert not process.ended, process.log.read_text(errors="replace")
        return process

    def run(self, *arguments: str, fault: Fault | None = None, modes: Sequence[str] = ()) -> Process:
        """Run any command of the product over the same data."""
        self._started += 1
        log = self.folder / f"{self._started:02}-{arguments[-1].rpartition('/')[2]}.log"
        return self.host.start(arguments, self.environment, log=log, fault=fault, modes=modes)

    def process(self, name: str) -> Process:
        return self._running[name]

    def buried(self, name: str) -> int:
        """Wait for the end of a process and give its exit code."""
        return self._running.pop(name).wait()

    def kill(self, *names: str) -> None:
        """Kill processes, all if none is named."""
        for name in names or tuple(self._running):
            self._running.pop(name).kill()

    def stop(self) -> None:
        """Let all end by themselves."""
        for name in tuple(self._running):
            self._running.pop(name).terminate()

    def close(self) -> None:
        self.kill()
        self.forget()
        self.channel.close()

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Read by plain SQL, beside the product."""
        if self.on_sqlite:
            path = self.folder / "openmonetize.db"
            if not path.exists():
                return []
            with contextlib.closing(
                sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=20)
            ) as connection:
                return connection.execute(sql).fetchall()
        if self._reader is None:
            self._reader = psycopg.connect(self.database_url, autocommit=True)
        return self._reader.execute(sql.encode()).fetchall()

    def value(self, sql: str) -> int:
        """Read one number; 0 where there is nothing to add."""
        return int(self.rows(sql)[0][0] or 0)

    def forget(self) -> None:
        """Let go of the database: it is to be copied or replaced."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def erase(self) -> None:
        """Empty the database; nothing may run."""
        self.forget()
        if self.on_sqlite:
            for file in self.folder.glob("openmonetize.db*"):
                file.unlink()
            return
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")

    @contextlib.contextmanager
    def backup(self) -> Iterator[_Backup]:
        """Stop, copy the database as it is, and start again; the copy goes at the end of the block."""
        self.stop()
        copy = _Backup(self)
        copy.take()
        self.start()
        try:
            yield copy
        finally:
            copy.discard()

    def _answers(self) -> bool:
        stub = health_pb2_grpc.HealthStub(self.channel)
        try:
            check = stub.Check  # type: ignore[attr-defined]  # Set at run time.
            return bool(check(health_pb2.HealthCheckRequest(), timeout=1).status == _SERVING)
        except grpc.RpcError:
            return False


class _Backup:
    """A copy of a site's database. Nothing of the site may run while it is taken or put back."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._file = site.folder / "backup.db"
        server, _, self._name = site.database_url.rpartition("/")
        self._maintenance = f"{server}/postgres"

    def take(self) -> None:
        self._site.forget()
        if self._site.on_sqlite:
            shutil.copy(self._site.folder / "openmonetize.db", self._file)
        else:
            self._replace(f"{self._name}_backup", self._name)

    def put_back(self) -> None:
        self._site.forget()
        if self._site.on_sqlite:
            for rest in self._site.folder.glob("openmonetize.db-*"):
                rest.unlink()
            shutil.copy(self._file, self._site.folder / "openmonetize.db")
        else:
            self._replace(self._name, f"{self._name}_backup")

    def discard(self) -> None:
        if not self._site.on_sqlite:
            self._execute(f"DROP DATABASE IF EXISTS {self._name}_backup WITH (FORCE)")

    def _replace(self, target: str, source: str) -> None:
        self._execute(f"DROP DATABASE IF EXISTS {target} WITH (FORCE)")
        # The connections of a process that was killed go a moment later.
        awaited(lambda: not self._execute("SELECT FROM pg_stat_activity WHERE datname = %s", source))
        self._execute(f"CREATE DATABASE {target} TEMPLATE {source}")

    def _execute(self, sql: str, *values: str) -> int:
        with psycopg.connect(self._maintenance, autocommit=True) as connection:
            return connection.execute(sql.encode(), values).rowcount
