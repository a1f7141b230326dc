"""The composition root of the proxy: builds one edge and serves it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator

import structlog
from aiohttp import web

from om_proxy.authorize import Authorizer
from om_proxy.handler import Handler, Origins
from om_proxy.identity import new_edge
from om_proxy.providers import all_providers, sandbox
from om_proxy.report import Reporter
from om_proxy.server_client import ServerAway, ServerClient, ServerRefused
from om_proxy.settings import ProxySettings
from om_proxy.upstream import Upstream

_log = structlog.get_logger(__name__)

_HEADER_BYTES_MAX = 64 * 1024
_RESYNC_DELAY_S = 0.2
_SHIP_GRACE_S = 10.0
_STREAM_GRACE_S = 30.0
_SERVICE = "ai-proxy-service"


class Health:
    """Whether the process lives, and whether it can admit calls."""

    def __init__(self) -> None:
        self.ready = False

    async def answer(self, request: web.Request) -> web.Response:
        """The published bodies; the connectivity test of the documents uses POST."""
        if request.path == "/health/live":
            return web.json_response({"status": "live"})
        if request.path == "/health/ready":
            status = 200 if self.ready else 503
            return web.json_response({"status": "ready" if self.ready else "starting"}, status=status)
        return web.json_response({"status": "healthy", "service": _SERVICE})


@contextlib.asynccontextmanager
async def running(settings: ProxySettings) -> AsyncIterator[str]:
    """Serve until the block is left; gives the URL. Port 0 takes a free one."""
    edge, server = new_edge(), ServerClient(settings.grpc_address, settings.service_token.get_secret_value())
    authorizer = Authorizer(server, edge)
    reporter = Reporter(server, edge, queue_max=settings.report_queue_max)
    health = Health()
    async with sandbox.running() as simulator, Upstream(settings) as upstream:
        providers = all_providers()
        origins = Origins(
            {provider.name: settings.origin_of(provider.name) for provider in providers}, simulator.url
        )
        handler = Handler(
            providers,
            origins=origins,
            authorizer=authorizer,
            upstream=upstream,
            reporter=reporter,
            body_bytes_max=settings.body_bytes_max,
        )
        runner = web.AppRunner(
            _application(handler, health, settings),
            # A caller who leaves ends the call at the provider too, as a direct connection would.
            handler_cancellation=True,
            # The access log would write `?key=`.
            access_log=None,
            shutdown_timeout=_STREAM_GRACE_S,
            max_line_size=_HEADER_BYTES_MAX,
            max_field_size=_HEADER_BYTES_MAX,
        )
        await runner.setup()
        site = web.TCPSite(runner, settings.host, settings.port, backlog=1024)
        await site.start()
        reporter.start()
        resync = asyncio.create_task(_resync(authorizer, health), name="resync")
        try:
            yield f"http://{settings.host}:{runner.addresses[0][1]}"
        finally:
            health.ready = False
            resync.cancel()
            await runner.cleanup()
            await reporter.stop(_SHIP_GRACE_S)
            await server.close()


def _application(handler: Handler, health: Health, settings: ProxySettings) -> web.Application:
    app = web.Application(client_max_size=settings.body_bytes_max)
    for path in ("/health", "/health/live", "/health/ready"):
        app.router.add_get(path, health.answer)
        app.router.add_post(path, health.answer)
    app.router.add_route("*", "/{path:.*}", handler.handle)
    return app


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
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    async with running(settings) as url:
        _log.info("proxy_started", url=url)
        await stopped.wait()
