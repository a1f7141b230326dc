"""A migrated, seeded and richly funded database, and the programs of the platform that run on it."""

from __future__ import annotations

import contextlib
import secrets
import socket
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg

from om_server import connections, wiring
from om_server.account.development import ORGANIZATION_ID
from om_server.cli.command import prepare
from om_server.settings import Settings, load_settings
from om_server.wallet.funding import Deposit
from om_server.wallet.wallet import Owner, OwnerKind
from tests.bench.process import Program, answers_grpc, answers_http
from tests.databases import postgres_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: In nano-credits: a billion credits, so that no run ends in a 402.
_FUNDS = 10**18


@dataclass(frozen=True, slots=True)
class Deployment:
    """Where a platform keeps its data and listens."""

    settings: Settings
    service_token: str
    grpc_port: int

    @property
    def folder(self) -> Path:
        """The data folder, where logs go too."""
        return self.settings.data_dir

    @property
    def grpc_target(self) -> str:
        """Where the gRPC server is."""
        return f"127.0.0.1:{self.grpc_port}"

    def server(self, *module: str) -> Program:
        """A program that serves gRPC: `om_server serve rpc`, or one of this package."""
        environment = {
            "OM_ENV": "development",
            "OM_DATA_DIR": str(self.folder),
            "OM_DATABASE_URL": self.settings.database_url,
            "OM_SERVICE_TOKEN": self.service_token,
            "OM_GRPC_PORT": str(self.grpc_port),
            "OM_GRPC_ADDRESS": "",
            "OM_HOST": "127.0.0.1",
        }
        return Program("rpc", module, environment, lambda: answers_grpc(self.grpc_target))


def proxy(name: str, port: int, *, upstream: str, grpc_target: str, service_token: str) -> Program:
    """One proxy worker between an upstream and a gRPC server."""
    environment = {
        "OM_ENV": "development",
        "OM_SERVICE_TOKEN": service_token,
        "OM_GRPC_ADDRESS": grpc_target,
        "OM_HOST": "127.0.0.1",
        "OM_PROXY_PORT": str(port),
        "OM_PROXY_JOURNAL_DIR": tempfile.mkdtemp(prefix="om-bench-journal-"),
        **dict.fromkeys(("OM_OPENAI_BASE_URL", "OM_ANTHROPIC_BASE_URL", "OM_GEMINI_BASE_URL"), upstream),
    }
    health = f"http://127.0.0.1:{port}/health/ready"
    return Program(name, ["om_proxy", "serve"], environment, lambda: answers_http(health))


@contextlib.contextmanager
def prepared(folder: Path, engine: str) -> Iterator[Deployment]:
    """Prepare a database: "sqlite", or "postgresql" with the durability that it is installed with."""
    with contextlib.ExitStack() as stack:
        url = ""
        if engine == "postgresql":
            url = stack.enter_context(_database(stack.enter_context(postgres_server(durable=True))))
        own = folder / f"{engine}-{secrets.token_hex(4)}"
        settings = load_settings(OM_ENV="development", OM_DATA_DIR=own, OM_DATABASE_URL=url)
        prepare(settings)
        _fund(settings)
        (grpc_port,) = free_ports(1)
        yield Deployment(settings, secrets.token_urlsafe(16), grpc_port)


@contextlib.contextmanager
def _database(maintenance_url: str) -> Iterator[str]:
    """A database of its own, because a server that runs already may hold anything."""
    name = f"om_bench_{secrets.token_hex(6)}"
    with psycopg.connect(maintenance_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    try:
        yield f"{maintenance_url.rsplit('/', 1)[0]}/{name}"
    finally:
        with psycopg.connect(maintenance_url, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _fund(settings: Settings) -> None:
    database = connections.open_database(settings)
    owner = Owner.of(ORGANIZATION_ID, OwnerKind.ORGANIZATION)
    wiring.build(database).wallet.grant_credits(ORGANIZATION_ID, Deposit(owner, _FUNDS, "bench"))
    database.close()


def free_ports(count: int) -> list[int]:
    """Ports that nobody has now."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def listens(port: int) -> bool:
    """Whether somebody takes connections there."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
