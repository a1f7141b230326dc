"""The identity provider, asked over HTTP: its document, its keys, and tokens for a code."""

import threading
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from om_server.account.oidc.bounded_http import BoundedHttp
from om_server.account.oidc.client import OidcClient, OidcRefused, OidcUnavailable
from om_server.account.oidc.flow import Flow
from om_server.account.oidc.id_token import Tokens
from om_server.core.clock import MICROS_PER_SECOND, Clock

#: How long the provider's document and keys are taken as they were; a key that is new is asked for at once.
_MEMORY = 600 * MICROS_PER_SECOND
_DISCOVERY = "/.well-known/openid-configuration"
_SCOPE = "openid email profile"


@dataclass(frozen=True, slots=True)
class ProviderDocument:
    """What is used of the discovery document."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    #: Whether a callback has to name the issuer (RFC 9207).
    names_issuer: bool
    secret_in_body: bool


class Provider:
    """One provider. What it said is remembered for ten minutes by each process."""

    def __init__(self, client: OidcClient, http: BoundedHttp, *, clock: Clock) -> None:
        self._client = client
        self._http = http
        self._clock = clock
        self._lock = threading.Lock()
        self._document: tuple[int, ProviderDocument] | None = None
        self._keys: tuple[int, KeySet] | None = None

    def document(self) -> ProviderDocument:
        """Return what the provider says of itself; OidcUnavailable if it cannot be used."""
        with self._lock:
            known = self._document
        now = self._clock()
        if known is not None and now < known[0]:
            return known[1]
        answer = self._http.get(self._client.issuer.rstrip("/") + _DISCOVERY)
        if answer.status != HTTPStatus.OK:
            raise OidcUnavailable(f"its document is answered with status {answer.status}")
        document = read_document(answer.body, self._client.issuer)
        with self._lock:
            self._document = (now + _MEMORY, document)
        return document

    def keys(self, *, newest: bool = False) -> KeySet:
        """Return the keys that it signs with; errors as above."""
        with self._lock:
            known = self._keys
        now = self._clock()
        if known is not None and now < known[0] and not newest:
            return known[1]
        answer = self._http.get(self.document().jwks_uri)
        if answer.status != HTTPStatus.OK:
            raise OidcUnavailable(f"its keys are answered with status {answer.status}")
        keys = _key_set(answer.body)
        with self._lock:
            self._keys = (now + _MEMORY, keys)
        return keys

    def authorization_url(self, flow: Flow) -> str:
        """Where the browser goes with this flow."""
        url: str = prepare_grant_uri(
            self.document().authorization_endpoint,
            self._client.client_id,
            "code",
            self._client.redirect_uri,
            _SCOPE,
            flow.state,
            nonce=flow.nonce,
            code_challenge=create_s256_code_challenge(flow.code_verifier),
            code_challenge_method="S256",
        )
        return url

    def exchange(self, code: str, flow: Flow) -> Tokens:
        """Take the tokens for a code; OidcRefused if the provider does not give them, which it does once."""
        document = self.document()
        method = "client_secret_post" if document.secret_in_body else "client_secret_basic"
        form = prepare_token_request(
            "authorization_code",
            redirect_uri=self._client.redirect_uri,
            code=code,
            code_verifier=flow.code_verifier,
        )
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        authentication = ClientAuth(self._client.client_id, self._client.client_secret, method)
        url, headers, form = authentication.prepare("POST", document.token_endpoint, headers, form)
        answer = self._http.post(url, headers=headers, body=form)
        if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise OidcUnavailable(f"a code is answered with status {answer.status}")
        id_token, access_token = answer.body.get("id_token"), answer.body.get("access_token")
        if answer.status != HTTPStatus.OK or not isinstance(id_token, str):
            raise OidcRefused("code")
        return Tokens(id_token, access_token if isinstance(access_token, str) else "")


def read_document(body: Mapping[str, object], issuer: str) -> ProviderDocument:
    """Read a discovery document.

    OidcUnavailable unless it is this issuer's, which is compared to the character, and leads nowhere that is
    less safe than the issuer itself.
    """
    if body.get("issuer") != issuer:
        raise OidcUnavailable("its document is another issuer's")
    methods = body.get("token_endpoint_auth_methods_supported")
    return ProviderDocument(
        issuer,
        _endpoint(body, "authorization_endpoint", issuer),
        _endpoint(body, "token_endpoint", issuer),
        _endpoint(body, "jwks_uri", issuer),
        names_issuer=body.get("authorization_response_iss_parameter_supported") is True,
        secret_in_body=isinstance(methods, list) and "client_secret_basic" not in methods,
    )


def _endpoint(body: Mapping[str, object], name: str, issuer: str) -> str:
    url = body.get(name)
    if isinstance(url, str):
        parts = urllib.parse.urlsplit(url)
        if parts.hostname and parts.scheme in {"https", urllib.parse.urlsplit(issuer).scheme}:
            return url
    raise OidcUnavailable(f"its document has no usable {name}")


def _key_set(body: Mapping[str, object]) -> KeySet:
    """Keys for signatures that others can check; a shared secret among them is passed over."""
    listed = body.get("keys")
    usable = [
        key
        for key in (listed if isinstance(listed, list) else ())
        if isinstance(key, dict) and key.get("kty") != "oct" and key.get("use", "sig") == "sig"
    ]
    try:
        return KeySet.import_key_set({"keys": usable})
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise OidcUnavailable("its keys cannot be read") from error
