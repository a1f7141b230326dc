"""The composition root of the proxy: builds one edge and serves it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import structlog
from aiohttp import web

from om_proxy.admission import Admissions
from om_proxy.authorize import Authorizer
from om_proxy.body import BodyLimits
from om_proxy.forward import Forwarder, Origins
from om_proxy.handler import Handler
from om_proxy.identity import new_edge
from om_proxy.listener import Answer, Listener
from om_proxy.providers import all_providers, sandbox
from om_proxy.report import Reporter
from om_proxy.server_client import ServerAway, ServerClient, ServerRefused
from om_proxy.settings import ProxySettings
from om_proxy.stop_signal import stop_signal
from om_proxy.upstream import Upstream

_log = structlog.get_logger(__name__)

_RESYNC_DELAY_S = 0.2
_SHIP_GRACE_S = 10.0
_STREAM_GRACE_S = 30.0
_SERVICE = "ai-proxy-service"


class Health:
    """Whether the process lives, and whether it can admit calls."""

    def __init__(self) -> None:
        self.ready = False

    def answer(self, method: str, raw_path: str) -> web.Response | None:
        """The published bodies; the connectivity test of the documents uses POST. None for other paths."""
        if not raw_path.startswith("/health") or method not in {"GET", "HEAD", "POST"}:
            return None
        path = raw_path.partition("?")[0]
        if path == "/health":
            return web.json_response({"status": "healthy", "service": _SERVICE})
        if path == "/health/live":
            return web.json_response({"status": "live"})
        if path == "/health/ready":
            status = 200 if self.ready else 503
            return web.json_response({"status": "ready" if self.ready else "starting"}, status=status)
        return None


@contextlib.asynccontextmanager
async def running(settings: ProxySettings, *, ship_grace_s: float = _SHIP_GRACE_S) -> AsyncIterator[str]:
    """Serve until the block is left; gives the URL. Port 0 takes a free one."""
    edge = new_edge()
    server = ServerClient(settings.grpc_address, settings.service_token.get_secret_value())
    authorizer = Authorizer(server, edge)
    reporter = Reporter(server, edge, queue_max=settings.report_queue_max)
    admissions = Admissions(authorizer, reporter)
    health = Health()
    providers = all_providers()
    async with contextlib.AsyncExitStack() as stack:
        # Left in the opposite order: callers first, then what their calls still have to report.
        stack.push_async_callback(server.close)
        simulator = await stack.enter_async_context(sandbox.running())
        upstream = await stack.enter_async_context(Upstream(settings))
        origins = Origins(
            {provider.name: settings.origin_of(provider.name) for provider in providers}, simulator.url
        )
        forwarder = Forwarder(upstream, reporter, origins=origins)
        handler = Handler(
            providers,
            authorizer=authorizer,
            admissions=admissions,
            forwarder=forwarder,
            limits=BodyLimits(settings.body_bytes_max, settings.body_timeout_s),
        )
        reporter.start()
        stack.push_async_callback(reporter.stop, ship_grace_s)
        stack.push_async_callback(admissions.close)
        stack.push_async_callback(forwarder.close)
        url = await stack.enter_async_context(_listening(_front(health, handler), settings))
        resync = asyncio.create_task(_resync(authorizer, health), name="resync")
        try:
            yield url
        finally:
            health.ready = False
            resync.cancel()


def _front(health: Health, handler: Handler) -> Answer:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return health.answer(request.method, request.raw_path) or await handler.handle(request)

    return answer


@contextlib.asynccontextmanager
async def _listening(answer: Answer, settings: ProxySettings) -> AsyncIterator[str]:
    runner = web.ServerRunner(Listener(answer), shutdown_timeout=_STREAM_GRACE_S)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.host, settings.port, backlog=1024).start()
        yield f"http://{settings.host}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def _resync(authorizer: Authorizer, health: Health) -> None:
    """Register this edge as soon as the server is there; until then calls are answered with 503."""
    while not health.ready:
        try:
            await authorizer.resync()
            health.ready = True
        except ServerAway:
            await asyncio.sleep(_RESYNC_DELAY_S)
        except ServerRefused as error:
            _log.error("resync_refused", reason=error.reason)
            await asyncio.sleep(_RESYNC_DELAY_S * 10)


async def serve(settings: ProxySettings) -> None:
    """Serve until SIGINT or SIGTERM, then let streams end and ship what waits."""
    async with running(settings) as url:
        _log.info("proxy_started", url=url)
        await stop_signal()
