"""The two cookies of a browser: its session, and a sign-in that is at the identity provider."""

from starlette.datastructures import Headers
from starlette.requests import cookie_parser

from om_server.core.clock import MICROS_PER_SECOND, Clock

_SESSION = "om_session"
_FLOW = "om_oidc"
#: As long as a sign-in may take; the server holds to it whatever a browser does.
_FLOW_LIFE_S = 600


class Cookies:
    """Reads and writes both. No script reads them, and no page of another site sends them along."""

    def __init__(self, public_url: str, *, clock: Clock) -> None:
        self._clock = clock
        self._secure = public_url.startswith("https://")
        # Of a name with this prefix a browser takes no cookie that a neighbouring host or plain HTTP sets.
        prefix = "__Host-" if self._secure else ""
        self._session, self._flow = prefix + _SESSION, prefix + _FLOW

    def session(self, headers: Headers) -> str:
        """The secret of the browser's session; empty if it has none."""
        return self._read(headers, self._session)

    def flow(self, headers: Headers) -> str:
        """The sign-in that the browser began; empty if there is none."""
        return self._read(headers, self._flow)

    def keep_session(self, secret: str, *, expire_time: int) -> str:
        """The Set-Cookie of a session that ends at this time in microseconds."""
        life_s = max((expire_time - self._clock()) // MICROS_PER_SECOND, 0)
        return self._line(self._session, secret, life_s=life_s)

    def forget_session(self) -> str:
        """The Set-Cookie after which the browser has no session."""
        return self._line(self._session, "", life_s=0)

    def keep_flow(self, flow: str) -> str:
        """The Set-Cookie of a sign-in on its way."""
        return self._line(self._flow, flow, life_s=_FLOW_LIFE_S)

    def forget_flow(self) -> str:
        """The Set-Cookie after which no sign-in is on its way."""
        return self._line(self._flow, "", life_s=0)

    def _line(self, name: str, value: str, *, life_s: int) -> str:
        # Lax and not Strict: the provider sends the browser back from its own site.
        line = f"{name}={value}; Path=/; Max-Age={life_s}; HttpOnly; SameSite=Lax"
        return f"{line}; Secure" if self._secure else line

    @staticmethod
    def _read(headers: Headers, name: str) -> str:
        return cookie_parser("; ".join(headers.getlist("cookie"))).get(name, "")
