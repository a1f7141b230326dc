"""The way from a caller to a scripted provider and back, with nobody behind it who decides.

What a dialect does to a request and an answer shows here without a server, a journal or a lease.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import grpc
import orjson
from aiohttp import web

from om.rating.v1 import rating_service_pb2 as rating_pb
from om.type.v1 import event_pb2, money_pb2
from om.wallet.v1 import wallet_service_pb2 as wallet_pb
from om_proxy.admission.keys import Key
from om_proxy.admission.outcome import Intent
from om_proxy.call.call import Call
from om_proxy.callers.body import BodyLimits
from om_proxy.callers.handler import Handler
from om_proxy.callers.listener import Listener
from om_proxy.dialects.attribution import Attribution, OnDisconnect
from om_proxy.funding.grant import Grant
from om_proxy.providers import all_providers, compatible_providers, sandbox
from om_proxy.refusals import problem
from om_proxy.refusals.refusal import Problem
from om_proxy.secret import Secret
from om_proxy.settings import load_settings
from om_proxy.upstream.client import Upstream
from om_proxy.upstream.cost_headers import CostHeaders
from om_proxy.upstream.departure import Departure
from om_proxy.upstream.forward import Forwarder, Origins
from tests.proxy.raw_http import Caller, Received, Script, ScriptedProvider, caller, provider

KEY_ID = "key_" + "a" * 26
WALLET_ID = "wal_" + "c" * 26
ANSWER = (
    b'{"id":"c1","model":"gpt-4o","choices":[{"message":{"content":"Hello"}}],'
    b'"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}'
)
PLATFORM_KEY = "om_live_of_the_gate"
PROVIDER_KEY = "sk-canary-of-the-provider"
BODY_BYTES_MAX = 4 * 1024 * 1024


@dataclass
class Gate:
    """The proxy's front, and what came of its calls."""

    url: str = ""
    provider: ScriptedProvider = field(default_factory=lambda: ScriptedProvider(""))
    #: Every call that asked to be admitted.
    asked: list[tuple[Call, Attribution]] = field(default_factory=list)
    events: list[event_pb2.UsageEvent] = field(default_factory=list)
    concluded: asyncio.Event = field(default_factory=asyncio.Event)
    #: Refuse what may write more output than this.
    output_tokens_max: int | None = None
    #: The platform key of whoever calls.
    key: Key = field(default_factory=lambda: Key(KEY_ID, "org_test", test_mode=False))
    #: What the server says; None fails.
    rating: rating_pb.Rating | None = field(default_factory=lambda: rated(165_000, 165_000_000))
    posted_nanos: int | None = 10_000_000_000
    credentials: list[str] = field(default_factory=list)
    deadlines: set[float] = field(default_factory=set)
    #: Awaited before the server answers.
    before_answer: Callable[[], Awaitable[None]] | None = None

    @asynccontextmanager
    async def caller(self) -> AsyncIterator[Caller]:
        async with caller(self.url) as connection:
            yield connection

    async def ask(
        self, path: str, body: bytes = b"", *headers: str, method: str = "POST", version: str = "1.1"
    ) -> Received:
        """Make one call with exactly these headers."""
        lines = [f"{method} {path} HTTP/{version}", "Host: proxy.example", *headers]
        if body or method == "POST":
            lines.append(f"Content-Length: {len(body)}")
        async with self.caller() as connection:
            await connection.send("\r\n".join((*lines, "", "")).encode() + body)
            return await connection.read()

    @property
    def event(self) -> event_pb2.UsageEvent:
        """The only event."""
        (event,) = self.events
        return event


def rated(cost_nanos: int, charge_nanos: int) -> rating_pb.Rating:
    return rating_pb.Rating(
        cost=money_pb2.Money(currency_code="USD", amount_nanos=cost_nanos),
        charge=money_pb2.Money(currency_code="CREDITS", amount_nanos=charge_nanos),
    )


def error_of(answer: Received) -> dict[str, Any]:
    error: dict[str, Any] = orjson.loads(answer.body)["error"]
    return error


class _Keys:
    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def find(self, secret: Secret) -> Key | Problem:
        known = secret.reveal() in {PLATFORM_KEY, "apc_of_the_gate"}
        return self._gate.key if known else problem.invalid_api_key()


