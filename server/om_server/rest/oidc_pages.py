"""The two addresses that a browser visits on its way through the identity provider. They answer redirects.

What comes back is passed to the server as it is: only the server talks with the provider and decides.
"""

from http import HTTPStatus

import grpc
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from om.account.v1 import oidc_service_pb2 as pb
from om_server.core.clock import MICROS_PER_SECOND
from om_server.rest.channel import Server
from om_server.rest.cookies import Cookies
from om_server.rest.errors import problem_from_rpc, transcoded_body
from om_server.rest.request import CallContext
from om_server.rest.response import json_response

# The address of the callback holds a code: nobody keeps it, and no page is told of it.
_HEADERS = {"cache-control": "no-store", "referrer-policy": "no-referrer"}


class OidcPages:
    """Leaving for the provider, and coming back from it."""

    def __init__(self, server: Server, cookies: Cookies, *, public_url: str) -> None:
        self._server = server
        self._cookies = cookies
        self._public_url = public_url

    def routes(self) -> list[BaseRoute]:
        """Both addresses."""
        return [
            Route("/api/v1/oidc/start", self._start),
            Route("/api/v1/oidc/callback", self._callback),
        ]

    async def _start(self, request: Request) -> Response:
        """Leave. It takes no invite: another site may send a browser here, and nobody joins by that."""
        context = _context(request)
        asked = pb.StartOidcSignInRequest(return_path=request.query_params.get("returnPath", ""))
        try:
            reply = await self._server.ask(self._server.oidc.StartOidcSignIn, asked, context=context)
        except grpc.aio.AioRpcError as error:
            return _problem(error, context)
        response = _redirect(reply.authorization_url)
        response.headers.append("set-cookie", self._cookies.keep_flow(reply.flow))
        return response

    async def _callback(self, request: Request) -> Response:
        """Come back: with a session, or without the sign-in that was begun."""
        context, query = _context(request), request.query_params
        asked = pb.CompleteOidcSignInRequest(
            flow=self._cookies.flow(request.headers),
            state=query.get("state", ""),
            code=query.get("code", ""),
            issuer=query.get("iss", ""),
            error=query.get("error", ""),
        )
        try:
            reply = await self._server.ask(self._server.oidc.CompleteOidcSignIn, asked, context=context)
        except grpc.aio.AioRpcError as error:
            response = _problem(error, context)
        else:
            # With our origin in front, the path cannot be read as another host.
            response = _redirect(self._public_url + reply.return_path)
            expire_time = reply.session.expire_time.seconds * MICROS_PER_SECOND
            cookie = self._cookies.keep_session(reply.session.secret, expire_time=expire_time)
            response.headers.append("set-cookie", cookie)
        response.headers.append("set-cookie", self._cookies.forget_flow())
        return response


def _context(request: Request) -> CallContext:
    return CallContext.of(request.scope, "")


def _redirect(url: str) -> Response:
    return RedirectResponse(url, HTTPStatus.SEE_OTHER, headers=_HEADERS)


def _problem(error: grpc.aio.AioRpcError, context: CallContext) -> Response:
    problem = problem_from_rpc(error)
    body = transcoded_body(problem, context.request_id)
    return json_response(problem.status, body, headers=problem.headers | _HEADERS)
