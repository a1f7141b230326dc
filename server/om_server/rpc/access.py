"""Who calls, from the metadata of a call, and whether the contract lets them."""

import hmac
from collections.abc import Iterable
from typing import Protocol

from om_server.core.errors import CredentialMissing, PermissionDenied, ScopeMissing, Unauthenticated
from om_server.rpc.caller import Caller, Principal
from om_server.rpc.contract import Rpc

_NOBODY = frozenset({Principal.ANONYMOUS})


class Authenticator(Protocol):
    """Finds out whose a credential is. It may block: it is only called on the thread pool."""

    def authenticate(self, secret: str) -> Caller:
        """Return the caller; CREDENTIAL_INVALID for any credential that proves nothing."""


class Gate:
    """Tells who calls. With an empty service token nobody is a service: no credential is empty."""

    def __init__(self, authenticator: Authenticator, *, service_token: str) -> None:
        self._authenticator = authenticator
        self._service_token = service_token.encode()

    def identify(self, rpc: Rpc, metadata: Iterable[tuple[str, str | bytes]]) -> Caller:
        """Return who calls; CREDENTIAL_MISSING or CREDENTIAL_INVALID if that cannot be told."""
        if rpc.access.allow == _NOBODY:
            # Whoever signs in again still sends the credential of the session that ended.
            return Caller(Principal.ANONYMOUS)
        secret = _credential(metadata)
        if not secret:
            if Principal.ANONYMOUS in rpc.access.allow:
                return Caller(Principal.ANONYMOUS)
            raise CredentialMissing
        # compare_digest takes text only if it is ASCII, so bytes.
        if hmac.compare_digest(secret.encode(), self._service_token):
            return Caller(Principal.SERVICE)
        return self._authenticator.authenticate(secret)


def permit(caller: Caller, rpc: Rpc) -> None:
    """Refuse a caller whom the contract does not let call."""
    if caller.principal not in rpc.access.allow:
        raise PermissionDenied(rpc.path)
    scope = rpc.access.scope
    if caller.principal is Principal.KEY and scope is not None and not caller.holds(scope):
        raise ScopeMissing(scope.value)


def _credential(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """Return what `authorization: Bearer ...`, else `x-api-key`, carries; empty if neither is there."""
    found = {key: value for key, value in metadata if isinstance(value, str)}
    authorization = found.get("authorization", "")
    if not authorization:
        return found.get("x-api-key", "").strip()
    scheme, _, secret = authorization.strip().partition(" ")
    if scheme.lower() != "bearer" or not secret.strip():
        raise Unauthenticated
    return secret.strip()
