"""Whether an ID token proves who somebody is (OpenID Connect Core 3.1.3.7). No I/O."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from authlib.oidc.core import CodeIDToken
from joserfc import jws, jwt
from joserfc.errors import ClaimError, InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet

from om_server.account.oidc.client import OidcClient, OidcRefused
from om_server.account.people.sign_in import Identity
from om_server.core.clock import MICROS_PER_SECOND

#: Signatures by a key that only the provider has: never `none`, and never HMAC, for which anybody could take
#: the published key as the secret.
ALGORITHMS = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "Ed25519",
    "EdDSA",
)
_LEEWAY_S = 60


class KeyUnknown(Exception):
    """The token names a key that is not among those given; the provider may have a new one."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """What the provider gave for a code."""

    id_token: str = field(repr=False)
    access_token: str = field(default="", repr=False)


def verified_identity(tokens: Tokens, keys: KeySet, *, client: OidcClient, nonce: str, now: int) -> Identity:
    """Return whom the provider vouches for.

    OidcRefused names the check that failed; KeyUnknown says that newer keys may be asked for.
    """
    token = _decoded(tokens.id_token, keys)
    claims = CodeIDToken(
        token.claims,
        token.header,
        options={
            "iss": {"essential": True, "value": client.issuer},
            "sub": {"essential": True},
            "aud": {"essential": True, "value": client.client_id},
            "nonce": {"essential": True, "value": nonce},
        },
        params={"nonce": nonce, "client_id": client.client_id, "access_token": tokens.access_token},
    )
    try:
        claims.validate(now=now // MICROS_PER_SECOND, leeway=_LEEWAY_S)
    except ClaimError as error:
        raise OidcRefused(str(error.claim)) from error
    except (JoseError, TypeError, ValueError) as error:
        raise OidcRefused("claims") from error
    return _identity(claims)


def _decoded(id_token: str, keys: KeySet) -> jwt.Token:
    try:
        return jwt.decode(id_token, keys, algorithms=ALGORITHMS, registry=_registry())
    except InvalidKeyIdError as error:
        raise KeyUnknown from error
    except (JoseError, ValueError, TypeError) as error:
        raise OidcRefused("signature") from error


def _registry() -> jws.JWSRegistry:
    # Providers add header parameters of their own, which the strict check would refuse.
    return jws.JWSRegistry(algorithms=list(ALGORITHMS), strict_check_header=False)


def _identity(claims: Mapping[str, object]) -> Identity:
    email = claims.get("email")
    if not isinstance(email, str) or not email:
        raise OidcRefused("email")
    # Some providers leave it out, or let people enter any address: theirs is no proof.
    if claims.get("email_verified") is not True:
        raise OidcRefused("email_verified")
    name = claims.get("name")
    return Identity(email, name if isinstance(name, str) else "")
