"""One sign-in on its way: what the browser keeps between leaving for the provider and coming back.

It is sealed with a key that follows from the client's secret, so that any process of the server opens it and
nothing is stored. The cookie that carries it binds the sign-in to one browser.
"""

import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from om_server.account.oidc.client import OidcRefused
from om_server.core.clock import MICROS_PER_SECOND

#: How long somebody may take at the provider.
FLOW_LIFE = 600 * MICROS_PER_SECOND
_ALGORITHMS = ["dir", "A256GCM"]
_LABEL = b"openmonetize oidc flow v1"
_RANDOM_BYTES = 32


@dataclass(frozen=True, slots=True)
class Flow:
    """The secrets of one sign-in, and where it leads. The time is in microseconds."""

    state: str = field(repr=False)
    nonce: str = field(repr=False)
    code_verifier: str = field(repr=False)
    issuer: str
    return_path: str
    invite_secret: str = field(repr=False)
    expire_time: int


@dataclass(frozen=True, slots=True)
class Destination:
    """What is wished for at the end of a sign-in."""

    return_path: str = "/"
    invite_secret: str = field(default="", repr=False)


def new_flow(issuer: str, to: Destination, *, now: int, random_bytes: Callable[[int], bytes]) -> Flow:
    """Begin a flow; the three secrets know nothing of one another."""
    state, nonce, verifier = (random_bytes(_RANDOM_BYTES).hex() for _ in range(3))
    return Flow(state, nonce, verifier, issuer, to.return_path or "/", to.invite_secret, now + FLOW_LIFE)


def seal(flow: Flow, client_secret: str) -> str:
    """The flow as only the server reads it."""
    plain = json.dumps(asdict(flow)).encode()
    return jwe.encrypt_compact({"alg": "dir", "enc": "A256GCM"}, plain, _key(client_secret), _ALGORITHMS)


def unseal(sealed: str, client_secret: str, *, now: int) -> Flow:
    """Open a flow; OidcRefused if it was not sealed here, or is too old."""
    try:
        plain = jwe.decrypt_compact(sealed, _key(client_secret), _ALGORITHMS).plaintext
    except (JoseError, ValueError) as error:
        raise OidcRefused("flow") from error
    flow = Flow(**json.loads(plain or b""))
    if now >= flow.expire_time:
        raise OidcRefused("flow_expired")
    return flow


def _key(client_secret: str) -> OctKey:
    return OctKey.import_key(hmac.digest(client_secret.encode(), _LABEL, hashlib.sha256))
