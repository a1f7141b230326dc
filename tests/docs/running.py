"""The platform that the documents are tried on: everything that `make run` starts, in this process."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from om_proxy.app import running as proxy_running
from om_proxy.providers import sandbox
from om_proxy.settings import load_settings as proxy_settings
from om_server import wiring
from om_server.account.people.mailbox import FolderMailbox
from om_server.cli.command import seed_development
from om_server.rest.app import RestSettings
from om_server.rest.app import serve as serve_http
from om_server.rest.listener import listen
from om_server.rpc.server import RpcServer, RpcSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from om_server.storage.database import Database

_HOST = "127.0.0.1"
_TIMEOUT_S = 30
#: The discard port: a document that reaches for a real provider gets an error, not an answer.
_NOBODY = f"http://{_HOST}:9"
_PORTS = {
    "OM_GRPC_PORT": 50051,
    "OM_REST_PORT": 3000,
    "OM_INGEST_PORT": 8081,
    "OM_RATING_PORT": 3001,
    "OM_PROXY_PORT": 8082,
    "OM_SIMULATED_PROXY_PORT": 8083,
    "OM_SIMULATOR_PORT": 8084,
}
_PROVIDERS = ("OM_OPENAI_BASE_URL", "OM_ANTHROPIC_BASE_URL", "OM_GEMINI_BASE_URL")


@dataclass(frozen=True, slots=True)
class Running:
    """A running platform: the port that stands for each port that the documents name."""

    ports: dict[int, int]
    service_token: str
    folder: Path

    def restore(self, text: str) -> str:
        """Undo it in what a command printed, whose folder is called `data` too."""
        for documented, actual in self.ports.items():
            text = text.replace(str(actual), str(documented))
        return text.replace(str(self.folder), "data")

    @property
    def environment(self) -> dict[str, str]:
        """What a command of `openmonetize` needs to find this platform."""
        ports = {variable: str(self.ports[documented]) for variable, documented in _PORTS.items()}
        return {"OM_SERVICE_TOKEN": self.service_token, "OM_DATA_DIR": str(self.folder), **ports}

    def translate(self, text: str) -> str:
        """Replace the documented addresses by those of this platform."""
        for documented, actual in self.ports.items():
            text = text.replace(f"localhost:{documented}", f"{_HOST}:{actual}")
        return text


@contextlib.contextmanager
def running(database: Database, folder: Path) -> Iterator[Running]:
    """Serve gRPC, REST, a settling worker and both proxies over a migrated database."""
    # As in development: anybody signs up, and mails are files in the data folder.
    mailbox = FolderMailbox(
        folder / "mail", sender="om@localhost", new_name=functools.partial(wiring.id_source().new, "mail")
    )
    people = wiring.PeopleSettings(mailbox, sign_up_open=True)
    platform, token = wiring.build(database, people=people), "service-token-of-the-documents"
    seed_development(platform)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="documents")
    thread.start()
    served = _serving(platform, token, folder)
    platform.worker.start()
    try:
        ports = asyncio.run_coroutine_threadsafe(served.__aenter__(), loop).result(_TIMEOUT_S)
        try:
            yield Running(ports, token, folder)
        finally:
            stopping = served.__aexit__(None, None, None)
            asyncio.run_coroutine_threadsafe(stopping, loop).result(_TIMEOUT_S)
    finally:
        platform.stop()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@asynccontextmanager
async def _serving(platform: wiring.Platform, token: str, folder: Path) -> AsyncIterator[dict[int, int]]:
    rpc = RpcServer(
        platform.servicers,
        platform.authenticator,
        settings=RpcSettings(f"{_HOST}:0", reflection=True),
        service_token=token,
        new_request_id=lambda: platform.ids.new("req"),
    )
    ports = {50051: await rpc.start()}
    async with AsyncExitStack() as stack:
        stack.push_async_callback(rpc.stop, 0)
        simulator = await stack.enter_async_context(sandbox.running())
        ports[8084] = _port_of(simulator.url)
        for documented, upstream in ((8082, _NOBODY), (8083, simulator.url)):
            settings = proxy_settings(
                OM_PROXY_PORT=0,
                OM_PROXY_JOURNAL_DIR=folder / f"journal-{documented}",
                OM_GRPC_ADDRESS=f"{_HOST}:{ports[50051]}",
                OM_SERVICE_TOKEN=token,
                **dict.fromkeys(_PROVIDERS, upstream),
            )
            url = await stack.enter_async_context(proxy_running(settings))
            ports[documented] = _port_of(url)
        rest = await stack.enter_async_context(_rest(ports[50051]))
        yield ports | rest


def _port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


@asynccontextmanager
async def _rest(rpc_port: int) -> AsyncIterator[dict[int, int]]:
    documented = (3000, 8081, 3001)
    listeners = listen(_HOST, [0] * len(documented))
    ports = {name: listener.getsockname()[1] for name, listener in zip(documented, listeners, strict=True)}
    stop = asyncio.Event()
    settings = RestSettings(grpc_target=f"{_HOST}:{rpc_port}", host=_HOST, environment="development")
    task = asyncio.create_task(serve_http(settings, listeners=listeners, stop=stop))
    try:
        yield ports
    finally:
        stop.set()
        await task
