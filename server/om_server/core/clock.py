"""Time as an argument: whoever needs the present is given a `Clock`."""

from __future__ import annotations

import time
from collections.abc import Callable

#: Gives microseconds since 1970 in UTC.
Clock = Callable[[], int]

MICROS_PER_SECOND = 1_000_000


def system_clock() -> int:
    """Read the machine's clock."""
    return time.time_ns() // 1000
