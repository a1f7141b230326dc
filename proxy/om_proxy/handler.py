"""One request through the proxy: understand, admit, forward, meter, report.

What goes wrong before the provider answers is told in the shape that the caller's SDK parses. What
goes wrong afterwards breaks the connection, because a stream that ends cleanly reads as a success.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import aiohttp
import structlog
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from om.type.v1 import event_pb2
from om_proxy import outcome, problem
from om_proxy.authorize import Admission, Authorizer, Key
from om_proxy.call import Call
from om_proxy.dialects.openmonetize import Attribution, attribution
from om_proxy.headers import request_headers, response_headers, unforwardable
from om_proxy.identity import new_event_id
from om_proxy.include_usage import UsageEventFilter
from om_proxy.meter import Meter, open_meter
from om_proxy.outcome import Intent
from om_proxy.provider import Provider
from om_proxy.refusal import Problem, Shape, render
from om_proxy.report import Reporter
from om_proxy.route import RouteTable, Target
from om_proxy.secret import Credential, Secret
from om_proxy.upstream import Upstream, UpstreamBroken, UpstreamTimeout, UpstreamUnreachable

_log = structlog.get_logger(__name__)

#: What the simulator is shown instead of the caller's provider key.
_SANDBOX_SECRET = Secret("sandbox")
_SANDBOX = {
    "openai": Credential("Authorization", Secret("Bearer sandbox")),
    "anthropic": Credential("x-api-key", _SANDBOX_SECRET),
    "google": Credential("x-goog-api-key", _SANDBOX_SECRET),
}


@dataclass(frozen=True, slots=True)
class Origins:
    """Where requests go: a fixed origin for each provider, and the simulator's."""

    providers: dict[str, str]
    sandbox: str


@dataclass(frozen=True, slots=True)
class _Forward:
    """A request that is understood and admitted."""

    intent: Intent
    provider: Provider
    target: Target
    credential: Credential


class Handler:
    """Answers every request that is not about health."""

    def __init__(  # noqa: PLR0913 - one argument for each collaborator of the composition root
        self,
        providers: tuple[Provider, ...],
        *,
        origins: Origins,
        authorizer: Authorizer,
        upstream: Upstream,
        reporter: Reporter,
        body_bytes_max: int,
    ) -> None:
        self._providers = {provider.name: provider for provider in providers}
        self._routes = RouteTable(route for provider in providers for route in provider.routes)
        self._origins = origins
        self._authorizer = authorizer
        self._upstream = upstream
        self._reporter = reporter
        self._body_bytes_max = body_bytes_max

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Forward a request, or refuse it."""
        event_id = new_event_id()
        raw_path = request.raw_path.partition("?")[0]
        target = self._routes.match(request.method, raw_path)
        if target is None:
            return self._refuse(self._explain(request.method, raw_path), self._shape_of(raw_path), event_id)
        provider = self._providers[target.route.provider]
        forward = await self._prepare(request, target, provider, event_id=event_id)
        if isinstance(forward, Problem):
            return self._refuse(forward, provider.shape, event_id)
        return await self._forward(request, forward)

    async def _prepare(
        self, request: web.Request, target: Target, provider: Provider, *, event_id: str
    ) -> _Forward | Problem:
        who = attribution(request.headers)
        if isinstance(who, Problem):
            return who
        if (name := unforwardable(request.headers)) is not None:
            return problem.invalid_header(name)
        key = await self._authorizer.key(who.api_key)
        if isinstance(key, Problem):
            return key
        credential = self._credential(request, provider, sandbox=who.sandbox or key.test_mode)
        if isinstance(credential, Problem):
            return credential
        call = await self._read(request, target, provider)
        if isinstance(call, Problem):
            return call
        admission = await self._admit(event_id, key, call=call, who=who)
        if isinstance(admission, Problem):
            return admission
        intent = Intent(event_id, key, who, call, admission)
        return _Forward(intent, provider, target, credential)

    def _credential(self, request: web.Request, provider: Provider, *, sandbox: bool) -> Credential | Problem:
        """Find the provider's key; the simulator needs none and is not shown one."""
        if sandbox:
            return _SANDBOX[provider.name]
        return provider.credential(request.headers, request.query_string)

    async def _read(self, request: web.Request, target: Target, provider: Provider) -> Call | Problem:
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            return problem.encoded_body()
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return problem.body_too_large(self._body_bytes_max)
        return provider.read(target, body)

    async def _admit(self, event_id: str, key: Key, *, call: Call, who: Attribution) -> Admission | Problem:
        if self._reporter.full:
            return problem.unavailable()
        if who.sandbox or key.test_mode:
            return Admission()
        return await self._authorizer.admit(event_id, key, call=call, who=who)

    async def _forward(self, request: web.Request, forward: _Forward) -> web.StreamResponse:
        """Send the call and report its one outcome, however it ends: also when the caller leaves."""
        intent, provider = forward.intent, forward.provider
        run = _Run(intent)
        try:
            async with self._upstream.send(
                self._url(request, forward), self._headers(request, forward), body=intent.call.body
            ) as answer:
                run.answered(answer, provider)
                return await _relay(request, answer, run)
        except UpstreamUnreachable as error:
            run.sent = error.sent
            return self._refuse(
                problem.upstream_unreachable(provider.shape, sent=error.sent), provider.shape, intent.event_id
            )
        except UpstreamTimeout:
            return self._refuse(problem.upstream_timeout(provider.shape), provider.shape, intent.event_id)
        finally:
            self._reporter.report(run.event(provider))

    def _url(self, request: web.Request, forward: _Forward) -> URL:
        origins = self._origins
        origin = origins.sandbox if forward.intent.sandbox else origins.providers[forward.provider.name]
        query = forward.provider.upstream_query(request.raw_path.partition("?")[2])
        # The raw text of path and query goes on as it came; decoding it could change where it points.
        return URL(f"{origin}{forward.target.upstream_path}{'?' if query else ''}{query}", encoded=True)

    def _headers(self, request: web.Request, forward: _Forward) -> list[tuple[str, str]]:
        headers = request_headers(
            request.headers,
            forward.credential,
            defaults=forward.provider.default_headers,
            identity=forward.intent.call.usage_added,
        )
        if forward.intent.sandbox:
            # It steers the simulator: a caller could order answers without end.
            headers = [(name, value) for name, value in headers if name.lower() != "x-sim"]
        return headers

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

    def _refuse(self, refused: Problem, shape: Shape, event_id: str) -> web.Response:
        rendered = render(refused, shape, request_id=event_id)
        _log.info("request_refused", event_id=event_id, status=rendered.status, code=refused.code)
        return web.Response(status=rendered.status, body=rendered.body, headers=CIMultiDict(rendered.headers))


