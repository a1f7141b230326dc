"""The ways to the same answer: direct to the upstream, through a bare relay, through the proxy."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc

from om.wallet.v1 import wallet_service_pb2 as wallet_pb
from om.wallet.v1 import wallet_service_pb2_grpc as wallet_grpc
from om_server.cli.demo import DEVELOPMENT_KEY
from tests.bench.deployment import free_ports, listens, prepared, proxy
from tests.bench.process import Program, fleet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.bench.process import Fleet

PROXY = "proxy"
RELAY = "relay"
UPSTREAM = "upstream"
#: A proxy in front of a server that allows everything at once.
ALONE = "proxy_alone"
RPC = "rpc"
WAYS = (UPSTREAM, RELAY, ALONE, PROXY)

#: A server that allows everything at once.
STAND_IN = "stand_in"

_SETTLE_TIMEOUT_S = 60.0
_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Chain:
    """The running processes and the port of each way, by the name of the process that answers there."""

    fleet: Fleet
    ports: dict[str, int]
    grpc_target: str

    async def settled_after_s(self) -> float:
        """Wait until nothing is set aside any more, that is until every call is charged; tell how long."""
        started = time.perf_counter()
        async with grpc.aio.insecure_channel(self.grpc_target) as channel:
            stub = wallet_grpc.WalletServiceStub(channel)
            while (await stub.GetWallet(_WALLET, metadata=_CREDENTIAL)).wallet.held.amount_nanos:
                if time.perf_counter() - started > _SETTLE_TIMEOUT_S:
                    raise TimeoutError("calls were not settled in time")
                await asyncio.sleep(_POLL_S)
        return time.perf_counter() - started


_WALLET = wallet_pb.GetWalletRequest()
_CREDENTIAL = (("authorization", f"Bearer {DEVELOPMENT_KEY}"),)


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Chain]:
    """Start the chain on SQLite: server with its settling thread, upstream, relay, and the two proxies."""
    ports = dict(zip((*WAYS, STAND_IN), free_ports(len(WAYS) + 1), strict=True))
    upstream = f"http://127.0.0.1:{ports[UPSTREAM]}"
    with prepared(folder, "sqlite") as deployed:
        stand_in, token = f"127.0.0.1:{ports[STAND_IN]}", deployed.service_token
        programs = (
            deployed.server("om_server", "serve", "rpc"),
            own(UPSTREAM, ports[UPSTREAM]),
            own(RELAY, ports[RELAY], f"--upstream={upstream}"),
            own(STAND_IN, ports[STAND_IN]),
            proxy(ALONE, ports[ALONE], upstream=upstream, grpc_target=stand_in, service_token=token),
            proxy(
                PROXY, ports[PROXY], upstream=upstream, grpc_target=deployed.grpc_target, service_token=token
            ),
        )
        with fleet(deployed.folder / "logs", *programs) as started:
            yield Chain(started, ports, deployed.grpc_target)


def own(name: str, port: int, *options: str) -> Program:
    """A program of this package that listens on a port."""
    return Program(name, [f"tests.bench.{name}", f"--port={port}", *options], {}, lambda: listens(port))


def request(*, stream: bool, user: str = "") -> bytes:
    """What an OpenAI client sends through the proxy, with a prompt of about a kilobyte.

    `user` is the body's own, by which the upstream chooses its answer.
    """
    messages = [
        {"role": "system", "content": "You answer questions about invoices, briefly and politely. " * 8},
        {"role": "user", "content": "Why is the amount of my last invoice higher than usual? " * 8},
    ]
    body: dict[str, object] = {"model": "gpt-4o", "max_tokens": 100, "messages": messages}
    if stream:
        body["stream"] = True
    if user:
        body["user"] = user
    text = json.dumps(body, separators=(",", ":")).encode()
    lines = [
        "POST /v1/chat/completions HTTP/1.1",
        "Host: 127.0.0.1",
        "Accept: application/json",
        "Accept-Encoding: gzip, deflate",
        "Content-Type: application/json",
        "User-Agent: OpenAI/Python 2.0.0",
        "X-Stainless-Lang: python",
        "X-Stainless-Runtime: CPython",
        "X-Stainless-Retry-Count: 0",
        "Authorization: Bearer sk-bench",
        f"X-OM-Api-Key: {DEVELOPMENT_KEY}",
        "X-OM-Customer-Id: acme",
        "X-OM-User-Id: user_123",
        "X-OM-Feature-Id: ai-chat",
        f"Content-Length: {len(text)}",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + text
