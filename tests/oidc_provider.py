"""An OpenID Connect provider over HTTP: discovery, rotating keys, codes that work once, and signed tokens.

People sign in at once as whoever `person` is. A test changes `provider.twist` to make it misbehave.
"""

from __future__ import annotations

import base64
import contextlib
import hmac
import json
import secrets
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from joserfc import jwt
from joserfc.jwk import ECKey, KeyParameters, KeySet, RSAKey

from om_server.account.oidc.client import OidcClient

CLIENT_ID = "openmonetize"
CLIENT_SECRET = "a secret of the client"
_LIFE_S = 300

Claims = dict[str, Any]


@dataclass(slots=True)
class Twist:
    """How the provider departs from what it should do."""

    claims: Callable[[Claims], Claims] = lambda claims: claims
    header: dict[str, str] = field(default_factory=dict)
    document: dict[str, Any] = field(default_factory=dict)
    #: Signs instead of the provider's own key.
    sign: Callable[[Claims], str] | None = None
    #: The status of an answer by path; 0 closes the connection without one.
    status: dict[str, int] = field(default_factory=dict)
    #: Pads every answer to so many bytes.
    padding: int = 0
    #: Until it is set, an answer stops after its first byte.
    held: threading.Event | None = None


@dataclass(frozen=True, slots=True)
class Grant:
    """What a code stands for."""

    nonce: str
    challenge: str
    redirect_uri: str
    claims: Claims


class Provider:
    """The provider's memory."""

    def __init__(self) -> None:
        self.issuer = ""
        self.person: Claims = {}
        self.twist = Twist()
        self.requests: list[str] = []
        self._codes: dict[str, Grant] = {}
        self.rotate()
        self.reset()

    def reset(self) -> None:
        """Be an honest provider again, at which a new person is signed in."""
        self.twist = Twist()
        email = f"{secrets.token_hex(6)}@example.com"
        self.person = {"sub": secrets.token_hex(8), "email": email, "email_verified": True, "name": "Ada"}
        self.requests.clear()

    def rotate(self, kind: str = "RSA") -> None:
        """Sign with a new key from now on; the old one is published no more."""
        parameters: KeyParameters = {"kid": secrets.token_hex(4), "use": "sig"}
        self.key: RSAKey | ECKey = (
            RSAKey.generate_key(2048, parameters)
            if kind == "RSA"
            else ECKey.generate_key("P-256", parameters)
        )

    @property
    def document(self) -> dict[str, Any]:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "authorization_response_iss_parameter_supported": True,
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            **self.twist.document,
        }

    @property
    def keys(self) -> dict[str, Any]:
        return dict(KeySet([self.key]).as_dict(private=False))

    def authorize(self, url: str) -> str:
        """What the browser is sent back to, once the person has signed in."""
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query))
        assert (query["client_id"], query["response_type"]) == (CLIENT_ID, "code")
        assert query["code_challenge_method"] == "S256"
        assert {"openid", "email"} <= set(query["scope"].split())
        code = secrets.token_urlsafe(16)
        self._codes[code] = Grant(
            query["nonce"], query["code_challenge"], query["redirect_uri"], dict(self.person)
        )
        answer = {"code": code, "state": query["state"], "iss": self.issuer}
        return f"{query['redirect_uri']}?{urllib.parse.urlencode(answer)}"

    def come_back(self, authorization_url: str) -> dict[str, str]:
        """What a browser brings back that was sent to this address."""
        answer = httpx.get(authorization_url, trust_env=False)
        return dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(answer.headers["location"]).query))

    def client(self, redirect_uri: str) -> OidcClient:
        """An installation that is registered here."""
        return OidcClient(self.issuer, CLIENT_ID, CLIENT_SECRET, redirect_uri, "The provider")

    def token(self, form: dict[str, str], credential: tuple[str, str]) -> tuple[int, dict[str, Any]]:
        """The tokens of a code, once, for the client that shows its secret and the verifier."""
        if credential != (CLIENT_ID, CLIENT_SECRET):
            return 401, {"error": "invalid_client"}
        grant = self._codes.pop(form.get("code", ""), None)
        if grant is None or form.get("grant_type") != "authorization_code":
            return 400, {"error": "invalid_grant"}
        if create_s256_code_challenge(form.get("code_verifier", "")) != grant.challenge:
            return 400, {"error": "invalid_grant"}
        if form.get("redirect_uri") != grant.redirect_uri:
            return 400, {"error": "invalid_grant"}
        return 200, {"id_token": self.id_token(grant), "access_token": "opaque", "token_type": "Bearer"}

    def id_token(self, grant: Grant) -> str:
        now = int(time.time())
        claims = self.twist.claims(
            {
                "iss": self.issuer,
                "aud": CLIENT_ID,
                "iat": now,
                "exp": now + _LIFE_S,
                "nonce": grant.nonce,
                **grant.claims,
            }
        )
        if self.twist.sign is not None:
            return self.twist.sign(claims)
        algorithm = "RS256" if isinstance(self.key, RSAKey) else "ES256"
        header = {"alg": algorithm, "kid": str(self.key.kid), **self.twist.header}
        return jwt.encode(header, claims, self.key, algorithms=[header["alg"]])

    def unsigned(self, claims: Claims) -> str:
        """The claims with `alg: none`."""
        header = {"alg": "none", "kid": str(self.key.kid)}
        return f"{_encoded(json.dumps(header).encode())}.{_encoded(json.dumps(claims).encode())}."

    def signed_with_the_published_key(self, claims: Claims) -> str:
        """The claims with HS256, for which the public key is taken as the secret."""
        header = {"alg": "HS256", "kid": str(self.key.kid)}
        signed = f"{_encoded(json.dumps(header).encode())}.{_encoded(json.dumps(claims).encode())}"
        signature = hmac.digest(self.key.as_pem(private=False), signed.encode(), "sha256")
        return f"{signed}.{_encoded(signature)}"


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


class _Answers(BaseHTTPRequestHandler):
    provider: Provider
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = urllib.parse.urlsplit(self.path).path
        if path == "/authorize":
            self._redirect(self.provider.authorize(self.path))
            return
        documents = {
            "/.well-known/openid-configuration": self.provider.document,
            "/keys": self.provider.keys,
        }
        self._send(path, 200 if path in documents else 404, documents.get(path, {}))

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["content-length"]))
        form = dict(urllib.parse.parse_qsl(raw.decode()))
        basic = self.headers.get("authorization", "").removeprefix("Basic ")
        if basic:
            user, _, password = base64.b64decode(basic).decode().partition(":")
        else:
            user, password = form.get("client_id", ""), form.get("client_secret", "")
        self._send("/token", *self.provider.token(form, (user, password)))

    def _redirect(self, url: str) -> None:
        self.send_response(302)
        self.send_header("location", url)
        self.send_header("content-length", "0")
        self.end_headers()

    def _send(self, path: str, status: int, document: dict[str, Any]) -> None:
        twist = self.provider.twist
        self.provider.requests.append(path)
        status = twist.status.get(path, status)
        self.close_connection = True
        if status == 0:
            return
        body = json.dumps(document).encode() + b" " * twist.padding
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(body[:1])
            self.wfile.flush()
            if twist.held is not None:
                twist.held.wait(timeout=30)
            self.wfile.write(body[1:])

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the standard library
        """Say nothing."""


@contextlib.contextmanager
def running_provider() -> Iterator[Provider]:
    """A provider that listens for the block."""
    provider = Provider()
    handler = type("Answers", (_Answers,), {"provider": provider})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    provider.issuer = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
