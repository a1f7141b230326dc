"""What an organization that registers itself gives: an address and a plan. And how many may do so."""

import enum
import threading
from dataclasses import dataclass

from om_server.core.clock import MICROS_PER_SECOND

_HOUR = 3600 * MICROS_PER_SECOND


class Tier(enum.StrEnum):
    """The published plans; labels, and quotas where those are set."""

    STARTER = "STARTER"
    GROWTH = "GROWTH"
    ENTERPRISE = "ENTERPRISE"


@dataclass(frozen=True, slots=True)
class Registration:
    """Where an organization is reached, and its plan. One that did not register itself has no address."""

    email: str = ""
    tier: Tier = Tier.STARTER


class Allowance:
    """So many within a clock hour, in this process: what anybody may call must not fill the database."""

    def __init__(self, count_max: int) -> None:
        self._count_max = count_max
        self._lock = threading.Lock()
        self._hour = -1
        self._count = 0

    def take(self, now: int) -> bool:
        """Count one; False if there were enough in this hour."""
        with self._lock:
            hour = now // _HOUR
            if hour != self._hour:
                self._hour, self._count = hour, 0
            self._count += 1
            return self._count <= self._count_max