class _Run:
    """What is known of a call that was sent, for the one event at its end."""

    def __init__(self, intent: Intent) -> None:
        self.intent = intent
        self.sent = True
        self.meter: Meter | None = None
        self.http_status = 0
        self._started = time.monotonic()

    def answered(self, answer: aiohttp.ClientResponse, provider: Provider) -> None:
        """Note the status; only a success is metered, because a refusal consumes nothing."""
        self.http_status = answer.status
        if 200 <= answer.status < 300:  # noqa: PLR2004 - the statuses of success
            self.meter = open_meter(
                provider,
                self.intent.call,
                content_type=answer.headers.get("Content-Type", ""),
                content_encoding=answer.headers.get("Content-Encoding", ""),
            )

    def event(self, provider: Provider) -> event_pb2.UsageEvent:
        """Tell how it ended. Sent and never answered: the provider may have worked, so it is estimated."""
        if not self.sent or (self.http_status and self.meter is None):
            return outcome.zero(self.intent, http_status=self.http_status)
        meter = self.meter or open_meter(provider, self.intent.call, content_type="")
        latency_ms = int((time.monotonic() - self._started) * 1000)
        return outcome.consumed(
            self.intent, meter.finish(), http_status=self.http_status, latency_ms=latency_ms
        )


async def _relay(request: web.Request, answer: aiohttp.ClientResponse, run: _Run) -> web.StreamResponse:
    """Pass the answer on as it arrives, byte for byte, and show the meter a copy."""
    edit = UsageEventFilter() if run.intent.call.usage_added and run.meter is not None else None
    headers = CIMultiDict(response_headers(answer.headers, body_changed=edit is not None))
    headers["x-om-request-id"] = run.intent.event_id
    response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=headers)
    await response.prepare(request)
    try:
        async for chunk in Upstream.chunks(answer):
            if run.meter is not None:
                run.meter.feed(chunk)
            passed = chunk if edit is None else edit.feed(chunk)
            if passed:
                await response.write(passed)
    except UpstreamBroken:
        _log.warning("upstream_broken", event_id=run.intent.event_id)
        if edit is not None and (held := edit.finish()):
            await response.write(held)
        if request.transport is not None:
            request.transport.abort()
        return response
    if edit is not None and (rest := edit.finish()):
        await response.write(rest)
    await response.write_eof()
    return response
