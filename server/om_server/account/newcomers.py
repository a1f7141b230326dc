"""Whether strangers may found organizations here, and how many: they must not fill the database."""

import threading

from om_server.core.clock import MICROS_PER_SECOND, Clock
from om_server.core.errors import Code, DomainError, Overloaded

#: More than people who try something out, and few enough that a loop does no harm.
FOUNDED_PER_HOUR = 60

_HOUR = 3600 * MICROS_PER_SECOND


class SignUpClosed(DomainError):
    """People join this installation by invitation only."""

    code = Code.PERMISSION_DENIED
    reason = "SIGN_UP_CLOSED"

    def __init__(self) -> None:
        super().__init__("sign-up is closed; ask an owner for an invitation")


class Allowance:
    """So many within a clock hour, in this process."""

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


class Newcomers:
    """Who comes without an invitation: people who sign up and programs that register, counted together."""

    def __init__(self, *, welcome: bool, clock: Clock) -> None:
        self._welcome = welcome
        self._clock = clock
        self._allowance = Allowance(FOUNDED_PER_HOUR)

    def check(self) -> None:
        """SIGN_UP_CLOSED where nobody comes uninvited."""
        if not self._welcome:
            raise SignUpClosed

    def admit(self) -> None:
        """Count one who wants an organization, whether or not he gets it; OVERLOADED beyond the bound."""
        self.check()
        if not self._allowance.take(self._clock()):
            raise Overloaded("too many organizations are founded; retry later")
