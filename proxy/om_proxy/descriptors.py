"""How many files and connections this process may have open."""

from __future__ import annotations

import contextlib
import resource


def take_all_descriptors() -> None:
    """Raise the limit as far as the system lets us: every call takes two, and 1,024 are a usual start."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Some systems refuse what they said themselves; then it stays as it was.
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
