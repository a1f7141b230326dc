"""What `doctor` finds in the folder of the proxy's journals: may it be written, is there room, who has it."""

from __future__ import annotations

import fcntl
import os
import shutil
from typing import TYPE_CHECKING

from om_server.cli.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: A million calls, if the server takes nothing for so long.
ROOM_MIN_BYTES = 1024**3
_MEBIBYTE = 1024**2
#: As the proxy calls it in each journal.
_LOCK = "lock"


def journal_findings(folder: Path) -> Iterator[Finding]:
    """Look at the folder and at each journal in it; nothing where no proxy has run yet."""
    if not folder.exists():
        yield Finding("journals", f"{folder} is not there yet; the proxy makes it")
        return
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        yield Finding(
            "journals",
            f"{folder} is not a folder that can be written",
            remedy="change its owner or set OM_PROXY_JOURNAL_DIR to another",
        )
        return
    yield room_finding(folder, shutil.disk_usage(folder).free)
    for lock in sorted(folder.glob(f"*/{_LOCK}")):
        yield _owner_finding(lock)


def room_finding(folder: Path, free: int) -> Finding:
    """Whether the disk has room: a proxy whose journal is full refuses calls."""
    text = f"{folder} has {free // _MEBIBYTE} MiB free"
    if free < ROOM_MIN_BYTES:
        return Finding("journals", text, remedy="make room, or set OM_PROXY_JOURNAL_DIR to a larger disk")
    return Finding("journals", text)


def _owner_finding(lock: Path) -> Finding:
    check, journal = f"journal {lock.parent.name}", lock.parent
    size = sum(file.stat().st_size for file in journal.rglob("*") if file.is_file())
    try:
        if _held(lock):
            return Finding(check, f"{size // _MEBIBYTE} MiB, of a proxy that runs")
    except OSError:
        return Finding(check, f"{lock} cannot be opened", remedy="run doctor as the proxy's user")
    return Finding(check, f"{size // _MEBIBYTE} MiB, of a proxy that does not run; the next start sends it")


def _held(lock: Path) -> bool:
    """Whether a process has the lock. It is tried for a moment, as a proxy does."""
    handle = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False
