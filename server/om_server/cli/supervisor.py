"""Runs the whole platform on one machine: starts its processes in order, watches them, stops them.

Each process is a child of its own in a session of its own, so that Ctrl-C reaches only this one
and the children are stopped in order: the proxies first, the database's owner last.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Self

from om_server.cli.probe import refusal
from om_server.failure import CommandFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path
    from types import FrameType

    from om_server.cli.component import Component

_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 35.0
_START_POLL_S = 0.05
_WATCH_POLL_S = 0.2
#: One that is killed sooner after its start would be killed again and again.
_STEADY_S = 5.0
_LAST_LINE_BYTES_MAX = 4096
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StartFailed(CommandFailed):
    """A process could not start, or ended by itself."""


def require_free_ports(host: str, found: Sequence[Component]) -> None:
    """`StartFailed` names the first port that cannot be had, and the variable that moves it."""
    users: dict[int, str] = {}
    for component in found:
        for variable, port in component.ports.items():
            if other := users.get(port):
                raise StartFailed(f"{other} and {variable} are both {port}; set one of them to another port")
            if reason := refusal(host, port):
                raise StartFailed(
                    f"port {port} is {reason} (wanted for {component.name}); set {variable} to another"
                )
            users[port] = variable


def own_service_token(folder: Path) -> str:
    """The token that our processes show one another: made once, readable by this user alone."""
    path = folder / "service_token"
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        if found := path.read_text().strip():
            return found
    token = secrets.token_urlsafe(32)
    made = folder / f"service_token.{os.getpid()}"
    with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(token)
    # In one step, so that nobody ever reads half of it.
    made.replace(path)
    return token


class StopSignals:
    """Makes the first SIGINT, SIGTERM or SIGHUP a KeyboardInterrupt, and lets later ones change nothing.

    A second Ctrl-C in the middle of stopping would leave children behind, in sessions of their own.
    """

    def __init__(self) -> None:
        self._asked = False
        self._holding = False
        self._postponed = False
        self._before: dict[signal.Signals, Callable[[int, FrameType | None], object] | int | None] = {}

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Let the block finish before a signal interrupts."""
        self._holding = True
        try:
            yield
        finally:
            self._holding = False
        if self._postponed:
            self._postponed = False
            raise KeyboardInterrupt

    def ignore(self) -> None:
        """Let no further signal interrupt: what follows is the stop itself."""
        self._asked = True

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        if self._asked:
            return
        self._asked = True
        if not self._holding:
            raise KeyboardInterrupt
        self._postponed = True


class Supervisor:
    """The running children. `start` brings them up, `wait` watches them, `stop` ends them."""

    def __init__(
        self,
        log_folder: Path,
        *,
        held: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
        start_timeout_s: float = _START_TIMEOUT_S,
        stop_timeout_s: float = _STOP_TIMEOUT_S,
        steady_s: float = _STEADY_S,
    ) -> None:
        self._log_folder = log_folder
        self._held = held
        self._start_timeout_s = start_timeout_s
        self._stop_timeout_s = stop_timeout_s
        self._steady_s = steady_s
        self._running: list[_Child] = []

    def start(self, component: Component) -> None:
        """Start one process and return when it is ready; `StartFailed` if it ends or takes too long."""
        if component.ready_file is not None:
            component.ready_file.unlink(missing_ok=True)
        # Between being started and being listed, a child would be missed by `stop`.
        with self._held():
            child = _Child(component, self._log_folder)
            self._running.append(child)
        deadline = time.monotonic() + self._start_timeout_s
        while not component.ready():
            self._require_running()
            if time.monotonic() > deadline:
                raise StartFailed(
                    f"{component.name} was not ready in {self._start_timeout_s:.0f} s; see {child.log}"
                )
            time.sleep(_START_POLL_S)
        # What answered may have been somebody else, if the child could not listen and has ended.
        self._require_running()

    def wait(self, tell: Callable[[str], None]) -> None:
        """Block until a child ends, and raise `StartFailed` with its name and its last line.

        One that was killed and resumes is started again, which is told.
        """
        while True:
            self._resume(tell)
            self._require_running()
            time.sleep(_WATCH_POLL_S)

    def stop(self) -> None:
        """Ask each child to stop, the last started first; kill what does not."""
        while self._running:
            self._running.pop().stop(self._stop_timeout_s)

    def _resume(self, tell: Callable[[str], None]) -> None:
        for index, child in enumerate(self._running):
            killed_by, component = child.killed_by, child.component
            if killed_by is not None and component.resumes and child.age_s >= self._steady_s:
                tell(f"{component.name} was killed by signal {killed_by} and is started again.")
                with self._held():
                    self._running[index] = _Child(component, self._log_folder)

    def _require_running(self) -> None:
        for child in self._running:
            if (code := child.process.poll()) is not None:
                raise StartFailed(f"{child.component.name} ended with {code}: {child.last_line()}")


class _Child:
    """A started process and what it has written."""

    def __init__(self, component: Component, log_folder: Path) -> None:
        self.component = component
        self._started = time.monotonic()
        log_folder.mkdir(parents=True, exist_ok=True)
        self.log = log_folder / f"{component.name}.log"
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            self.process = subprocess.Popen(  # noqa: S603 - our own programs with our own arguments
                component.arguments,
                env={**os.environ, **component.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def killed_by(self) -> int | None:
        """The signal that ended it, if one did."""
        code = self.process.poll()
        return -code if code is not None and code < 0 else None

    @property
    def age_s(self) -> float:
        return time.monotonic() - self._started

    def stop(self, timeout_s: float) -> None:
        self.process.terminate()
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def last_line(self) -> str:
        """The last line of this run; the log may hold earlier ones."""
        with self.log.open("rb") as log:
            end = log.seek(0, os.SEEK_END)
            log.seek(max(self._log_start, end - _LAST_LINE_BYTES_MAX))
            lines = log.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"no output, see {self.log}"
