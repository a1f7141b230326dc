"""One request through the proxy: understand, admit, forward.

What goes wrong before the provider answers is told in the shape that the caller's SDK parses. What
goes wrong afterwards breaks the connection, because a stream that ends cleanly reads as a success.
"""

from __future__ import annotations

from functools import partial

from aiohttp import web

from om_proxy import problem
from om_proxy.admission import Admissions
from om_proxy.authorize import Authorizer
from om_proxy.body import BodyLimits, read_body
from om_proxy.call import Call
from om_proxy.defect import log_defect
from om_proxy.dialects.openmonetize import attribution
from om_proxy.forward import Forwarder, Sending
from om_proxy.headers import unforwardable
from om_proxy.identity import new_event_id
from om_proxy.listener import refusal_response
from om_proxy.off_loop import off_loop
from om_proxy.provider import Provider
from om_proxy.refusal import Problem, Shape
from om_proxy.route import RouteTable, Target
from om_proxy.secret import Credential, Secret

#: What the simulator is shown instead of the caller's provider key.
_SANDBOX_SECRET = Secret("sandbox")
_SANDBOX = {
    "openai": Credential("Authorization", Secret("Bearer sandbox")),
    "anthropic": Credential("x-api-key", _SANDBOX_SECRET),
    "google": Credential("x-goog-api-key", _SANDBOX_SECRET),
}


class Handler:
    """Answers every request that is not about health."""

    def __init__(
        self,
        providers: tuple[Provider, ...],
        *,
        authorizer: Authorizer,
        admissions: Admissions,
        forwarder: Forwarder,
        limits: BodyLimits,
    ) -> None:
        self._providers = {provider.name: provider for provider in providers}
        self._routes = RouteTable(route for provider in providers for route in provider.routes)
        self._authorizer = authorizer
        self._admissions = admissions
        self._forwarder = forwarder
        self._limits = limits

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Forward a request, or refuse it."""
        event_id = new_event_id()
        raw_path = request.raw_path.partition("?")[0]
        target = self._routes.match(request.method, raw_path)
        if target is None:
            explained = self._explain(request.method, raw_path)
            return refusal_response(explained, self._shape_of(raw_path), event_id=event_id)
        provider = self._providers[target.route.provider]
        try:
            answer = await self._answer(request, target, provider, event_id=event_id)
        except Exception as error:
            if request.writer.output_size:
                raise
            log_defect("request_failed", error, event_id=event_id)
            answer = problem.proxy_error()
        if isinstance(answer, Problem):
            return refusal_response(answer, provider.shape, event_id=event_id)
        return answer

    async def _answer(
        self, request: web.BaseRequest, target: Target, provider: Provider, *, event_id: str
    ) -> web.StreamResponse | Problem:
        sending = await self._prepare(request, target, provider, event_id=event_id)
        if isinstance(sending, Problem):
            return sending
        return await self._forwarder.forward(request, sending)

    async def _prepare(
        self, request: web.BaseRequest, target: Target, provider: Provider, *, event_id: str
    ) -> Sending | Problem:
        headers = request.headers
        who = attribution(headers)
        if isinstance(who, Problem):
            return who
        if (name := unforwardable(headers)) is not None:
            return problem.invalid_header(name)
        if headers.get("Upgrade", "").lower() == "websocket":
            return problem.upgrade_refused()
        key = await self._authorizer.key(who.api_key)
        if isinstance(key, Problem):
            return key
        if who.sandbox or key.test_mode:
            # The simulator needs no key and is not shown one.
            credential: Credential | Problem = _SANDBOX[provider.name]
        else:
            credential = provider.credential(headers, request.raw_path.partition("?")[2])
        if isinstance(credential, Problem):
            return credential
        call = await self._read(request, target, provider)
        if isinstance(call, Problem):
            return call
        intent = await self._admissions.admit(event_id, key, call=call, who=who)
        if isinstance(intent, Problem):
            return intent
        return Sending(intent, provider, target, credential)

    async def _read(self, request: web.BaseRequest, target: Target, provider: Provider) -> Call | Problem:
        body = await read_body(request, self._limits)
        if isinstance(body, Problem):
            return body
        return await off_loop(len(body), partial(provider.read, target, body))

    def _explain(self, method: str, raw_path: str) -> Problem:
        for provider in self._providers.values():
            if (explained := provider.misrouted(method, raw_path)) is not None:
                return explained
        return problem.unknown_route()

    def _shape_of(self, raw_path: str) -> Shape:
        """Guess whose client asks for a path that is on no route."""
        if raw_path.startswith(("/v1beta/", "/v1/models/")):
            return Shape.GEMINI
        return Shape.ANTHROPIC if "/messages" in raw_path else Shape.OPENAI
