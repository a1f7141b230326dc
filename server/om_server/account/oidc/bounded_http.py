"""HTTP to the identity provider, bounded in time and size. It follows no redirect and no proxy setting."""

import http.client
import json
import ssl
import threading
import time
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field

from om_server.account.oidc.client import OidcUnavailable

_SCHEMES = {"https": 443, "http": 80}
_CHUNK_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """A sign-in asks up to three times, which has to fit into the 15 seconds that REST waits."""

    timeout_s: float = 4.0
    answer_bytes_max: int = 256 * 1024
    #: Anybody may begin a sign-in: a slow provider must not take every thread of the server.
    requests_max: int = 4


@dataclass(frozen=True, slots=True)
class JsonAnswer:
    """A status and a JSON object."""

    status: int
    body: Mapping[str, object] = field(repr=False)


class BoundedHttp:
    """Asks for JSON objects."""

    def __init__(self, limits: HttpLimits) -> None:
        self._limits = limits
        self._slots = threading.BoundedSemaphore(limits.requests_max)
        # The machine's certificates, or those that SSL_CERT_FILE names.
        self._tls = ssl.create_default_context()

    def get(self, url: str) -> JsonAnswer:
        """Ask; OidcUnavailable for whatever is not an answer with a JSON object."""
        return self._ask("GET", url, headers={}, body=None)

    def post(self, url: str, *, headers: Mapping[str, str], body: str) -> JsonAnswer:
        """Send a form; errors as above."""
        return self._ask("POST", url, headers=headers, body=body)

    def _ask(self, method: str, url: str, *, headers: Mapping[str, str], body: str | None) -> JsonAnswer:
        if not self._slots.acquire(blocking=False):
            raise OidcUnavailable("as many requests as allowed are waiting for it")
        try:
            return self._exchange(method, url, headers=headers, body=body)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise OidcUnavailable(type(error).__name__) from error
        finally:
            self._slots.release()

    def _exchange(self, method: str, url: str, *, headers: Mapping[str, str], body: str | None) -> JsonAnswer:
        parts = urllib.parse.urlsplit(url)
        target = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
        deadline = time.monotonic() + self._limits.timeout_s
        connection = self._connect(parts)
        try:
            connection.request(method, target, body, {"Accept": "application/json", **headers})
            response = connection.getresponse()
            return JsonAnswer(response.status, _json_object(self._read(connection, response, deadline)))
        finally:
            connection.close()

    def _connect(self, parts: urllib.parse.SplitResult) -> http.client.HTTPConnection:
        if parts.scheme not in _SCHEMES or not parts.hostname:
            raise ValueError("no address of a provider")
        port, timeout_s = parts.port or _SCHEMES[parts.scheme], self._limits.timeout_s
        if parts.scheme == "http":
            return http.client.HTTPConnection(parts.hostname, port, timeout=timeout_s)
        return http.client.HTTPSConnection(parts.hostname, port, timeout=timeout_s, context=self._tls)

    def _read(
        self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse, deadline: float
    ) -> bytes:
        found = bytearray()
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise OidcUnavailable("its answer takes too long")
            # An answer that ends with its connection has taken the socket away from it.
            if connection.sock is not None:
                connection.sock.settimeout(left)
            part = response.read1(_CHUNK_BYTES)
            if not part:
                return bytes(found)
            found += part
            if len(found) > self._limits.answer_bytes_max:
                raise OidcUnavailable("its answer is too large")


def _json_object(raw: bytes) -> Mapping[str, object]:
    found = json.loads(raw)
    if not isinstance(found, dict):
        raise ValueError("no JSON object")  # noqa: TRY004 - a wrong answer, not a wrong call
    return found
