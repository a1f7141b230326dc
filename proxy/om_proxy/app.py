"""The composition root of the proxy: builds one edge and serves it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import structlog
from aiohttp import web

from om_proxy.admission.spending import Spending
from om_proxy.background import in_background
from om_proxy.callers.body import BodyLimits
from om_proxy.callers.handler import Handler
from om_proxy.callers.health import Health
from om_proxy.callers.listener import Answer, Listener
from om_proxy.collector import spare_what_stays
from om_proxy.counts import Counts
from om_proxy.edge.call_book import CallBook
from om_proxy.edge.orphans import Orphans
from om_proxy.edge.parts import edge_parts
from om_proxy.journal.boot import boot_id
from om_proxy.journal.group_sync import GroupSync
from om_proxy.journal.home import HomeTaken, IdentityUnreadable
from om_proxy.journal.journal import Journal, open_journal
from om_proxy.metrics import ProxyMetrics, Standing, exposed
from om_proxy.providers import all_providers, compatible_providers, sandbox
from om_proxy.server.server_client import ServerClient
from om_proxy.settings import ProxySettings
from om_proxy.stop_signal import Grace, leave_at_once, stop_signal
from om_proxy.tracing import Tracer, Untraced
from om_proxy.upstream.client import Upstream
from om_proxy.upstream.cost_headers import CostHeaders
from om_proxy.upstream.departure import Departure
from om_proxy.upstream.forward import Forwarder, Origins

_log = structlog.get_logger(__name__)

_LEASE_GRACE_S = 2.0
_SHIP_GRACE_S = 10.0
#: For connections on which nothing is answered any more.
_CLOSE_GRACE_S = 1.0


class EdgeUnavailable(Exception):
    """The edge cannot begin, or cannot go on; the message says why."""


@dataclass(frozen=True, slots=True)
class Served:
    """A proxy that listens."""

    url: str
    #: Why its edge cannot go on.
    ended: asyncio.Future[str]


@contextlib.asynccontextmanager
async def running(
    settings: ProxySettings, *, ship_grace_s: float = _SHIP_GRACE_S, tracer: Tracer | None = None
) -> AsyncIterator[str]:
    """Serve until the block is left; gives the URL. Port 0 takes a free one. EdgeUnavailable, OSError."""
    async with serving(settings, ship_grace_s=ship_grace_s, tracer=tracer) as served:
        yield served.url


@contextlib.asynccontextmanager
async def serving(
    settings: ProxySettings,
    *,
    worker: int = 0,
    ship_grace_s: float = _SHIP_GRACE_S,
    tracer: Tracer | None = None,
) -> AsyncIterator[Served]:
    """Serve as one of the workers, until the block is left. Without a tracer, by what the settings say."""
    server = ServerClient(settings.grpc_address, settings.service_token.get_secret_value())
    async with contextlib.AsyncExitStack() as stack:
        # Left in the opposite order: callers, what reads their answers, the leases, the journal's tail.
        stack.push_async_callback(server.close)
        tracer = tracer or stack.enter_context(tracing(settings.otlp_endpoint, ratio=settings.trace_ratio))
        # Public: callers steer it with X-Sim, and must not order answers without end.
        simulator = await stack.enter_async_context(sandbox.running(public=True))
        upstream = await stack.enter_async_context(Upstream(settings))
        journal = _journal(settings, worker)
        parts = edge_parts(server, journal)
        stack.push_async_callback(parts.life.close, ship_grace_s)
        group_sync = None
        if settings.journal_fsync == "batch":
            group_sync = GroupSync(journal)
            stack.push_async_callback(group_sync.close)
        spending = Spending(
            server,
            journal.edge,
            journal=journal,
            life=parts.life,
            incarnation=parts.incarnation,
            grace_s=settings.auth_grace_s,
        )
        stack.push_async_callback(spending.close, _LEASE_GRACE_S)
        counts = Counts()
        book = CallBook(
            journal,
            spending.desk,
            on_outcome=parts.reporter.wake,
            group_sync=group_sync,
            counts=counts,
        )
        native, compatible = all_providers(), compatible_providers(settings.providers_file)
        own = {provider.name: settings.origin_of(provider.name) for provider in native}
        named = {provider.name: provider.origin for provider in compatible}
        forwarder = Forwarder(
            upstream,
            book,
            origins=Origins(own | named, simulator.url),
            costs=CostHeaders(server),
            departure=Departure(settings.on_disconnect, settings.drain_s, settings.drain_bytes_max),
            counts=counts,
            tracer=tracer,
        )
        grace = Grace(settings.stop_grace_s)
        stack.push_async_callback(_close_forwarder, forwarder, grace)
        handler = Handler(
            (*native, *compatible),
            keys=spending.keys,
            admissions=spending.admissions,
            forwarder=forwarder,
            limits=BodyLimits(settings.body_bytes_max, settings.body_timeout_s),
            counts=counts,
            tracer=tracer,
        )
        if worker == 0:
            orphans = Orphans(
                server, journal.home.path.parent, workers=settings.workers, synced=journal.home.synced
            )
            stack.push_async_callback(orphans.close)
            orphans.start()
        standing = Standing(
            parts.life.ready.is_set,
            lambda: book.open_count,
            leases=spending.leases,
            unsettled=journal.unsettled,
        )
        await stack.enter_async_context(
            exposed(
                ProxyMetrics(counts, standing),
                journal=journal.home.path,
                host=settings.metrics_host,
                port=settings.metrics_port and settings.metrics_port + worker,
            )
        )
        health = Health(parts.life.ready)
        url = await stack.enter_async_context(_listening(_front(health, handler), settings, grace))
        await stack.enter_async_context(in_background(parts.watch(spending.changes.hear).run()))
        spending.start()
        parts.life.start()
        try:
            yield Served(url, parts.life.ended)
        finally:
            # The edge itself stays ready: streams that go on may need more money.
            health.ending = True


@contextlib.contextmanager
def tracing(endpoint: str, *, ratio: float) -> Iterator[Tracer]:
    """Send spans to a collector for the block; EdgeUnavailable where the extra is missing."""
    if not endpoint:
        yield Untraced()
        return
    try:
        from om_proxy.otel import OtelTracer, exporting_provider  # noqa: PLC0415 - an extra, and slow to load
    except ImportError:
        raise EdgeUnavailable("OM_OTLP_ENDPOINT needs the extra: openmonetize[tracing]") from None
    provider = exporting_provider(endpoint, ratio=ratio)
    try:
        yield OtelTracer(provider)
    finally:
        provider.shutdown()


def _journal(settings: ProxySettings, worker: int) -> Journal:
    path = settings.journal_of(worker)
    try:
        return open_journal(path, boot_id=boot_id(), synced=settings.journal_fsync == "batch")
    except HomeTaken as error:
        raise EdgeUnavailable(f"{error}; OM_PROXY_JOURNAL_DIR gives each proxy a folder of its own") from None
    except (IdentityUnreadable, OSError) as error:
        raise EdgeUnavailable(f"the journal cannot be opened: {error}") from None


def _front(health: Health, handler: Handler) -> Answer:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return health.answer(request.method, request.raw_path) or await handler.handle(request)

    return answer


@contextlib.asynccontextmanager
async def _listening(answer: Answer, settings: ProxySettings, grace: Grace) -> AsyncIterator[str]:
    listener = Listener(
        answer, head_timeout_s=settings.head_timeout_s, write_timeout_s=settings.write_timeout_s
    )
    runner = web.ServerRunner(listener, shutdown_timeout=_CLOSE_GRACE_S)
    await runner.setup()
    try:
        shared = True if settings.workers > 1 else None
        site = web.TCPSite(runner, settings.host, settings.port, backlog=1024, reuse_port=shared)
        await site.start()
        try:
            yield f"http://{settings.host}:{runner.addresses[0][1]}"
        finally:
            await site.stop()
            await listener.finish(grace.left_s())
    finally:
        await runner.cleanup()


async def _close_forwarder(forwarder: Forwarder, grace: Grace) -> None:
    await forwarder.close(grace.left_s())


async def serve(settings: ProxySettings, *, worker: int = 0) -> None:
    """Serve until SIGINT or SIGTERM, then let streams end and ship what waits. EdgeUnavailable."""
    async with serving(settings, worker=worker) as served:
        spare_what_stays()
        _log.info("proxy_started", url=served.url)
        stopped = asyncio.create_task(stop_signal(again=leave_at_once))
        await asyncio.wait((stopped, served.ended), return_when=asyncio.FIRST_COMPLETED)
        if served.ended.done():
            # Nothing that calls do from now on can be written down, so none may go on.
            sys.stderr.write(f"om_proxy: {served.ended.result()}\n")
            sys.stderr.flush()
            os._exit(1)
