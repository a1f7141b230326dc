"""Runs the whole platform on one machine: starts its processes in order, watches them, stops them.

Each process is a child of its own in a session of its own, so that Ctrl-C reaches only this one
and the children are stopped in order: the proxies first, the database's owner last.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from om_server.settings import Settings

_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 35.0
_POLL_S = 0.05


class StartFailed(Exception):
    """A process could not start; the message is one line for a person."""


@dataclass(frozen=True, slots=True)
class Component:
    """A process: how it is started, which ports it takes, and how to tell that it is ready."""

    name: str
    arguments: Sequence[str]
    ports: Mapping[str, int]
    ready: Callable[[], bool]
    environment: Mapping[str, str] = field(default_factory=dict)


def components(settings: Settings, service_token: str) -> list[Component]:
    """Every process of the platform, in the order in which they start."""
    shared = {
        "OM_ENV": settings.environment.value,
        "OM_DATA_DIR": str(settings.data_dir),
        "OM_SERVICE_TOKEN": service_token,
        "OM_GRPC_ADDRESS": settings.rpc_target,
        "LOG_LEVEL": settings.log_level,
    }
    host = settings.host
    simulator = f"http://{host}:{settings.simulator_port}"
    simulated = dict.fromkeys(
        ("OM_OPENAI_BASE_URL", "OM_ANTHROPIC_BASE_URL", "OM_GEMINI_BASE_URL"), simulator
    )
    server, proxy = (sys.executable, "-m", "om_server"), (sys.executable, "-m", "om_proxy")
    ports = {
        "OM_REST_PORT": settings.rest_port,
        "OM_INGEST_PORT": settings.ingest_port,
        "OM_RATING_PORT": settings.rating_port,
    }
    found = [
        Component(
            name="rpc",
            arguments=[*server, "serve", "rpc"],
            ports={"OM_GRPC_PORT": settings.grpc_port},
            ready=lambda: _grpc_ready(settings.rpc_target),
            environment=shared,
        ),
        Component(
            name="rest",
            arguments=[*server, "serve", "rest"],
            ports=ports,
            ready=lambda: _http_ready(f"http://{host}:{settings.rest_port}/ready"),
            environment=shared,
        ),
        Component(
            name="proxy",
            arguments=[*proxy, "serve"],
            ports={"OM_PROXY_PORT": settings.proxy_port},
            ready=lambda: _http_ready(f"http://{host}:{settings.proxy_port}/health/ready"),
            environment={**shared, "OM_PROXY_PORT": str(settings.proxy_port)},
        ),
    ]
    if not settings.on_sqlite:
        worker = Component(
            name="worker",
            arguments=[*server, "serve", "worker"],
            ports={},
            ready=lambda: True,
            environment=shared,
        )
        found.insert(1, worker)
    if settings.environment == "development":
        found += [
            Component(
                name="simulator",
                arguments=[*proxy, "simulator", "--port", str(settings.simulator_port)],
                ports={"OM_SIMULATOR_PORT": settings.simulator_port},
                ready=lambda: _port_open(host, settings.simulator_port),
                environment=shared,
            ),
            Component(
                name="simulated-proxy",
                arguments=[*proxy, "serve"],
                ports={"OM_SIMULATED_PROXY_PORT": settings.simulated_proxy_port},
                ready=lambda: _http_ready(f"http://{host}:{settings.simulated_proxy_port}/health/ready"),
                environment={**shared, **simulated, "OM_PROXY_PORT": str(settings.simulated_proxy_port)},
            ),
        ]
    return found


def require_free_ports(host: str, found: Sequence[Component]) -> None:
    """`StartFailed` names the first port that somebody else has, and the variable that moves it."""
    for component in found:
        for variable, port in component.ports.items():
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((host, port))
                except OSError:
                    message = f"port {port} is taken ({component.name}); set {variable} to another"
                    raise StartFailed(message) from None


def own_service_token(folder: Path) -> str:
    """The token that our processes show one another: made once, readable by this user alone."""
    path = folder / "service_token"
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_urlsafe(32))
    return path.read_text().strip()


class Supervisor:
    """The running children. `start` brings them up, `wait` watches them, `stop` ends them."""

    def __init__(self, log_folder: Path) -> None:
        self._log_folder = log_folder
        self._running: list[tuple[Component, subprocess.Popen[bytes]]] = []

    def start(self, component: Component) -> None:
        """Start one process and return when it is ready; `StartFailed` if it ends or takes too long."""
        self._log_folder.mkdir(parents=True, exist_ok=True)
        path = self._log_folder / f"{component.name}.log"
        with path.open("ab") as log:
            process = subprocess.Popen(  # noqa: S603 - our own programs with our own arguments
                component.arguments,
                env={**os.environ, **component.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._running.append((component, process))
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not component.ready():
            if process.poll() is not None:
                raise StartFailed(f"{component.name} ended with {process.returncode}: {_last_line(path)}")
            if time.monotonic() > deadline:
                raise StartFailed(f"{component.name} was not ready in {_START_TIMEOUT_S:.0f} s; see {path}")
            time.sleep(_POLL_S)

    def wait(self) -> str:
        """Block until a child ends, and name it."""
        while True:
            for component, process in self._running:
                if process.poll() is not None:
                    return component.name
            time.sleep(_POLL_S * 4)

    def stop(self) -> None:
        """Ask each child to stop, the last started first; kill what does not."""
        for _, process in reversed(self._running):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            try:
                process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.clear()


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"no output, see {path}"


def _http_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:  # noqa: S310 - our own loopback address
            return bool(answer.status == 200)  # noqa: PLR2004 - the status of success
    except (OSError, urllib.error.URLError):
        return False


def _grpc_ready(target: str) -> bool:
    with grpc.insecure_channel(target) as channel:
        try:
            stub = health_pb2_grpc.HealthStub(channel)
            answer = stub.Check(  # type: ignore[attr-defined]  # Set at run time.
                health_pb2.HealthCheckRequest(), timeout=1
            )
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def _port_open(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0
