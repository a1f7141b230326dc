"""What the audit log tells: who acted, what was written, and how the object was before and after.

Neither secrets nor content belong into it: no key, password, hash, session, link of a mail, prompt or
response, and no text of end users.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

#: The program itself: the command line on the machine, the seeds of development, the worker.
SYSTEM_ID = "system"
#: One of our own processes, which shows the service token.
SERVICE_ID = "service"

#: An object as a record shows it. Amounts are decimal text, since JSON's numbers are doubles.
Facts: TypeAlias = Mapping[str, str | int | bool | Sequence[str] | None]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECRET = ("secret", "password", "hash", "token", "cookie")
#: What may be shown of a key, and what only sounds like a secret.
_SHOWABLE = frozenset({"masked_secret", "max_tokens"})


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts: a member, a key or a service by id. The request is empty where none came over the wire."""

    actor_id: str
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One write. `action` is the RPC's name; `before` is None for something new, `after` for what is gone."""

    action: str
    object_type: str
    object_id: str
    before: Facts | None = None
    after: Facts | None = None

    def __post_init__(self) -> None:
        for name in (*(self.before or ()), *(self.after or ())):
            if name not in _SHOWABLE and any(part in name for part in _SECRET):
                raise ValueError(f"{self.action} would write down {name}")


def moment(micros: int | None) -> str | None:
    """Return a time, given in microseconds since 1970, as a record shows it."""
    return None if micros is None else (_EPOCH + timedelta(microseconds=micros)).isoformat()
