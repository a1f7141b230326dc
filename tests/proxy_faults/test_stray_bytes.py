"""What a provider sends unasked is nobody's: row 27 of the fault catalogue."""

from __future__ import annotations

import asyncio

import pytest

from tests.proxy.one_edge import ANSWER, CHAT
from tests.proxy.raw_http import Exchange, head
from tests.proxy_faults.scene import scene, with_lines

_SMUGGLED = head("200 OK", "Content-Type: application/json", "Content-Length: 17") + b'{"a":"sk-canary"}'


@pytest.mark.parametrize("when", ["with the answer", "afterwards"])
@pytest.mark.parametrize("extra", [_SMUGGLED, _SMUGGLED[:30], b"\r\n", b"x", head("100 Continue")])
@pytest.mark.parametrize("framing", ["length", "chunked", "no body"])
async def test_bytes_behind_an_answer_never_reach_the_next_tenant_row_27(
    when: str, extra: bytes, framing: str
) -> None:
    reply = {
        "length": head("200 OK", f"Content-Length: {len(ANSWER)}") + ANSWER,
        "chunked": head("200 OK", "Transfer-Encoding: chunked")
        + b"%x\r\n%b\r\n0\r\n\r\n" % (len(ANSWER), ANSWER),
        "no body": head("204 No Content"),
    }[framing]
    idle = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        if len(running.proxy.provider.exchanges) > 1:
            await exchange.answer(ANSWER)
            return
        await exchange.send(reply + (extra if when == "with the answer" else b""))
        if when == "afterwards":
            await idle.wait()
            await exchange.send(extra)
            await exchange.gone()

    async with scene(script) as running:
        await running.proxy.ask()
        await running.outcome()
        first = running.proxy.provider.last
        if when == "afterwards":
            idle.set()
            # Closed by the proxy as soon as it sees what nobody asked for.
            await exchange_gone(first)
        second = await running.proxy.ask()
        await running.outcomes(2)

    assert (second.status, second.body) == (200, ANSWER)
    if when == "afterwards":
        assert running.proxy.provider.last.writer is not first.writer


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_second_answer_in_the_packet_that_ends_the_first_reaches_nobody(*, chunked: bool) -> None:
    # The connection is given back in the middle of that packet, before the second answer is read.
    begun = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        if len(running.proxy.provider.exchanges) > 1:
            await exchange.answer(ANSWER)
            return
        framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(ANSWER)}"
        await exchange.send(head("200 OK", framing))
        await begun.wait()
        end = b"%x\r\n%b\r\n0\r\n\r\n" % (len(ANSWER), ANSWER) if chunked else ANSWER
        await exchange.send(end + _SMUGGLED)

    async with scene(script) as running:
        async with running.proxy.caller() as connection:
            await connection.send(with_lines(CHAT))
            await connection.read_head()
            begun.set()
            await connection.reader.readuntil(ANSWER)
            await running.outcome()
        second = await running.proxy.ask()
        await running.outcomes(2)

    assert (second.status, second.body) == (200, ANSWER)


async def exchange_gone(exchange: Exchange) -> None:
    async with asyncio.timeout(10):
        await exchange.writer.wait_closed()
