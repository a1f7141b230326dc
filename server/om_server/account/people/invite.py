"""Links that mails carry: an invite to an organization, and the setting of a new password."""

from dataclasses import dataclass

from om_server.account.people.member import Role
from om_server.core.clock import MICROS_PER_SECOND
from om_server.core.errors import Unauthenticated

#: How long an invite can be accepted.
INVITE_LIFE = 7 * 24 * 3600 * MICROS_PER_SECOND
#: How long a password can be set.
RESET_LIFE = 3600 * MICROS_PER_SECOND


class LinkInvalid(Unauthenticated):
    """The secret from a mail is unknown, used, replaced or expired; which of them is not told."""

    def __init__(self) -> None:
        super().__init__("the link is not valid any more")


@dataclass(frozen=True, slots=True)
class Invite:
    """An invitation, without its secret. The address is in its normal form."""

    organization_id: str
    invite_id: str
    email: str
    role: Role
    expire_time: int
    create_time: int

    def open(self, now: int) -> bool:
        """Tell whether it can be accepted."""
        return now < self.expire_time


@dataclass(frozen=True, slots=True)
class PasswordReset:
    """The permission to set a member's password, once."""

    organization_id: str
    member_id: str
    expire_time: int

    def open(self, now: int) -> bool:
        """Tell whether the password can be set."""
        return now < self.expire_time
