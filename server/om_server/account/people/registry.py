"""The parts that every operation on people needs, in one value."""

from collections.abc import Callable
from dataclasses import dataclass

from om_server.account.people.secret_store import SecretStore
from om_server.account.people.session_desk import SessionDesk
from om_server.account.people.store import MemberStore
from om_server.account.store import AccountStore
from om_server.core.clock import Clock
from om_server.core.ids import IdSource
from om_server.storage.audit import AuditTrail
from om_server.storage.database import Database


@dataclass(frozen=True, slots=True)
class Registry:
    """Where people are kept, and what makes their ids, times and secrets."""

    database: Database
    organizations: AccountStore
    members: MemberStore
    secrets: SecretStore
    sessions: SessionDesk
    audit: AuditTrail
    ids: IdSource
    clock: Clock
    random_bytes: Callable[[int], bytes]


def registry(  # noqa: PLR0913 - what the composition root has
    database: Database,
    organizations: AccountStore,
    *,
    audit: AuditTrail,
    ids: IdSource,
    clock: Clock,
    random_bytes: Callable[[int], bytes],
) -> Registry:
    """Put the parts over a database together."""
    members, secrets = MemberStore(database), SecretStore(database)
    sessions = SessionDesk(database, secrets, ids=ids, clock=clock, random_bytes=random_bytes)
    return Registry(database, organizations, members, secrets, sessions, audit, ids, clock, random_bytes)
