"""Who calls: the value that access is decided from, and how a handler reaches it.

A context variable carries it. The wrapper sets it on the thread or task that runs the handler,
because context variables do not cross from the event loop to the thread pool.
"""

import contextlib
import enum
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass

from om_server.core.audit import SERVICE_ID, SYSTEM_ID, Actor


class Principal(enum.Enum):
    """The kind of caller that a credential proves; the names are the contract's."""

    ANONYMOUS = "anonymous"
    KEY = "key"
    MEMBER = "member"
    OWNER = "owner"
    SERVICE = "service"


class Scope(enum.Enum):
    """What an API key was made for; names and values are the contract's."""

    INGEST = "INGEST"
    PROXY = "PROXY"
    READ = "READ"
    ADMIN = "ADMIN"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls. A service and nobody have no organization; only a key has a team and scopes."""

    principal: Principal
    organization_id: str = ""
    team_id: str = ""
    key_id: str = ""
    scopes: frozenset[Scope] = frozenset()
    member_id: str = ""
    #: A person's; not the secret, which nobody below the authenticator sees.
    session_id: str = ""
    request_id: str = ""

    def holds(self, scope: Scope) -> bool:
        """Tell whether the scopes include this one; ADMIN includes every other."""
        return scope in self.scopes or Scope.ADMIN in self.scopes

    @property
    def actor(self) -> Actor:
        """As whom the audit log knows the caller; a stranger has no name."""
        name = SERVICE_ID if self.principal is Principal.SERVICE else self.member_id or self.key_id
        return Actor(name or Principal.ANONYMOUS.value, self.request_id)


_current: ContextVar[Caller] = ContextVar("caller")


def caller() -> Caller:
    """Return who called the handler that runs now; LookupError outside of one."""
    return _current.get()


def actor() -> Actor:
    """Return who acts: the caller of the handler that runs now, and the program itself outside of one."""
    who = _current.get(None)
    return Actor(SYSTEM_ID) if who is None else who.actor


@contextlib.contextmanager
def acting_as(who: Caller) -> Iterator[None]:
    """Make this the caller for the block. Thread and task run other calls afterwards, so it ends."""
    token = _current.set(who)
    try:
        yield
    finally:
        _current.reset(token)
