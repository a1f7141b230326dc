"""No answer from the provider: rows 1 to 6, 11, 26, 55 and 56 of the fault catalogue."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext, suppress

import pytest
from aiohttp.abc import ResolveResult
from aiohttp.resolver import ThreadedResolver

from om.type.v1 import event_pb2
from om_proxy.upstream.address_guard import AddressGuard, AddressRefused
from tests.proxy.one_edge import UNREACHABLE, answers
from tests.proxy.raw_http import Exchange, head, provider
from tests.proxy_faults.authority import Authority
from tests.proxy_faults.scene import Scene, code, scene

_ZERO, _ESTIMATED = event_pb2.OUTCOME_ZERO, event_pb2.OUTCOME_ESTIMATED


async def refused_before_sending(running: Scene, status: int) -> None:
    """The call was never sent: it costs nothing, and an SDK may repeat it."""
    answer = await running.proxy.ask()
    event = await running.outcome()

    assert (answer.status, answer.named("x-should-retry")) == (status, [])
    assert code(answer) == ("upstream_timeout" if status == 504 else "upstream_unreachable")
    assert (event.outcome, [part.retained_nanos for part in event.funding]) == (_ZERO, [0])


def resolving_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[str]:
    """Let every name lead to these addresses, one after the other; gives the names that were asked for."""
    asked: list[str] = []
    turns = iter(addresses)

    async def resolve(
        self: ThreadedResolver, host: str, port: int = 0, family: int = 0
    ) -> list[ResolveResult]:
        asked.append(host)
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "sk-canary: unknown name")
        address = next(turns)
        found: ResolveResult = {
            "hostname": host,
            "host": address,
            "port": port,
            "family": socket.AF_INET6 if ":" in address else socket.AF_INET,
            "proto": 0,
            "flags": 0,
        }
        return [found]

    monkeypatch.setattr(ThreadedResolver, "resolve", resolve)
    return asked


async def test_a_name_that_nobody_knows_row_1(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = resolving_to(monkeypatch)
    async with scene(answers, origin="http://provider.example") as running:
        await refused_before_sending(running, 502)
    assert asked == ["provider.example"]


async def test_a_resolver_that_hangs_is_given_up_after_the_time_to_connect_row_1(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def resolve(*_: object, **__: object) -> list[ResolveResult]:
        await asyncio.Event().wait()
        return []

    monkeypatch.setattr(ThreadedResolver, "resolve", resolve)
    origin = "http://provider.example"
    async with scene(answers, origin=origin, OM_UPSTREAM_CONNECT_TIMEOUT_S=0.05) as running:
        await refused_before_sending(running, 502)


async def test_a_port_where_nobody_listens_row_2() -> None:
    async with scene(answers, origin=UNREACHABLE) as running:
        await refused_before_sending(running, 502)


async def test_packets_that_vanish_row_3() -> None:
    with socket.socket() as deaf, socket.socket() as waiting:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        waiting.connect(deaf.getsockname())
        origin = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        async with scene(answers, origin=origin, OM_UPSTREAM_CONNECT_TIMEOUT_S=0.05) as running:
            await refused_before_sending(running, 504)


@asynccontextmanager
async def listening(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], object], tls: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """Serve connections by a function until the block is left; gives the port."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)  # type: ignore[arg-type]
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
@pytest.mark.parametrize("flaw", ["unknown issuer", "expired", "wrong name", "old protocol"])
async def test_a_certificate_that_proves_nothing_row_4(flaw: str, authority: Authority) -> None:
    seen = bytearray()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, ssl.SSLError):
            seen.extend(await reader.read())
        writer.close()

    tls = authority.server(expired=flaw == "expired", name="other.example" if flaw == "wrong name" else "")
    if flaw == "old protocol":
        tls.minimum_version = tls.maximum_version = ssl.TLSVersion.TLSv1_1
    trusted = flaw != "unknown issuer"
    async with listening(serve, tls) as port:
        with authority.trusted() if trusted else nullcontext():
            async with scene(answers, origin=f"https://localhost:{port}") as running:
                await refused_before_sending(running, 502)
    assert bytes(seen) == b""


async def test_a_certificate_that_is_right_is_accepted(authority: Authority) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head("200 OK", "Content-Length: 2", "Connection: close") + b"{}")
        await writer.drain()
        writer.close()

    async with listening(serve, authority.server()) as port:
        with authority.trusted():
            async with scene(answers, origin=f"https://localhost:{port}") as running:
                assert (await running.proxy.ask()).status == 200
                await running.outcome()


async def test_a_handshake_that_never_ends_row_5() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with (
        listening(serve) as port,
        scene(answers, origin=f"https://127.0.0.1:{port}", OM_UPSTREAM_CONNECT_TIMEOUT_S=0.05) as running,
    ):
        await refused_before_sending(running, 504)


