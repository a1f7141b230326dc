"""One trace leads from the proxy over the server to settlement, and holds no key, prompt or answer."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import httpx
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from om_proxy.app import running
from om_proxy.otel import OtelTracer as ProxyTracer
from om_proxy.settings import load_settings
from om_server import wiring
from om_server.account.keys.key import KeyWish
from om_server.core.money import CREDITS, Money
from om_server.core.page import PageRequest
from om_server.otel import OtelRequestTracer
from om_server.otel import OtelTracer as ServerTracer
from om_server.rest.app import RestSettings
from om_server.rest.app import serve as serve_http
from om_server.rest.listener import listen
from om_server.rpc.server import RpcServer, RpcSettings
from om_server.schema import MODELS
from om_server.storage.migrate import migrate
from om_server.storage.sqlite import SqliteStore
from tests.proxy.one_edge import CHAT, PROVIDER_KEY, answers
from tests.proxy.raw_http import ScriptedProvider, caller, provider, request_bytes
from tests.rpc import SERVICE_TOKEN

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence
    from pathlib import Path

    from opentelemetry.sdk.trace import ReadableSpan

_TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
_PARENT = "00f067aa0ba902b7"
_PATIENCE_S = 30


class Spans(InMemorySpanExporter):
    """Keeps spans, and says when an event's settlement is among them."""

    def __init__(self) -> None:
        super().__init__()
        self.settled = threading.Event()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self))

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = super().export(spans)
        if any(span.name == "settle" for span in spans):
            self.settled.set()
        return result

    def named(self, name: str) -> ReadableSpan:
        (found,) = [span for span in self.get_finished_spans() if span.name == name]
        return found


class Traced:
    """A platform whose proxy and server trace into the same memory."""

    def __init__(
        self, spans: Spans, upstream: ScriptedProvider, *, url: str, key: str, grpc_target: str
    ) -> None:
        self.spans = spans
        self.grpc_target = grpc_target
        self.upstream = upstream
        self.key = key
        self._url = url

    async def ask(self, *headers: str) -> None:
        """Make a call and wait until it is settled."""
        sent = (
            f"X-OM-Api-Key: {self.key}",
            "X-OM-Customer-Id: acme",
            "X-OM-User-Id: user_1",
            "X-OM-Feature-Id: chat",
            f"Authorization: Bearer {PROVIDER_KEY}",
            "Content-Type: application/json",
        )
        async with caller(self._url) as connection:
            await connection.send(request_bytes(CHAT, *sent, *headers))
            assert (await connection.read()).status == 200
        assert await asyncio.to_thread(self.spans.settled.wait, _PATIENCE_S)


@contextlib.contextmanager
def _platform(folder: Path, spans: Spans) -> Iterator[wiring.Platform]:
    with contextlib.closing(SqliteStore(folder / "om.db", MODELS)) as database:
        migrate(database, incarnation="inc_test", now_us=0)
        platform = wiring.build(database, tracer=ServerTracer(spans.provider))
        platform.worker.start()
        try:
            yield platform
        finally:
            platform.stop()


@pytest.fixture(name="traced")
async def make_traced(tmp_path: Path) -> AsyncIterator[Traced]:
    spans = Spans()
    with _platform(tmp_path, spans) as platform:
        account = platform.account
        organization_id = account.create_organization("A test").organization_id
        (team,) = account.list_teams(organization_id, PageRequest(1, "")).items
        key = account.create_key(organization_id, KeyWish(team.team_id)).secret
        platform.wallet.seed_grant(organization_id, Money.parse("100", CREDITS))
        server = RpcServer(
            platform.servicers,
            platform.authenticator,
            settings=RpcSettings("127.0.0.1:0"),
            service_token=SERVICE_TOKEN,
            new_request_id=lambda: platform.ids.new("req"),
            tracer=platform.tracer,
        )
        port = await server.start()
        try:
            async with provider(answers) as upstream:
                settings = load_settings(
                    OM_PROXY_PORT=0,
                    OM_PROXY_JOURNAL_DIR=str(tmp_path / "journal"),
                    OM_GRPC_ADDRESS=f"127.0.0.1:{port}",
                    OM_SERVICE_TOKEN=SERVICE_TOKEN,
                    OM_OPENAI_BASE_URL=upstream.url,
                )
                async with running(settings, tracer=ProxyTracer(spans.provider)) as url:
                    yield Traced(spans, upstream, url=url, key=key, grpc_target=f"127.0.0.1:{port}")
        finally:
            platform.feeds.stop()
            await server.stop(1)


def _parent(span: ReadableSpan) -> int:
    assert span.parent is not None
    return span.parent.span_id


