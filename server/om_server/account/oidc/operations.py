"""Sign-in with a provider: the way there, and what comes back."""

import contextlib
import hmac
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from om_server.account.oidc.bounded_http import BoundedHttp, HttpLimits
from om_server.account.oidc.client import OidcClient, OidcRefused, OidcUnavailable
from om_server.account.oidc.flow import Destination, Flow, new_flow, seal, unseal
from om_server.account.oidc.id_token import KeyUnknown, Tokens, verified_identity
from om_server.account.oidc.provider import Provider
from om_server.account.people.session import NewSession
from om_server.account.people.sign_in import Identity
from om_server.core.clock import Clock

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Departure:
    """Where the browser goes, and what it keeps meanwhile."""

    authorization_url: str = field(repr=False)
    flow: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Callback:
    """What the browser came back with. Empty is what the provider did not send."""

    flow: str = field(repr=False)
    state: str = field(repr=False)
    code: str = field(repr=False)
    issuer: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A session, and where the browser goes."""

    session: NewSession
    return_path: str


class VerifiedEntrance(Protocol):
    """Signs in whom a provider vouches for."""

    def sign_in_verified(self, identity: Identity, *, invite_secret: str = "") -> NewSession: ...


class OidcEntrance:
    """An installation's provider, and the operations on its sign-ins."""

    def __init__(
        self,
        client: OidcClient,
        provider: Provider,
        *,
        entrance: VerifiedEntrance,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._client = client
        self._provider = provider
        self._entrance = entrance
        self._clock = clock
        self._random_bytes = random_bytes

    @property
    def display_name(self) -> str:
        """What the provider is called."""
        return self._client.display_name

    def start(self, to: Destination) -> Departure:
        """Begin a sign-in; OidcUnavailable if the provider is away."""
        flow = new_flow(self._client.issuer, to, now=self._clock(), random_bytes=self._random_bytes)
        with _problems_logged():
            url = self._provider.authorization_url(flow)
        return Departure(url, seal(flow, self._client.client_secret))

    def complete(self, callback: Callback) -> Arrival:
        """Finish a sign-in: OidcRefused if anything is not as the flow has it, OidcUnavailable as above."""
        flow = unseal(callback.flow, self._client.client_secret, now=self._clock())
        with _problems_logged():
            self._check(callback, flow)
            tokens = self._provider.exchange(callback.code, flow)
            identity = self._identity(tokens, flow)
        session = self._entrance.sign_in_verified(identity, invite_secret=flow.invite_secret)
        return Arrival(session, flow.return_path)

    def _check(self, callback: Callback, flow: Flow) -> None:
        """Refuse before the provider is asked, so that no code is sent to where it does not belong."""
        if not hmac.compare_digest(callback.state.encode(), flow.state.encode()):
            raise OidcRefused("state")
        if flow.issuer != self._client.issuer:
            raise OidcRefused("issuer")
        named = bool(callback.issuer) or self._provider.document().names_issuer
        if named and callback.issuer != self._client.issuer:
            raise OidcRefused("issuer")
        if callback.error or not callback.code:
            raise OidcRefused("answer")

    def _identity(self, tokens: Tokens, flow: Flow) -> Identity:
        try:
            return self._verify(tokens, flow, newest=False)
        except KeyUnknown:
            pass
        try:
            return self._verify(tokens, flow, newest=True)
        except KeyUnknown as error:
            raise OidcRefused("signature") from error

    def _verify(self, tokens: Tokens, flow: Flow, *, newest: bool) -> Identity:
        keys = self._provider.keys(newest=newest)
        return verified_identity(tokens, keys, client=self._client, nonce=flow.nonce, now=self._clock())


@contextlib.contextmanager
def _problems_logged() -> Iterator[None]:
    """Tell the operator what the person at the browser is not told."""
    try:
        yield
    except OidcUnavailable as error:
        _log.warning("oidc_unavailable", problem=error.problem)
        raise
    except OidcRefused as error:
        _log.info("oidc_refused", check=error.metadata["check"])
        raise


def oidc_entrance(
    client: OidcClient | None, entrance: VerifiedEntrance, *, clock: Clock
) -> OidcEntrance | None:
    """Compose the entrance of an installation; nothing where it names no provider."""
    if client is None:
        return None
    provider = Provider(client, BoundedHttp(HttpLimits()), clock=clock)
    return OidcEntrance(client, provider, entrance=entrance, clock=clock, random_bytes=secrets.token_bytes)