@pytest.mark.parametrize("how", ["reset", "closed", "closed in the head"])
async def test_a_connection_that_breaks_before_the_answer_row_6(how: str) -> None:
    async def script(exchange: Exchange) -> None:
        if how == "closed in the head":
            await exchange.send(b"HTTP/1.1 200 OK\r\nX-Ca")
        if how == "reset":
            exchange.reset()
        else:
            exchange.writer.close()

    async with scene(script) as running:
        answer = await running.proxy.ask()
        event = await running.outcome()

    assert (answer.status, code(answer)) == (502, "upstream_unreachable")
    assert answer.named("x-should-retry") == ["false"]
    assert (event.outcome, event.http_status) == (_ESTIMATED, 0)
    assert len(running.proxy.provider.exchanges) == 1


async def test_an_answer_that_never_begins_row_11() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.gone()

    async with scene(script, OM_UPSTREAM_TIMEOUT_S=0.1) as running:
        answer = await running.proxy.ask()
        event = await running.outcome()

    assert (answer.status, code(answer), answer.named("x-should-retry")) == (
        504,
        "upstream_timeout",
        ["false"],
    )
    assert event.outcome == _ESTIMATED


async def test_a_pooled_connection_that_died_is_not_used_row_26() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.answer()
        exchange.writer.close()

    async with scene(script) as running:
        for count in (1, 2, 3):
            assert (await running.proxy.ask()).status == 200
            await running.outcomes(count)
    assert len(running.proxy.provider.exchanges) == 3


async def test_a_pooled_connection_that_dies_under_the_request_is_not_tried_again_row_26() -> None:
    async def script(exchange: Exchange) -> None:
        if len(running.proxy.provider.exchanges) == 2:
            exchange.reset()
        else:
            await exchange.answer()

    async with scene(script) as running:
        assert (await running.proxy.ask()).status == 200
        broken = await running.proxy.ask()
        events = await running.outcomes(2)

    assert (broken.status, broken.named("x-should-retry")) == (502, ["false"])
    assert events[1].outcome == _ESTIMATED
    assert len(running.proxy.provider.exchanges) == 2


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.7",
        "192.168.1.1",
        "172.16.9.9",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",  # noqa: S104 - an address that must not be reached.
        "224.0.0.1",
        "::1",
        "fe80::1",
        "fd00::1",
        "::ffff:127.0.0.1",
        "2002:7f00:1::",
    ],
)
async def test_a_name_that_leads_to_a_private_address_row_55(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with provider(answers) as inner:
        resolving_to(monkeypatch, address)
        origin = inner.url.replace("127.0.0.1", "provider.example")
        async with scene(answers, origin=origin) as running:
            await refused_before_sending(running, 502)
    assert inner.exchanges == []


async def test_a_name_whose_address_flips_to_a_private_one_row_55(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = resolving_to(monkeypatch, "8.8.8.8", "127.0.0.1")
    guard = AddressGuard((), timeout_s=1)

    assert [found["host"] for found in await guard.resolve("provider.example", 443)] == ["8.8.8.8"]
    with pytest.raises(AddressRefused):
        await guard.resolve("provider.example", 443)
    assert len(asked) == 2


async def test_a_name_that_was_named_may_lead_to_a_private_address_row_55(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with provider(answers) as inner:
        resolving_to(monkeypatch, "127.0.0.1")
        origin = inner.url.replace("127.0.0.1", "gpu.example")
        async with scene(answers, origin=origin, OM_UPSTREAM_PRIVATE_HOSTS="ollama, GPU.example") as running:
            assert (await running.proxy.ask()).status == 200
            await running.outcome()
    assert len(inner.exchanges) == 1


async def test_proxies_of_the_environment_are_not_used_row_56(monkeypatch: pytest.MonkeyPatch) -> None:
    async with provider(answers) as other:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, other.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        async with scene(answers) as running:
            assert (await running.proxy.ask()).status == 200
            await running.outcome()
    assert other.exchanges == []
    assert len(running.proxy.provider.exchanges) == 1


async def test_a_redirect_is_passed_on_and_not_followed_row_31() -> None:
    async with provider(answers) as elsewhere:

        async def script(exchange: Exchange) -> None:
            await exchange.send(
                head("308 Permanent Redirect", f"Location: {elsewhere.url}/v1/x", "Content-Length: 0")
            )

        async with scene(script) as running:
            answer = await running.proxy.ask()
            event = await running.outcome()
    assert (answer.status, answer.named("location")) == (308, [f"{elsewhere.url}/v1/x"])
    assert elsewhere.exchanges == []
    assert event.outcome == _ZERO