class _Admissions:
    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def admit(self, event_id: str, key: Key, *, call: Call, who: Attribution) -> Intent | Problem:
        self._gate.asked.append((call, who))
        most = self._gate.output_tokens_max
        cap = call.demand.output_max
        if most is not None and (cap is None or cap > most):
            return problem.insufficient_credits(needed_nanos=2, available_nanos=1, output_tokens_max=most)
        return Intent(event_id, key, who, call, Grant(WALLET_ID))


class _Book:
    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def begin(self, intent: Intent) -> None: ...

    def sent(self, intent: Intent) -> None: ...

    async def extended(self, intent: Intent, metered: object) -> None: ...

    def checkpoint(self, intent: Intent, metered: object) -> None: ...

    def conclude(self, intent: Intent, event: event_pb2.UsageEvent) -> None:
        self._gate.events.append(event)
        self._gate.concluded.set()

    def job_ended(self, event: event_pb2.UsageEvent) -> None:
        self._gate.events.append(event)


class _Server:
    """Rating and wallets, to whoever asks."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self.rating = SimpleNamespace(RateUsage=self._rate_usage)
        self.wallet = SimpleNamespace(GetWallet=self._get_wallet)

    async def _rate_usage(
        self, request: rating_pb.RateUsageRequest, **options: Any
    ) -> rating_pb.RateUsageResponse:
        await self._note(**options)
        if self._gate.rating is None:
            raise _failure(grpc.StatusCode.UNAVAILABLE)
        return rating_pb.RateUsageResponse(rating=self._gate.rating)

    async def _get_wallet(
        self, request: wallet_pb.GetWalletRequest, **options: Any
    ) -> wallet_pb.GetWalletResponse:
        await self._note(**options)
        assert request.wallet_id == WALLET_ID
        if self._gate.posted_nanos is None:
            raise _failure(grpc.StatusCode.UNAVAILABLE)
        posted = money_pb2.Money(currency_code="CREDITS", amount_nanos=self._gate.posted_nanos)
        return wallet_pb.GetWalletResponse(wallet=wallet_pb.Wallet(wallet_id=WALLET_ID, posted=posted))

    async def _note(self, **options: Any) -> None:
        metadata = options["metadata"]
        self._gate.deadlines.add(options["timeout"])
        self._gate.credentials += [value for name, value in metadata if name == "authorization"]
        if self._gate.before_answer is None:
            return
        try:
            async with asyncio.timeout(options["timeout"]):
                await self._gate.before_answer()
        except TimeoutError:
            raise _failure(grpc.StatusCode.DEADLINE_EXCEEDED) from None


def _failure(code: grpc.StatusCode) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata())


@asynccontextmanager
async def gate(script: Script, *, cost_deadline_s: float = 5) -> AsyncIterator[Gate]:
    """Run it until the block is left."""
    opened = Gate()
    async with provider(script) as scripted, sandbox.running() as simulator:
        opened.provider = scripted
        settings = load_settings(OM_SERVICE_TOKEN="unused", OM_UPSTREAM_TIMEOUT_S=20)
        providers = (*all_providers(), *compatible_providers())
        async with Upstream(settings) as upstream:
            origins = Origins({each.name: scripted.url for each in providers}, simulator.url)
            costs = CostHeaders(cast("Any", _Server(opened)), deadline_s=cost_deadline_s)
            departure = Departure(OnDisconnect.CANCEL, drain_s=20, drain_bytes_max=BODY_BYTES_MAX)
            book = cast("Any", _Book(opened))
            forwarder = Forwarder(upstream, book, origins=origins, costs=costs, departure=departure)
            handler = Handler(
                providers,
                keys=_Keys(opened),
                admissions=_Admissions(opened),
                forwarder=forwarder,
                limits=BodyLimits(BODY_BYTES_MAX, 20),
            )
            async with _listening(handler) as opened.url:
                yield opened
                await forwarder.close()


@asynccontextmanager
async def _listening(handler: Handler) -> AsyncIterator[str]:
    runner = web.ServerRunner(Listener(handler.handle), shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
