"""Turns the secret of a key, or of a session, into the caller that the rpc floor knows."""

from collections.abc import Callable

from om_server.account.keys.key import Key
from om_server.account.people.secret import SESSION
from om_server.rpc.access import Authenticator
from om_server.rpc.caller import Caller, Principal


class KeyAuthenticator:
    """Looks every key up anew, so that a revoked one is refused from the next call on."""

    def __init__(self, authenticate_key: Callable[[str], Key]) -> None:
        self._authenticate_key = authenticate_key

    def authenticate(self, secret: str) -> Caller:
        """Return the key's caller; CREDENTIAL_INVALID for anything else."""
        key = self._authenticate_key(secret)
        return Caller(
            Principal.KEY,
            organization_id=key.organization_id,
            team_id=key.team_id,
            key_id=key.key_id,
            scopes=key.scopes,
        )


class CallerAuthenticator:
    """Tells sessions from keys by how they begin, and leaves each to who knows its kind."""

    def __init__(self, *, keys: Authenticator, sessions: Authenticator) -> None:
        self._keys = keys
        self._sessions = sessions

    def authenticate(self, secret: str) -> Caller:
        """Return the caller; CREDENTIAL_INVALID for anything else."""
        return (self._sessions if secret.startswith(SESSION) else self._keys).authenticate(secret)
