"""Limits on what may be tried with one address, whether or not it has an account, or by one organization."""

from dataclasses import dataclass

from om_server.core.clock import MICROS_PER_SECOND
from om_server.core.errors import Code, DomainError

_MINUTE = 60 * MICROS_PER_SECOND


class SignInLimited(DomainError):
    """Too many wrong passwords for this address; the wait ends by itself."""

    code = Code.RESOURCE_EXHAUSTED
    reason = "SIGN_IN_LIMITED"

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(
            f"too many failed sign-ins for this address; retry in {retry_after_s} s",
            retry_after_s=str(retry_after_s),
        )


@dataclass(frozen=True, slots=True)
class Attempts:
    """How often something was tried since its window began."""

    count: int = 0
    window_time: int = 0


@dataclass(frozen=True, slots=True)
class AttemptLimit:
    """At most so many in a window, which begins with the first. `window` is in microseconds."""

    purpose: str
    count_max: int
    window: int

    def wait(self, attempts: Attempts, now: int) -> int:
        """Return for how many microseconds nothing more may be tried; 0 if something may."""
        left = attempts.window_time + self.window - now
        return max(left, 0) if attempts.count >= self.count_max else 0


#: Guesses of a password. A refused one is not counted, so that the wait ends while somebody goes on.
FAILED_SIGN_INS = AttemptLimit("sign_in", count_max=10, window=15 * _MINUTE)
#: Links to set a password, which anybody can have us send. Not counted with the invites: who invites
#: would learn from it whether there is an account, and could keep a person from a new password.
RESET_MAILS = AttemptLimit("reset_mail", count_max=5, window=60 * _MINUTE)
#: Invites, from whatever organization.
INVITE_MAILS = AttemptLimit("invite_mail", count_max=5, window=60 * _MINUTE)
#: Invites of one organization, to whatever addresses.
INVITES = AttemptLimit("invite", count_max=100, window=60 * _MINUTE)
