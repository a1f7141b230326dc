"""The real application over a SQLite file: REST and RPC on a loop of their own, and tenants in it."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc

from om_server import wiring
from om_server.rest.app import RestSettings, serve
from om_server.rest.listener import listen
from om_server.rpc.caller import Principal, Scope
from om_server.rpc.server import RpcServer, RpcSettings
from tests.contract.calling import Caller
from tests.contract.estate import Estate, Tenant
from tests.contract.postbox import URL, Postbox
from tests.e2e.event_loop import EventLoopThread
from tests.rpc import SERVICE_TOKEN
from tests.server.account.people.house import CHEAP

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from om_server.storage.database import Database
    from om_server.wiring import Platform


@dataclass(frozen=True, slots=True)
class Site:
    """Where REST answers, and two organizations that know nothing of one another."""

    rest: str
    ours: Tenant
    theirs: Tenant
    revoked_key: str
    ended_session: str
    database: Database


@contextlib.contextmanager
def site_on(database: Database) -> Iterator[Site]:
    """Serve everything over a migrated database, as a test-mode installation does."""
    mail = Postbox()
    people = wiring.PeopleSettings(mail, URL, sign_up_open=True, password_cost=CHEAP)
    platform = wiring.build(database, people=people)
    with EventLoopThread() as loop:
        try:
            target = loop.enter(_serving_rpc(platform))
            rest = loop.enter(_serving_rest(target))
            with grpc.insecure_channel(target) as channel:
                estate = Estate(platform, Caller(channel), mail)
                yield _site(estate, rest, database)
        finally:
            platform.stop()


def _site(estate: Estate, rest: str, database: Database) -> Site:
    ours, theirs = Tenant(estate, "ours"), Tenant(estate, "theirs")
    revoked, session = ours.new_key(*Scope), ours.credential(Principal.OWNER)
    estate.platform.account.revoke_key(ours.organization_id, revoked.key.key_id)
    assert not estate.caller.call("om.account.v1.AccountService/SignOut", {}, secret=session).reason
    return Site(rest, ours, theirs, revoked.secret, session, database)


@contextlib.asynccontextmanager
async def _serving_rpc(platform: Platform) -> AsyncIterator[str]:
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
        await server.stop(0)


@contextlib.asynccontextmanager
async def _serving_rest(grpc_target: str) -> AsyncIterator[str]:
    listeners = listen("127.0.0.1", (0,))
    stop = asyncio.Event()
    settings = RestSettings(grpc_target=grpc_target, environment="development")
    serving = asyncio.create_task(serve(settings, listeners=listeners, stop=stop))
    try:
        yield f"http://127.0.0.1:{listeners[0].getsockname()[1]}"
    finally:
        stop.set()
        await serving
