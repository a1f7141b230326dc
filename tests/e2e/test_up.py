"""`openmonetize up` as a person runs it: until it says that it runs, and until Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.server.cli.processes import SERVER, environment

_COMPONENTS = 5
_STOP_TIMEOUT_S = 60


def _children(parent: int) -> set[int]:
    """Processes that a process has started and that run, by the kernel's own list."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                # The name in parentheses may hold anything; state and parent come after it.
                state, owner = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            except OSError:
                continue  # It ended while we looked.
            if int(owner) == parent and state != "Z":
                found.add(int(entry.name))
    return found


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.acceptance("B-114", "B-115")
def test_one_interrupt_stops_everything(tmp_path: Path) -> None:
    up = subprocess.Popen(
        [*SERVER, "up"],
        env=environment(tmp_path),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert up.stdout is not None
    with up.stdout:
        said = []
        for line in up.stdout:
            said.append(line)
            if line.startswith("Running."):
                break
        children = _children(up.pid)
        up.send_signal(signal.SIGINT)
        said += up.stdout
    code = up.wait(_STOP_TIMEOUT_S)

    shown = "".join(said)
    assert "OpenMonetize is up" in shown
    assert "om_dev_test_key" in shown
    assert "Traceback" not in shown
    assert code == 0, shown
    assert len(children) == _COMPONENTS
    assert not [pid for pid in children if _runs(pid)]
