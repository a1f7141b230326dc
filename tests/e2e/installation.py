"""Everything that one machine runs, in this process and on real sockets: the platform as its users see it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx

from om_proxy.app import running as proxy_running
from om_proxy.providers import sandbox
from om_proxy.settings import ProxySettings, load_settings
from om_server import wiring
from om_server.account.keys.key import KeyWish
from om_server.core.money import CREDITS, Money
from om_server.core.page import PageRequest
from om_server.rest.app import RestSettings
from om_server.rest.app import serve as serve_rest
from om_server.rest.documented.admin import AdminAccess
from om_server.rest.listener import listen
from om_server.rpc.caller import Scope
from om_server.rpc.server import RpcServer, RpcSettings
from tests.e2e.event_loop import EventLoopThread
from tests.e2e.tenant import PATIENCE_S, Tenant

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping
    from contextlib import AbstractAsyncContextManager

    from tests.e2e.stored import Stored

SERVICE_TOKEN = "service-token-of-the-end-to-end-tests"
#: What opens /v1/admin.
ADMIN_TOKEN = "admin-token-of-the-end-to-end-tests"
#: The only plan with a monthly quota, which no other test has.
QUOTA_PLAN, QUOTA = "ENTERPRISE", 3
#: Small, so that a body above the limit is quickly sent.
PROXY_BODY_BYTES_MAX = 1024 * 1024

_STOP_GRACE_S = 5.0


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where everything answers. gRPC is host:port, the others are URLs."""

    grpc: str
    rest: str
    simulator: str
    #: The proxy whose providers are the simulator: calls cost true credits.
    proxy: str
    #: The proxy as in production, on a machine that reaches no provider.
    offline_proxy: str


class Installation:
    """A running platform over one database."""

    def __init__(
        self,
        platform: wiring.Platform,
        stored: Stored,
        addresses: Addresses,
        *,
        loop: EventLoopThread,
        logs: Callable[[], str] = str,
        measured: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        self.platform = platform
        self.stored = stored
        self.addresses = addresses
        #: What other processes have written; this one's own is the test's to capture.
        self.logs = logs
        #: What each other process tells Prometheus, by its name.
        self.measured = measured
        #: One client for all tests: making one reads every certificate of the machine.
        self.web = httpx.Client(base_url=addresses.rest, timeout=PATIENCE_S)
        self._loop = loop

    def tenant(self, credits_granted: str = "") -> Tenant:
        """Make an organization with one key; without credits it has no wallet at all."""
        account = self.platform.account
        organization_id = account.create_organization("A test").organization_id
        (team,) = account.list_teams(organization_id, PageRequest(1, "")).items
        key = account.create_key(organization_id, KeyWish(team.team_id, scopes=frozenset(Scope))).secret
        if credits_granted:
            self.platform.wallet.seed_grant(organization_id, Money.parse(credits_granted, CREDITS))
        return self.known_tenant(organization_id, key)

    def known_tenant(self, organization_id: str, key: str) -> Tenant:
        """Give an organization that exists already."""
        return Tenant(organization_id, key, self.web)

    def serve(self, server: AbstractAsyncContextManager[str]) -> str:
        """Run a server of the test's own beside the platform and give its address."""
        return self._loop.enter(server)

    def proxy_before(self, origin: str) -> str:
        """Run one more proxy, whose providers are all at this origin, for as long as the installation."""
        return self._loop.enter(_serving_proxy(self.addresses.grpc, origin))


@contextlib.contextmanager
def attached(
    stored: Stored,
    addresses: Addresses,
    *,
    logs: Callable[[], str],
    measured: Callable[[], Mapping[str, str]],
) -> Iterator[Installation]:
    """Give a platform whose components run elsewhere; what a test prepares here goes to their database."""
    with EventLoopThread() as loop:
        platform = wiring.build(stored.database)
        running = Installation(platform, stored, addresses, loop=loop, logs=logs, measured=measured)
        with running.web:
            yield running


@contextlib.contextmanager
def installed(stored: Stored) -> Iterator[Installation]:
    """Run the platform over a migrated database: servers on one loop, the worker on its thread."""
    people = wiring.PeopleSettings(sign_up_open=True, monthly_quotas={QUOTA_PLAN: QUOTA})
    platform = wiring.build(stored.database, people=people)
    with closed_port() as nowhere, EventLoopThread() as loop:
        platform.worker.start()
        try:
            grpc_address = loop.enter(_serving_rpc(platform))
            simulator = loop.enter(sandbox.running())
            addresses = Addresses(
                grpc=grpc_address,
                rest=loop.enter(_serving_rest(grpc_address)),
                simulator=simulator.url,
                proxy=loop.enter(_serving_proxy(grpc_address, simulator.url)),
                offline_proxy=loop.enter(_serving_proxy(grpc_address, nowhere)),
            )
            running = Installation(platform, stored, addresses, loop=loop)
            with running.web:
                yield running
        finally:
            platform.stop()


@contextlib.asynccontextmanager
async def _serving_rpc(platform: wiring.Platform) -> AsyncIterator[str]:
    server = RpcServer(
        platform.servicers,
        platform.authenticator,
        settings=RpcSettings("127.0.0.1:0"),
        service_token=SERVICE_TOKEN,
        new_request_id=lambda: platform.ids.new("req"),
        database_answers=platform.database.answers,
    )
    port = await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(_STOP_GRACE_S)


@contextlib.asynccontextmanager
async def _serving_rest(grpc_address: str) -> AsyncIterator[str]:
    listeners = listen("127.0.0.1", (0,))
    stop = asyncio.Event()
    settings = RestSettings(
        grpc_target=grpc_address,
        environment="test",
        admin_access=AdminAccess(ADMIN_TOKEN, SERVICE_TOKEN),
    )
    serving = asyncio.create_task(serve_rest(settings, listeners=listeners, stop=stop))
    try:
        yield f"http://127.0.0.1:{listeners[0].getsockname()[1]}"
    finally:
        stop.set()
        await serving


@contextlib.asynccontextmanager
async def _serving_proxy(grpc_address: str, origin: str) -> AsyncIterator[str]:
    """Run a proxy and give its address when it says that it is ready, as a load balancer would wait."""
    async with proxy_running(_proxy_settings(grpc_address, origin)) as address, httpx.AsyncClient() as web:
        while not (await web.get(f"{address}/health/ready")).is_success:
            pass
        yield address


def _proxy_settings(grpc_address: str, origin: str) -> ProxySettings:
    return load_settings(
        OM_PROXY_PORT=0,
        OM_PROXY_JOURNAL_DIR=tempfile.mkdtemp(prefix="om-journal-"),
        OM_GRPC_ADDRESS=grpc_address,
        OM_SERVICE_TOKEN=SERVICE_TOKEN,
        OM_OPENAI_BASE_URL=origin,
        OM_ANTHROPIC_BASE_URL=origin,
        OM_GEMINI_BASE_URL=origin,
        OM_PROXY_BODY_BYTES_MAX=PROXY_BODY_BYTES_MAX,
    )


@contextlib.contextmanager
def closed_port() -> Iterator[str]:
    """Give an origin that refuses every connection: a port that is bound, so nobody else takes it."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
