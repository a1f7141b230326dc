"""The real application over the real platform, with an identity provider: what a browser sees of them."""

import contextlib
import secrets
import warnings
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
from starlette.types import ASGIApp

from om_server import wiring
from om_server.rpc.server import RpcServer, RpcSettings
from om_server.storage.database import Database
from tests.contract.postbox import Postbox
from tests.oidc_provider import Provider
from tests.server.account.people.house import CHEAP, PASSWORD

with warnings.catch_warnings():
    # connexion imports a class that jsonschema wants to rename.
    warnings.simplefilter("ignore", DeprecationWarning)
    from om_server.rest.app import create_app
    from om_server.rest.channel import Server

ORIGIN = "https://om.example"
PLAIN_ORIGIN = "http://om.internal:3000"
#: How a page of the dashboard asks for a session.
OWN_PAGE = {"Sec-Fetch-Site": "same-origin", "X-OM-Session": "cookie"}


@dataclass(frozen=True)
class House:
    """REST at an https origin and at a plain one, over one server."""

    app: ASGIApp
    plain_app: ASGIApp
    mail: Postbox
    provider: Provider

    def browser(self, *, secure: bool = True) -> httpx.AsyncClient:
        """A browser without cookies. What it sends beside them is the test's."""
        transport = httpx.ASGITransport(self.app if secure else self.plain_app)
        return httpx.AsyncClient(transport=transport, base_url=ORIGIN if secure else PLAIN_ORIGIN)


@contextlib.asynccontextmanager
async def open_house(database: Database, provider: Provider) -> AsyncIterator[House]:
    """Serve everything over a migrated database."""
    mail = Postbox()
    people = wiring.PeopleSettings(
        mail,
        ORIGIN,
        sign_up_open=True,
        password_cost=CHEAP,
        oidc=provider.client(f"{ORIGIN}/api/v1/oidc/callback"),
    )
    platform = wiring.build(database, people=people)
    rpc = RpcServer(
        platform.servicers,
        platform.authenticator,
        settings=RpcSettings(address="127.0.0.1:0"),
        service_token="",
        new_request_id=lambda: platform.ids.new("req"),
    )
    server = Server(f"127.0.0.1:{await rpc.start()}", timeout_s=10)
    try:
        app, plain = (create_app(server, public_url=origin) for origin in (ORIGIN, PLAIN_ORIGIN))
        yield House(app, plain, mail, provider)
    finally:
        await server.close()
        await rpc.stop(0)
        platform.stop()


def new_person() -> dict[str, Any]:
    """The body of a sign-up."""
    return {
        "email": f"{secrets.token_hex(6)}@example.com",
        "password": PASSWORD,
        "organizationName": "Engines",
        "displayName": "Ada",
    }


async def signed_up(browser: httpx.AsyncClient) -> dict[str, Any]:
    """Sign up as a page does; what was answered of the session."""
    answer = await browser.post("/api/v1/sign-up", json=new_person(), headers=OWN_PAGE)
    assert answer.status_code == 200, answer.text
    session: dict[str, Any] = answer.json()["session"]
    return session
