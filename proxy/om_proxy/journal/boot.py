"""In which life of the machine a process runs: what was written before a reboot may not be on the disk."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_LINUX = Path("/proc/sys/kernel/random/boot_id")
_MACOS = ("/usr/sbin/sysctl", "-n", "kern.bootsessionuuid")
_TIMEOUT_S = 5
_LENGTH_MAX = 64


def boot_id() -> str:
    """Name this life of the machine; empty where nobody can tell, which is never the one before."""
    try:
        if sys.platform == "darwin":
            command = subprocess.run(_MACOS, capture_output=True, check=True, timeout=_TIMEOUT_S)  # noqa: S603 - constant
            said = command.stdout.decode()
        else:
            said = _LINUX.read_text()
    except (OSError, ValueError, subprocess.SubprocessError):
        return ""
    return said.strip()[:_LENGTH_MAX]
