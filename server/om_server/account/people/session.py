"""Rules of sessions: how long one lives. Each use moves the idle limit; nothing moves the absolute one."""

from dataclasses import dataclass, field

from om_server.account.organization import Organization
from om_server.account.people.member import Member
from om_server.core.clock import MICROS_PER_SECOND

_HOUR = 3600 * MICROS_PER_SECOND
_DAY = 24 * _HOUR

#: Without a call for this long, a session ends.
IDLE_LIMIT = 7 * _DAY
#: However much it is used, a session ends.
ABSOLUTE_LIMIT = 30 * _DAY
# A use is written down at most this often: a dashboard's reads must not each become a write.
_USE_GRAIN = _HOUR


@dataclass(frozen=True, slots=True)
class Session:
    """A signed-in person, without the secret. Its use is known to the hour."""

    organization_id: str
    session_id: str
    member_id: str
    create_time: int
    use_time: int

    @property
    def expire_time(self) -> int:
        """When it ends at the latest."""
        return self.create_time + ABSOLUTE_LIMIT

    def ended(self, now: int) -> bool:
        """Tell whether nobody may use it any more."""
        return now >= min(self.expire_time, self.use_time + IDLE_LIMIT)

    def use_is_news(self, now: int) -> bool:
        """Tell whether a use at this time is worth a write."""
        return now >= self.use_time + _USE_GRAIN


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session with its secret, which is shown once and is not in any log."""

    session: Session
    member: Member
    organization: Organization
    secret: str = field(repr=False)
