"""The platform as production has it: PostgreSQL, Redis, and each component a process of its own.

The gRPC server connects as the plain role that row-level security guards, the worker as its own.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import httpx

from om_server.cli.probe import connects, grpc_serving, http_ready
from om_server.storage.row_security import SERVER_ROLE, WORKER_ROLE
from tests.databases import member_of
from tests.e2e.installation import (
    ADMIN_TOKEN,
    PROXY_BODY_BYTES_MAX,
    QUOTA,
    QUOTA_PLAN,
    SERVICE_TOKEN,
    Addresses,
    closed_port,
)
from tests.ports import free_ports
from tests.server.cli.processes import SERVER, environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from tests.redis_server import RedisServer

_START_TIMEOUT_S = 60
_STOP_PATIENCE_S = 3
_STOP_TIMEOUT_S = 20
_POLL_S = 0.02
_UPSTREAMS = ("OM_OPENAI_BASE_URL", "OM_ANTHROPIC_BASE_URL", "OM_GEMINI_BASE_URL")


@dataclass(frozen=True, slots=True)
class Processes:
    """What runs, and the database's URL for its owner."""

    database_url: str
    addresses: Addresses
    folder: Path
    #: Where each process is measured, by its name.
    metrics: Mapping[str, str]

    def measured(self) -> dict[str, str]:
        """Give what each process tells Prometheus."""
        return {name: httpx.get(url, timeout=_START_TIMEOUT_S).text for name, url in self.metrics.items()}

    def logs(self) -> str:
        """Give every line that the processes have written."""
        return "".join(path.read_text() for path in sorted(self.folder.glob("*.log")))


@contextlib.contextmanager
def running_processes(database_url: str, redis_server: RedisServer, folder: Path) -> Iterator[Processes]:
    """Start every component over a migrated database, as `openmonetize serve` is told to."""
    with (
        member_of(SERVER_ROLE, database_url) as server_url,
        member_of(WORKER_ROLE, database_url) as worker_url,
        closed_port() as nowhere,
        _Fleet(folder) as fleet,
    ):
        stores = {"OM_DATABASE_URL": server_url, "OM_REDIS_URL": redis_server.url}
        ready_file = folder / "worker.ready"
        fleet.begin("rpc", ["serve", "rpc"], stores)
        fleet.begin(
            "worker",
            ["serve", "worker", "--ready-file", str(ready_file)],
            {**stores, "OM_DATABASE_URL": worker_url},
        )
        fleet.begin("rest", ["serve", "rest"], {})
        fleet.begin("simulator", ["simulator", "--port", str(fleet.port("OM_SIMULATOR_PORT"))], {})
        simulator = fleet.address("OM_SIMULATOR_PORT")
        addresses = Addresses(
            grpc=f"127.0.0.1:{fleet.port('OM_GRPC_PORT')}",
            rest=fleet.address("OM_REST_PORT"),
            simulator=simulator,
            proxy=fleet.begin_proxy("proxy", simulator),
            offline_proxy=fleet.begin_proxy("offline-proxy", nowhere),
        )
        fleet.await_all(
            lambda: grpc_serving(addresses.grpc) is True,
            ready_file.exists,
            lambda: http_ready(f"{addresses.rest}/ready"),
            lambda: connects("127.0.0.1", fleet.port("OM_SIMULATOR_PORT")),
            lambda: http_ready(f"{addresses.proxy}/health/ready"),
            lambda: http_ready(f"{addresses.offline_proxy}/health/ready"),
        )
        yield Processes(database_url, addresses, folder, fleet.metrics)


class _Fleet:
    """Processes that share an environment, stopped in reverse order at the end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._environment = environment(
            folder, OM_SERVICE_TOKEN=SERVICE_TOKEN, LOG_LEVEL="debug", OM_SIGN_UP="open"
        )
        self._environment["OM_ADMIN_TOKEN"] = ADMIN_TOKEN
        self._environment["OM_MONTHLY_QUOTAS"] = f"{QUOTA_PLAN}={QUOTA}"
        self._environment["OM_GRPC_ADDRESS"] = f"127.0.0.1:{self.port('OM_GRPC_PORT')}"
        self._stack = contextlib.ExitStack()
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.metrics: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Ask all at once, and again: a stream that a test has left hanging would hold up a proxy's end."""
        for patience_s in (_STOP_PATIENCE_S, _STOP_TIMEOUT_S, 0):
            for process in self._running.values():
                (process.terminate if patience_s else process.kill)()
            deadline = time.monotonic() + patience_s
            for process in self._running.values():
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.0, deadline - time.monotonic()))
        for process in self._running.values():
            process.wait()
        self._stack.close()

    def port(self, variable: str) -> int:
        return int(self._environment[variable])

    def address(self, variable: str) -> str:
        return f"http://127.0.0.1:{self.port(variable)}"

    def begin(self, name: str, arguments: Sequence[str], variables: Mapping[str, str]) -> None:
        """Start one, and stop it at the end."""
        (port,) = free_ports(1)
        if name != "simulator":
            self.metrics[name] = f"http://127.0.0.1:{port}/metrics"
        log = self._stack.enter_context((self._folder / f"{name}.log").open("wb"))
        process = subprocess.Popen(
            [*SERVER, *arguments],
            env={**self._environment, **variables, "OM_METRICS_PORT": str(port)},
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        self._running[name] = process

    def begin_proxy(self, name: str, origin: str) -> str:
        """Start a proxy with a journal of its own, whose providers are all at this origin."""
        (port,) = free_ports(1)
        self.begin(
            name,
            ["serve", "proxy"],
            {
                **dict.fromkeys(_UPSTREAMS, origin),
                "OM_PROXY_PORT": str(port),
                "OM_PROXY_JOURNAL_DIR": str(self._folder / f"{name}-journal"),
                "OM_PROXY_BODY_BYTES_MAX": str(PROXY_BODY_BYTES_MAX),
            },
        )
        return f"http://127.0.0.1:{port}"

    def await_all(self, *ready: Callable[[], bool]) -> None:
        """Return when each is ready; they start at the same time."""
        deadline = time.monotonic() + _START_TIMEOUT_S
        for is_ready in ready:
            while not is_ready():
                ended = [name for name, process in self._running.items() if process.poll() is not None]
                if ended or time.monotonic() > deadline:
                    raise RuntimeError(f"not ready; ended: {ended}; {self._last_words()}")
                time.sleep(_POLL_S)  # Waiting for another process is the one place that needs it.

    def _last_words(self) -> str:
        return "\n".join(path.read_text()[-2_000:] for path in self._folder.glob("*.log"))
