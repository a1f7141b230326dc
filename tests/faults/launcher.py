"""Processes of the server, started by a host that has imported it already. See host.py."""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults.patience import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.faults.failpoint import Fault

_ROOT = Path(__file__).parents[2]


class Process:
    """One process. It ends when it is killed, when it kills itself, or when its command does."""

    def __init__(self, host: Host, pid: int, log: Path) -> None:
        self.log = log
        self._host = host
        self._pid = pid
        self._descriptor = os.pidfd_open(pid)
        self._status: int | None = None

    @property
    def ended(self) -> bool:
        return self._ends_within(0)

    @property
    def stopped(self) -> bool:
        """Whether it is there and does not run."""
        return Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    @property
    def children(self) -> list[int]:
        """The processes that it has started and that are there."""
        names = Path(f"/proc/{self._pid}/task/{self._pid}/children").read_text().split()
        return [int(name) for name in names]

    def limit_files(self, size: int) -> None:
        """Let none of its files grow beyond so many bytes."""
        resource.prlimit(self._pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def limit_descriptors(self, more: int) -> None:
        """Let it open so many more than it has open now."""
        limit = len(list(Path(f"/proc/{self._pid}/fd").iterdir())) + more
        _, hard = resource.prlimit(self._pid, resource.RLIMIT_NOFILE)
        resource.prlimit(self._pid, resource.RLIMIT_NOFILE, (limit, hard))

    def signal(self, number: signal.Signals) -> None:
        if self._status is None:
            signal.pidfd_send_signal(self._descriptor, number)

    def wait(self) -> int:
        """Wait for its end and give the exit code; a signal's is negative."""
        if self._status is None:
            if not self._ends_within(PATIENCE_S):
                self.signal(signal.SIGKILL)
                raise AssertionError(f"still runs: {self.log.read_text(errors='replace')[-2000:]}")
            self._status = self._host.ask(wait=self._pid)["status"]
            os.close(self._descriptor)
        return self._status

    def kill(self) -> None:
        """End it at once, wherever it is."""
        self.signal(signal.SIGKILL)
        self.wait()

    def terminate(self) -> None:
        """Let it end by itself."""
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        self.wait()

    def _ends_within(self, timeout_s: float) -> bool:
        if self._status is not None:
            return True
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        return bool(poll.poll(timeout_s * 1000))


class Host:
    """The process that forks. One at a time is asked."""

    def __init__(self) -> None:
        #: Defects of every process that is started from now on.
        self.breakages: Sequence[str] = ()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.host"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=_ROOT,
            text=True,
        )

    def start(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        *,
        log: Path,
        fault: Fault | None = None,
        modes: Sequence[str] = (),
        program: str = "openmonetize",
    ) -> Process:
        """Run `openmonetize`, or `om_proxy`, with these arguments in a process of its own."""
        answer = self.ask(
            program=program,
            arguments=[*arguments],
            environment=dict(environment),
            log=str(log),
            fault=asdict(fault) if fault else None,
            modes=[*modes],
            breakages=[*self.breakages],
        )
        return Process(self, answer["pid"], log)

    def ask(self, **order: object) -> dict[str, int]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the host of the processes is gone"
        answer: dict[str, int] = json.loads(line)
        return answer

    def close(self) -> None:
        self._process.communicate(timeout=PATIENCE_S)
