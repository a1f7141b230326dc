"""Opens, finds and ends sessions."""

import contextlib
from collections.abc import Callable

from om_server.account.organization import Organization
from om_server.account.people.member import Member
from om_server.account.people.secret import SESSION, credible, new_secret
from om_server.account.people.secret_store import SecretStore
from om_server.account.people.session import ABSOLUTE_LIMIT, NewSession, Session
from om_server.core.clock import Clock
from om_server.core.errors import DependencyUnavailable, Unauthenticated
from om_server.core.ids import IdSource
from om_server.rpc.caller import Caller, Principal
from om_server.storage.database import Database


class SessionDesk:
    """Sessions of every organization, one at a time. As an authenticator it knows their secrets."""

    def __init__(
        self,
        database: Database,
        secrets: SecretStore,
        *,
        ids: IdSource,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._database = database
        self._secrets = secrets
        self._ids = ids
        self._clock = clock
        self._random_bytes = random_bytes

    def open(self, member: Member, organization: Organization) -> NewSession:
        """Begin a session, within the caller's transaction; nobody's of a suspended organization."""
        if organization.suspended:
            raise Unauthenticated("the organization is suspended")
        now = self._clock()
        session = Session(member.organization_id, self._ids.new("ses"), member.member_id, now, now)
        secret = new_secret(SESSION, self._random_bytes)
        # What ended by itself goes when something begins, so that the tables do not grow for ever.
        self._secrets.forget_sessions(member.organization_id, before=now - ABSOLUTE_LIMIT)
        self._secrets.forget_lookups(now=now)
        self._secrets.add_session(session, secret)
        return NewSession(session, member, organization, secret)

    def authenticate(self, secret: str) -> Caller:
        """Return whose session this is, with the role of this moment; CREDENTIAL_INVALID otherwise.

        Nothing is remembered between calls, so that sign-out, removal and a new role hold at once.
        """
        if not credible(secret, SESSION):
            raise Unauthenticated
        now = self._clock()
        found = self._database.read(lambda: self._secrets.find_signed_in(secret))
        if found is None or found[0].ended(now):
            raise Unauthenticated
        session, member = found
        if session.use_is_news(now):
            # A database that cannot write now costs nobody his call: the next one tries again.
            with contextlib.suppress(DependencyUnavailable):
                self._database.write(lambda: self._secrets.note_use(session, now))
        return Caller(
            Principal[member.role.name],
            organization_id=member.organization_id,
            member_id=member.member_id,
            session_id=session.session_id,
        )

    def end(self, organization_id: str, session_id: str) -> None:
        """End a session, within the caller's transaction."""
        self._secrets.end_session(organization_id, session_id=session_id)
