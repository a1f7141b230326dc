"""What this installation is to its OpenID Connect provider, and the three ways in which a sign-in fails."""

from dataclasses import dataclass, field

from om_server.core.errors import Code, DomainError


@dataclass(frozen=True, slots=True)
class OidcClient:
    """The client that the provider registered; the redirect URI is to be registered there too."""

    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    redirect_uri: str
    display_name: str = ""


class OidcNotConfigured(DomainError):
    """Nobody signs in with a provider here."""

    code = Code.FAILED_PRECONDITION
    reason = "OIDC_NOT_CONFIGURED"

    def __init__(self) -> None:
        super().__init__("this installation names no OpenID Connect provider")


class OidcUnavailable(DomainError):
    """The provider cannot be asked. `problem` is for the log: it names no token, code or address."""

    code = Code.UNAVAILABLE
    reason = "OIDC_UNAVAILABLE"

    def __init__(self, problem: str) -> None:
        super().__init__("the identity provider does not answer as it should; try again later")
        self.problem = problem


class OidcRefused(DomainError):
    """What came back proves nobody; `check` is a word for what failed, never a value of it."""

    code = Code.UNAUTHENTICATED
    reason = "OIDC_REFUSED"

    def __init__(self, check: str) -> None:
        super().__init__(f"the sign-in is refused ({check}); begin it anew", check=check)
