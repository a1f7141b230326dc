"""Whether those who were let in would be let in now: what stays open for hours is asked about again."""

from collections.abc import Collection, Iterable

from om_server.account.people.secret_store import SecretStore
from om_server.account.store import AccountStore
from om_server.core.clock import Clock
from om_server.rpc.caller import Caller
from om_server.storage.database import Database


class Standing:
    """Looks at many callers at once, without their secrets, and notes no use of key or session."""

    def __init__(
        self, database: Database, accounts: AccountStore, secrets: SecretStore, *, clock: Clock
    ) -> None:
        self._database = database
        self._accounts = accounts
        self._secrets = secrets
        self._clock = clock

    def lost(self, callers: Collection[Caller]) -> frozenset[Caller]:
        """Return those whose key or session has ended, as all do where the organization is suspended."""
        now = self._clock()

        def read() -> frozenset[Caller]:
            return frozenset((*self._without_key(callers, now), *self._signed_out(callers, now)))

        return self._database.read(read)

    def _without_key(self, callers: Iterable[Caller], now: int) -> Iterable[Caller]:
        holders = [caller for caller in callers if caller.key_id]
        if not holders:
            return ()
        owners = self._accounts.key_owners({caller.key_id for caller in holders})
        return [
            caller for caller in holders if (owner := owners.get(caller.key_id)) is None or owner.ended(now)
        ]

    def _signed_out(self, callers: Iterable[Caller], now: int) -> Iterable[Caller]:
        by_organization: dict[str, list[Caller]] = {}
        for caller in callers:
            if caller.session_id:
                by_organization.setdefault(caller.organization_id, []).append(caller)
        for organization_id, people in by_organization.items():
            sessions = self._secrets.signed_in(organization_id, {caller.session_id for caller in people})
            alive = {session.session_id for session in sessions if not session.ended(now)}
            yield from (caller for caller in people if caller.session_id not in alive)
