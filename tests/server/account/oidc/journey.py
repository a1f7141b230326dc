"""A browser's way through the provider, without a browser."""

import secrets
from dataclasses import dataclass, field, replace

from om_server.account.oidc.bounded_http import BoundedHttp, HttpLimits
from om_server.account.oidc.client import OidcClient
from om_server.account.oidc.flow import Destination
from om_server.account.oidc.operations import Arrival, Callback, OidcEntrance, VerifiedEntrance
from om_server.account.oidc.provider import Provider as Asked
from om_server.account.people.session import NewSession
from om_server.account.people.sign_in import Identity
from om_server.core.clock import Clock, system_clock
from tests.oidc_provider import CLIENT_ID, CLIENT_SECRET, Provider

LIMITS = HttpLimits(timeout_s=0.3)


class LetIn(Exception):
    """Somebody was vouched for."""

    def __init__(self, identity: Identity, invite_secret: str) -> None:
        self.identity = identity
        self.invite_secret = invite_secret


class Threshold:
    """Tells whom it would let in; nothing is stored."""

    def sign_in_verified(self, identity: Identity, *, invite_secret: str = "") -> NewSession:
        raise LetIn(identity, invite_secret)


@dataclass
class Journey:
    """An installation that knows the provider, and one browser."""

    provider: Provider
    entrance: VerifiedEntrance = field(default_factory=Threshold)
    clock: Clock = system_clock
    issuer: str = ""
    limits: HttpLimits = LIMITS

    def __post_init__(self) -> None:
        issuer = self.issuer or self.provider.issuer
        client = OidcClient(issuer, CLIENT_ID, CLIENT_SECRET, "https://om.example/api/v1/oidc/callback")
        asked = Asked(client, BoundedHttp(self.limits), clock=self.clock)
        self.oidc = OidcEntrance(
            client, asked, entrance=self.entrance, clock=self.clock, random_bytes=secrets.token_bytes
        )

    def go(self, to: Destination | None = None) -> Callback:
        """Go to the provider, sign in there, and come back."""
        departure = self.oidc.start(to or Destination())
        back = self.provider.come_back(departure.authorization_url)
        return Callback(departure.flow, back["state"], back["code"], back["iss"])

    def arrive(self, to: Destination | None = None, **changes: str) -> Arrival:
        """Go, and finish with what came back, but for the changes."""
        return self.oidc.complete(replace(self.go(to), **changes))
