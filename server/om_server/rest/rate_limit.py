"""How many requests a credential may make in a window, counted in this process alone. Off by default.

A credential that turns out to be worth nothing counts for the address that it came from: otherwise
whoever makes up another one for each request would never be limited.
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from om_server.rest.errors import Problem, transcoded_body
from om_server.rest.request import REQUEST_ID_SCOPE, credential_of
from om_server.rest.response import json_response

#: A window's names are forgotten with it; beyond so many, all others share one count.
NAMES_MAX = 100_000
_LIMITED = ("/v1/", "/api/")
_TRANSCODED = "/api/v1/"
_MINUTE_S = 60


@dataclass(frozen=True, slots=True)
class RateLimit:
    """So many requests in so many seconds."""

    count_max: int
    window_s: int = _MINUTE_S

    @property
    def window_text(self) -> str:
        """The window as the published refusal words it."""
        if self.window_s % _MINUTE_S:
            return f"{self.window_s} seconds"
        minutes = self.window_s // _MINUTE_S
        return "1 minute" if minutes == 1 else f"{minutes} minutes"


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a caller is within the window; `reset_s` is when the next one begins."""

    remaining: int
    reset_s: int
    exceeded: bool


class Window:
    """Counts by name within a fixed window of the clock."""

    def __init__(self, limit: RateLimit) -> None:
        self._limit = limit
        self._window = -1.0
        self._counts: dict[str, int] = {}

    def count(self, name: str, *, now: float, by: int = 1) -> Standing:
        """Count a request, or with `by` 0 only look."""
        window, passed = divmod(now, self._limit.window_s)
        if window != self._window:
            self._window, self._counts = window, {}
        if name not in self._counts and len(self._counts) >= NAMES_MAX:
            name = ""
        count = self._counts.get(name, 0) + by
        if by:
            self._counts[name] = count
        left = self._limit.count_max - count
        return Standing(max(left, 0), math.ceil(self._limit.window_s - passed), exceeded=left < 0)


class Throttle:
    """Refuses what is above the limit, and tells every caller where it stands."""

    def __init__(self, app: ASGIApp, limit: RateLimit, *, seconds: Callable[[], float]) -> None:
        self._app = app
        self._limit = limit
        self._seconds = seconds
        self._callers = Window(limit)
        self._strangers = Window(limit)
        #: Hashes of credentials that were let in: what others at the same address try does not limit them.
        self._proven: set[str] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(_LIMITED):
            await self._app(scope, receive, send)
            return
        address = scope["client"][0] if scope.get("client") else ""
        credential = credential_of(Headers(scope=scope))
        now = self._seconds()
        # Nothing that a stranger makes up is kept in memory as it is.
        name = hashlib.sha256(credential.encode()).hexdigest() if credential else address
        standing = self._callers.count(name, now=now)
        tried = self._strangers.count(address, now=now, by=0)
        if standing.exceeded or (tried.remaining == 0 and name not in self._proven):
            await self._refuse(scope, standing)(scope, receive, send)
            return

        async def send_with_standing(message: Message) -> None:
            if message["type"] == "http.response.start":
                if credential:
                    self._learn(name, address, now=now, valid=message["status"] != HTTPStatus.UNAUTHORIZED)
                headers = MutableHeaders(scope=message)
                for header, value in self._headers(standing).items():
                    headers[header] = value
            await send(message)

        await self._app(scope, receive, send_with_standing)

    def _learn(self, name: str, address: str, *, now: float, valid: bool) -> None:
        if not valid:
            self._strangers.count(address, now=now)
            self._proven.discard(name)
        elif len(self._proven) < NAMES_MAX:
            self._proven.add(name)

    def _refuse(self, scope: Scope, standing: Standing) -> ASGIApp:
        status = HTTPStatus.TOO_MANY_REQUESTS
        message = f"Rate limit exceeded, retry in {self._limit.window_text}"
        headers = self._headers(standing) | {"retry-after": str(standing.reset_s)}
        if scope["path"].startswith(_TRANSCODED):
            problem = Problem("RESOURCE_EXHAUSTED", reason="OVERLOADED", message=message, status=status)
            return json_response(status, transcoded_body(problem, scope[REQUEST_ID_SCOPE]), headers=headers)
        body = {"statusCode": status.value, "error": status.phrase, "message": message}
        return json_response(status, body, headers=headers)

    def _headers(self, standing: Standing) -> dict[str, str]:
        return {
            "x-ratelimit-limit": str(self._limit.count_max),
            "x-ratelimit-remaining": str(standing.remaining),
            "x-ratelimit-reset": str(standing.reset_s),
        }
