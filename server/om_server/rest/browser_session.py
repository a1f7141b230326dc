"""Sessions of browsers: a cookie in the place of a credential, and never on the word of another site."""

from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import cast

from google.protobuf.message import Message
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.types import Message as AsgiMessage

from om_server.core.clock import MICROS_PER_SECOND
from om_server.core.errors import Code, DomainError
from om_server.rest.cookies import Cookies
from om_server.rest.errors import problem_from_error, transcoded_body
from om_server.rest.own_page import SAFE_METHODS, sent_from_own_page
from om_server.rest.request import REQUEST_ID_SCOPE, Request, credential_of
from om_server.rest.response import json_response
from om_server.rest.transcode import Presenter, message_document

_TRANSCODED = "/api/v1/"
#: A request for a session says with this header that the session is to become a cookie.
_FORM = "x-om-session"
_AS_COOKIE = "cookie"


class CsrfRefused(DomainError):
    """Another site may have made the browser send this."""

    code = Code.PERMISSION_DENIED
    reason = "CSRF_REFUSED"

    def __init__(self) -> None:
        super().__init__(
            "with a session cookie, or for one, a request that may change something has to come from a page"
            " of this installation, as Sec-Fetch-Site or Origin says; a program sends a bearer token instead"
        )


class BrowserSessions:
    """Lets the cookie stand for the header Authorization, on every route."""

    def __init__(self, app: ASGIApp, cookies: Cookies, *, public_url: str) -> None:
        self._app = app
        self._cookies = cookies
        self._public_url = public_url

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        secret = "" if credential_of(headers) else self._cookies.session(headers)
        if not secret and not _wants_cookie(headers):
            await self._app(scope, receive, send)
            return
        if scope["method"] not in SAFE_METHODS and not sent_from_own_page(headers, self._public_url):
            await _refusal(scope)(scope, receive, send)
            return

        async def send_unstored(message: AsgiMessage) -> None:
            # A cache keeps no answer to an Authorization header, but knows nothing of our cookie.
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).setdefault("cache-control", "no-store")
            await send(message)

        await self._app(_with_credential(scope, secret), receive, send_unstored)


def presenters(cookies: Cookies) -> Mapping[str, Presenter]:
    """How the answers are given that begin or end something in the browser, by the path of the RPC."""

    def session(reply: Message, request: Request) -> Response:
        body = message_document(reply)
        if not _wants_cookie(request.headers):
            return json_response(HTTPStatus.OK, body)
        secret, expire_time = begun_session(body)
        return _with_cookie(body, cookies.keep_session(secret, expire_time=expire_time))

    def sign_out(reply: Message, request: Request) -> Response:
        body = message_document(reply)
        if not cookies.session(request.headers):
            return json_response(HTTPStatus.OK, body)
        return _with_cookie(body, cookies.forget_session())

    def flow(reply: Message, request: Request) -> Response:
        body = message_document(reply)
        if not _wants_cookie(request.headers):
            return json_response(HTTPStatus.OK, body)
        return _with_cookie(body, cookies.keep_flow(str(body.pop("flow"))))

    account = "om.account.v1.AccountService"
    return {
        f"{account}/SignUp": session,
        f"{account}/SignIn": session,
        f"{account}/AcceptInvite": session,
        f"{account}/SignOut": sign_out,
        "om.account.v1.OidcService/StartOidcSignIn": flow,
    }


def begun_session(body: Mapping[str, object]) -> tuple[str, int]:
    """Take the secret of a new session out of an answer; with it, when the session ends, in microseconds."""
    session = cast("dict[str, str]", body["session"])
    ends = datetime.fromisoformat(session["expireTime"])
    return session.pop("secret"), int(ends.timestamp()) * MICROS_PER_SECOND


def _wants_cookie(headers: Headers) -> bool:
    return headers.get(_FORM, "").lower() == _AS_COOKIE


def _with_cookie(body: Mapping[str, object], line: str) -> Response:
    return json_response(HTTPStatus.OK, body, headers={"set-cookie": line, "cache-control": "no-store"})


def _with_credential(scope: Scope, secret: str) -> Scope:
    if not secret:
        return scope
    others = [(name, value) for name, value in scope["headers"] if name != b"authorization"]
    bearer = (b"authorization", f"Bearer {secret}".encode("latin-1", "replace"))
    return {**scope, "headers": [*others, bearer]}


def _refusal(scope: Scope) -> ASGIApp:
    problem = problem_from_error(CsrfRefused())
    if scope["path"].startswith(_TRANSCODED):
        return json_response(problem.status, transcoded_body(problem, scope[REQUEST_ID_SCOPE]))
    title = HTTPStatus(problem.status).phrase
    return json_response(problem.status, {"error": title, "message": problem.message})
