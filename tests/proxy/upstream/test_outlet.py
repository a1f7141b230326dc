"""The head of an answer: the provider's, and what HTTP asks of whoever sends it on."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

import pytest

from tests.proxy.one_edge import ANSWER, CHAT, HEADERS, edge
from tests.proxy.raw_http import Exchange, Received, head, request_bytes

_SIZED = head("200 OK", f"Content-Length: {len(ANSWER)}") + ANSWER
_TO_THE_END = head("200 OK", "Connection: close") + ANSWER


async def answers_to(reply: bytes, *headers: str, version: str = "1.1", times: int = 1) -> list[Received]:
    """Ask on one connection, of a provider that sends exactly this."""

    async def script(exchange: Exchange) -> None:
        await exchange.send(reply)
        if b"Connection: close" in reply:
            exchange.writer.close()

    async with edge(script) as proxy, proxy.caller() as caller:
        received = []
        for _ in range(times):
            await caller.send(request_bytes(CHAT, *HEADERS, *headers, version=version))
            received.append(await caller.read())
        await proxy.server.until(lambda: len(proxy.server.events) == times)
    return received


async def test_the_providers_date_is_kept_and_one_is_added_where_it_sent_none() -> None:
    dated = head("200 OK", "date: Thu, 01 Jan 1970 00:00:00 GMT", "Content-Length: 2") + b"{}"
    [kept] = await answers_to(dated)
    [added] = await answers_to(_SIZED)

    assert kept.named("date") == ["Thu, 01 Jan 1970 00:00:00 GMT"]
    assert len(added.named("date")) == 1
    assert parsedate_to_datetime(added.named("date")[0]).year >= 2026


@pytest.mark.parametrize("reply", [_SIZED, head("204 No Content")], ids=["body", "none"])
async def test_a_connection_stays_open_for_the_next_call(reply: bytes) -> None:
    received = await answers_to(reply, times=3)

    assert [answer.named("connection") for answer in received] == [[], [], []]


async def test_an_old_caller_is_told_that_its_connection_stays_open() -> None:
    received = await answers_to(_SIZED, "Connection: keep-alive", version="1.0", times=2)

    assert [(answer.line, answer.named("connection")) for answer in received] == [
        ("HTTP/1.0 200 OK", ["keep-alive"])
    ] * 2


async def test_a_caller_who_wants_no_further_call_is_told_that_there_is_none() -> None:
    [answer] = await answers_to(_SIZED, "Connection: close")

    assert answer.named("connection") == ["close"]


async def test_a_status_without_a_body_has_no_length() -> None:
    [answer] = await answers_to(head("204 No Content", "Content-Length: 0"))

    assert (answer.status, answer.body, answer.named("content-length")) == (204, b"", [])


async def test_an_answer_that_is_here_as_a_whole_gets_a_length_that_the_provider_did_not_send() -> None:
    chunked = head("200 OK", "Transfer-Encoding: chunked") + b"%x\r\n%b\r\n0\r\n\r\n" % (len(ANSWER), ANSWER)
    for reply in (chunked, _TO_THE_END):
        [answer] = await answers_to(reply)
        assert answer.body == ANSWER
        assert (answer.named("content-length"), answer.named("transfer-encoding")) in (
            ([str(len(ANSWER))], []),
            # Its end came after its head was passed on.
            ([], ["chunked"]),
        )
