"""The REST process: connexion routes by the OpenAPI document, uvicorn serves it on several ports.

Of connexion's layers only routing is used. Its security and validation would decide what the server
decides: keys are known there, and the rules of values come from the same contract.
"""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version as installed_version

import structlog
import uvicorn
from connexion import ConnexionMiddleware
from connexion.middleware.routing import RoutingMiddleware
from connexion.resolver import Resolver
from starlette.types import ASGIApp

from om_server.core.clock import MICROS_PER_SECOND, Clock, system_clock
from om_server.rest.binding import Binding
from om_server.rest.browser_session import BrowserSessions, presenters
from om_server.rest.channel import RPC_TIMEOUT_S, Server
from om_server.rest.cookies import Cookies
from om_server.rest.dispatch import Answered, Operations, Outermost, uncounted
from om_server.rest.docs import doc_routes, load_document
from om_server.rest.documented import documented_operations
from om_server.rest.documented.admin import AdminAccess
from om_server.rest.framing import framing_of
from om_server.rest.listener import BACKLOG, listen
from om_server.rest.oidc_pages import OidcPages
from om_server.rest.rate_limit import RateLimit, Throttle
from om_server.rest.request import Endpoint
from om_server.rest.routes import QuickRoutes, RouteTable
from om_server.rest.stream import Streamed
from om_server.rest.tracing import RequestTracer
from om_server.rest.transcode import Presenter, Transcoded, present_plainly

_log = structlog.get_logger(__name__)

_VERBS = ("get", "put", "post", "delete", "patch")
_STOP_TIMEOUT_S = 20
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True, slots=True)
class RestSettings:
    """Where the gRPC server is, and where to listen: three ports, because the documents name three."""

    grpc_target: str
    host: str = "127.0.0.1"
    ports: tuple[int, ...] = (3000, 8081, 3001)
    environment: str = "production"
    rpc_timeout_s: float = RPC_TIMEOUT_S
    #: The origin at which browsers are; https makes their cookies secure.
    public_url: str = "http://localhost:3000"
    rate_limit: RateLimit | None = None
    #: What opens /v1/admin; without it nobody finds that.
    admin_access: AdminAccess | None = None
    #: Counts every request.
    answered: Answered = uncounted
    #: Traces every request; without it nobody does.
    tracer: RequestTracer | None = None


async def serve(
    settings: RestSettings,
    *,
    listeners: Sequence[socket.socket] | None = None,
    stop: asyncio.Event | None = None,
) -> None:
    """Answer until `stop` is set; without one, until SIGTERM or SIGINT. Running requests are finished.

    An OSError of one line names a port that is taken. Given listeners are used instead of the settings'
    host and ports, and are closed at the end.
    """
    taken = listen(settings.host, settings.ports) if listeners is None else list(listeners)
    server = Server(settings.grpc_target, timeout_s=settings.rpc_timeout_s)
    try:
        ending = asyncio.Event()
        app = create_app(
            server,
            ending=ending,
            environment=settings.environment,
            public_url=settings.public_url,
            rate_limit=settings.rate_limit,
            admin_access=settings.admin_access,
            answered=settings.answered,
            tracer=settings.tracer,
        )
        http = _Uvicorn(_configuration(app))
        with _stopping(http, stop, ending):
            ports = [listener.getsockname()[1] for listener in taken]
            _log.info("rest_started", ports=ports, grpc_target=settings.grpc_target)
            await http.serve(taken)
            _log.info("rest_stopped")
    finally:
        await server.close()
        for listener in taken:
            listener.close()


def create_app(  # noqa: PLR0913 - what the process decides
    server: Server,
    *,
    ending: asyncio.Event | None = None,
    environment: str = "production",
    clock: Clock = system_clock,
    public_url: str = "http://localhost:3000",
    rate_limit: RateLimit | None = None,
    admin_access: AdminAccess | None = None,
    answered: Answered = uncounted,
    tracer: RequestTracer | None = None,
) -> ASGIApp:
    """The ASGI application: the same routes whatever port a request came to. `ending` ends open streams."""
    document = load_document()
    cookies = Cookies(public_url, clock=clock)
    present = presenters(cookies)
    ends = ending or asyncio.Event()
    endpoints: dict[str, Endpoint] = {
        name: _transcoded(operation, server, present=present, ending=ends)
        for name, operation in _operations(document)
        if "x-grpc-method" in operation
    }
    version = installed_version("openmonetize")
    endpoints |= documented_operations(
        server, clock=clock, version=version, environment=environment, admin_access=admin_access
    )
    if unmatched := {name for name, _ in _operations(document)} ^ endpoints.keys():
        raise LookupError(f"only in the document, or only in the code: {', '.join(sorted(unmatched))}")
    pages = [*doc_routes(document), *OidcPages(server, cookies, public_url=public_url).routes()]
    operations = Operations(endpoints, pages, templates=_templates(document))
    connexion = ConnexionMiddleware(operations, middlewares=[RoutingMiddleware])
    connexion.add_api(document, resolver=Resolver(endpoints.get))
    routes: ASGIApp = QuickRoutes(RouteTable(document["paths"]), operations, otherwise=connexion)  # type: ignore[arg-type]  # Any document's.
    limited = routes
    if rate_limit is not None:
        limited = Throttle(routes, rate_limit, seconds=lambda: clock() / MICROS_PER_SECOND)
    sessions = BrowserSessions(limited, cookies, public_url=public_url)
    return Outermost(sessions, answered=answered, tracer=tracer)


def _transcoded(
    operation: Mapping[str, object],
    server: Server,
    *,
    present: Mapping[str, Presenter],
    ending: asyncio.Event,
) -> Endpoint:
    binding = Binding.from_operation(operation)
    if binding.rpc.streaming:
        return Streamed(binding, server, framing=framing_of(binding.rpc, operation), ending=ending)
    return Transcoded(binding, server, present=present.get(binding.rpc.path, present_plainly))


def _operations(document: Mapping[str, object]) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Every operation of the document with its operationId."""
    for _, name, operation in _entries(document):
        yield name, operation


def _templates(document: Mapping[str, object]) -> dict[str, str]:
    """The path of each operation as the document writes it."""
    return {name: path for path, name, _ in _entries(document)}


def _entries(document: Mapping[str, object]) -> Iterator[tuple[str, str, Mapping[str, object]]]:
    paths = document["paths"]
    for path, item in paths.items() if isinstance(paths, Mapping) else ():
        for verb in _VERBS:
            if verb in item:
                yield path, item[verb]["operationId"], item[verb]


def _configuration(app: ASGIApp) -> uvicorn.Config:
    # With its lifespan on, uvicorn calls the application before it accepts: routes are built then.
    return uvicorn.Config(
        app,
        lifespan="on",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=_STOP_TIMEOUT_S,
    )


class _Uvicorn(uvicorn.Server):
    """uvicorn without its signal handlers, which end the process by the signal that stopped it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.contextmanager
def _stopping(http: uvicorn.Server, stop: asyncio.Event | None, ending: asyncio.Event) -> Iterator[None]:
    """End the server's loop and its streams on the event, or on a signal where no event was given."""

    def ask() -> None:
        http.should_exit = True
        ending.set()

    loop = asyncio.get_running_loop()
    if stop is None:
        for number in _SIGNALS:
            loop.add_signal_handler(number, ask)
        try:
            yield
        finally:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)
        return
    waiting = loop.create_task(stop.wait())
    waiting.add_done_callback(lambda _: ask())
    try:
        yield
    finally:
        waiting.cancel()
