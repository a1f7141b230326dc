"""Processes of a measurement: started in order, asked for their processor time, stopped in reverse."""

from __future__ import annotations

import contextlib
import http.client
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

_ROOT = Path(__file__).parents[2]
_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 35.0
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Program:
    """A Python module to run with these variables, and how to tell that it answers."""

    name: str
    module: Sequence[str]
    environment: Mapping[str, str]
    ready: Callable[[], bool]


class Fleet:
    """Running programs, by name."""

    def __init__(self, log_folder: Path) -> None:
        self._log_folder = log_folder
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, program: Program) -> None:
        """Start one and return when it answers."""
        self._log_folder.mkdir(parents=True, exist_ok=True)
        log_path = self._log_folder / f"{program.name}.log"
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *program.module],
                env={**os.environ, "PYTHONPATH": _python_path(), **program.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # A `.env` of the checkout must not steer a measurement.
                cwd=self._log_folder,
                start_new_session=True,
            )
        self._processes[program.name] = process
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not program.ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{program.name} did not start: {log_path.read_text(errors='replace')}")
            time.sleep(_POLL_S)

    def cpu_s(self, name: str) -> float:
        """Processor time that a program and its workers have used; not a number where nobody tells."""
        pid = self._processes[name].pid
        try:
            workers = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            texts = [Path(f"/proc/{one}/stat").read_text() for one in (pid, *workers)]
        except OSError:
            return float("nan")
        fields = [text.rpartition(")")[2].split() for text in texts]
        return sum(int(own[11]) + int(own[12]) for own in fields) / os.sysconf("SC_CLK_TCK")

    def memory_mb(self, name: str) -> float:
        """Memory that a program has now; not a number where the system does not tell."""
        try:
            text = Path(f"/proc/{self._processes[name].pid}/status").read_text()
        except OSError:
            return float("nan")
        return int(text.partition("VmRSS:")[2].split()[0]) / 1024

    def stop(self) -> None:
        """Stop all, the last started first."""
        for process in reversed(self._processes.values()):
            process.terminate()
            try:
                process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _python_path() -> str:
    """Programs run in a folder of their own, so they are told where this package is."""
    return os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])


@contextlib.contextmanager
def fleet(log_folder: Path, *programs: Program) -> Iterator[Fleet]:
    """Run these programs until the block is left."""
    running = Fleet(log_folder)
    try:
        for program in programs:
            running.start(program)
        yield running
    finally:
        running.stop()


def answers_http(url: str) -> bool:
    """Whether a GET is answered with success."""
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:  # noqa: S310 - our own loopback address
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError, http.client.HTTPException):
        return False


def answers_grpc(target: str) -> bool:
    """Whether the server says that it serves."""
    with grpc.insecure_channel(target) as channel:
        try:
            stub = health_pb2_grpc.HealthStub(channel)
            check = stub.Check  # type: ignore[attr-defined]  # Set at run time.
            return bool(check(health_pb2.HealthCheckRequest(), timeout=1).status == _SERVING)
        except grpc.RpcError:
            return False


_SERVING = health_pb2.HealthCheckResponse.SERVING