async def test_one_trace_leads_from_the_caller_to_settlement(traced: Traced) -> None:
    await traced.ask(f"traceparent: 00-{_TRACE}-{_PARENT}-01")

    spans = traced.spans
    request, admission, upstream = (spans.named(name) for name in ("proxy request", "admission", "upstream"))
    admit, settle = spans.named("om.edge.v1.EdgeService/Admit"), spans.named("settle")
    assert {f"{span.context.trace_id:032x}" for span in spans.get_finished_spans()} == {_TRACE}
    assert _parent(request) == int(_PARENT, 16)
    for part in (admission, upstream, settle):
        assert _parent(part) == request.context.span_id
    assert _parent(admit) == admission.context.span_id
    assert settle.attributes is not None
    assert request.attributes is not None
    assert settle.attributes["om.event_id"] == request.attributes["om.event_id"]
    assert admit.attributes is not None
    # What the server logs as its request id, too.
    assert admit.attributes["om.request_id"] == request.attributes["om.event_id"]
    # A provider sees what the caller sent, and no span of ours.
    assert traced.upstream.last.named("traceparent") == [f"00-{_TRACE}-{_PARENT}-01"]


async def test_a_trace_of_our_own_is_not_shown_to_the_provider(traced: Traced) -> None:
    await traced.ask()

    assert len({span.context.trace_id for span in traced.spans.get_finished_spans()}) == 1
    assert traced.spans.named("proxy request").parent is None
    assert traced.upstream.last.named("traceparent") == []


async def test_spans_hold_no_key_prompt_or_answer(traced: Traced) -> None:
    await traced.ask()

    told = "".join(span.to_json() for span in traced.spans.get_finished_spans())
    for secret in (traced.key, PROVIDER_KEY, SERVICE_TOKEN, "Hi there", "Hello", "user_1", "acme"):
        assert secret not in told
    assert "settle" in told


@contextlib.asynccontextmanager
async def _rest(traced: Traced) -> AsyncIterator[httpx.AsyncClient]:
    listeners, stop = listen("127.0.0.1", (0,)), asyncio.Event()
    settings = RestSettings(traced.grpc_target, tracer=OtelRequestTracer(traced.spans.provider))
    serving = asyncio.create_task(serve_http(settings, listeners=listeners, stop=stop))
    url = f"http://127.0.0.1:{listeners[0].getsockname()[1]}"
    try:
        async with httpx.AsyncClient(base_url=url, headers={"x-api-key": traced.key}, timeout=30) as client:
            yield client
    finally:
        stop.set()
        await serving


async def test_a_request_to_rest_is_a_part_of_its_callers_trace_and_its_calls_are_parts_of_it(
    traced: Traced,
) -> None:
    async with _rest(traced) as client:
        headers = {"traceparent": f"00-{_TRACE}-{_PARENT}-01", "x-request-id": "mine"}
        answer = await client.get("/v1/users/user_1/credits?token=private", headers=headers)

    spans = traced.spans
    request, read = spans.named("rest request"), spans.named("om.wallet.v1.WalletService/GetWallet")
    assert {f"{span.context.trace_id:032x}" for span in spans.get_finished_spans()} == {_TRACE}
    assert _parent(request) == int(_PARENT, 16)
    assert _parent(read) == request.context.span_id
    assert request.kind is SpanKind.SERVER
    assert request.attributes == {
        "om.request_id": "mine",
        "http.route": "/v1/users/{userId}/credits",
        "http.response.status_code": answer.status_code,
    }
    told = "".join(span.to_json() for span in spans.get_finished_spans())
    for secret in (traced.key, "user_1", "private"):
        assert secret not in told


@pytest.mark.parametrize("header", ["", "nonsense", f"00-{_TRACE}-{_PARENT}-00"])
async def test_rest_begins_a_trace_of_its_own_unless_its_caller_keeps_none(
    traced: Traced, header: str
) -> None:
    async with _rest(traced) as client:
        await client.get("/api/v1/caller", headers={"traceparent": header} if header else {})

    spans = traced.spans.get_finished_spans()
    if header.endswith("-00"):
        assert spans == ()
    else:
        request = traced.spans.named("rest request")
        assert request.parent is None
        assert {span.context.trace_id for span in spans} == {request.context.trace_id}
        assert len(spans) == 2


def test_nothing_of_tracing_is_imported_where_nobody_traces() -> None:
    # Redis' client looks for the rest of it by itself.
    ours = ("opentelemetry.exporter", "om_proxy.otel", "om_server.otel")
    program = (
        "import sys, om_proxy.app, om_server.cli.command;"
        f"sys.exit(any(name.startswith({ours}) for name in sys.modules))"
    )

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
