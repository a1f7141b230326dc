"""One connection to a provider: what is an answer, what is none, and what may come after it."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from om_proxy.upstream.answer import Answer, UpstreamBroken
from om_proxy.upstream.connection import (
    FRAMING_BYTES_MAX,
    HEADERS_MAX,
    INTERIM_MAX,
    LINE_BYTES_MAX,
    Connection,
    ConnectionBroken,
)
from om_proxy.upstream.upload import Upload
from tests.proxy.raw_http import head
from tests.proxy.recorded_transport import RecordedTransport

_HEAD = b"POST / HTTP/1.1\r\n\r\n"
_LENGTH = head("200 Fine", "X-A:  b \t", "Content-Length: 3") + b"abc"
_CHUNKED = (
    head("200 Fine", "X-A: b", "Transfer-Encoding: chunked") + b"1\r\na\r\n2\r\nbc\r\n0\r\nT: x\r\n\r\n"
)
_TO_THE_END = head("200 Fine", "X-A: b") + b"abc"
_INTERIM = head("100 Continue") + head("103 Early Hints", "Link: x")


class Keeper:
    """Who owns the connection."""

    def __init__(self) -> None:
        self.transport = RecordedTransport()
        self.said: list[str] = []
        self.connection = Connection(self)
        self.connection.connection_made(self.transport)

    def free(self, connection: Connection) -> None:
        assert connection is self.connection
        self.said.append("free")

    def lost(self, connection: Connection) -> None:
        assert connection is self.connection
        self.said.append("lost")

    async def asked(self, body: bytes = b"") -> asyncio.Task[Answer]:
        """Send a request, and give whoever waits for its answer."""
        task = asyncio.create_task(self.connection.ask(_HEAD, Upload(body)))
        await asyncio.sleep(0)
        return task


async def body_of(answer: Answer) -> bytes:
    parts = b""
    while part := await answer.part():
        parts += part
    return parts


def run(course: object) -> None:
    """Run a course in a loop of its own, for tests that are run many times."""
    asyncio.run(course)  # type: ignore[arg-type]  # A coroutine.


@given(
    reply=st.sampled_from([_LENGTH, _CHUNKED, _TO_THE_END, _INTERIM + _LENGTH, _INTERIM + _CHUNKED]),
    cuts=st.lists(st.integers(0, 200), max_size=12),
)
def test_an_answer_is_the_same_however_it_is_cut(reply: bytes, cuts: list[int]) -> None:
    async def course() -> None:
        keeper = Keeper()
        asked = await keeper.asked(b"body")
        places = sorted({0, len(reply), *(cut for cut in cuts if cut < len(reply))})
        for start, end in pairwise(places):
            keeper.connection.data_received(reply[start:end])
        if reply is _TO_THE_END:
            keeper.connection.eof_received()
        answer = await asked

        assert keeper.transport.written == _HEAD + b"body"
        assert (answer.status, answer.reason, answer.headers[0]) == (200, b"Fine", (b"X-A", b"b"))
        assert await body_of(answer) == b"abc"
        assert keeper.said == ([] if reply is _TO_THE_END else ["free"])

    run(course())


async def test_a_connection_serves_one_request_after_the_other() -> None:
    keeper = Keeper()
    for reply in (_LENGTH, _CHUNKED, head("204 No Content"), _INTERIM + _LENGTH):
        asked = await keeper.asked()
        keeper.connection.data_received(reply)
        answer = await asked
        assert await body_of(answer) == (b"" if answer.status == 204 else b"abc")

    assert (keeper.said, keeper.transport.closed) == (["free"] * 4, False)


@pytest.mark.parametrize(
    "reply",
    [
        head("200 OK", "Connection: close", "Content-Length: 3") + b"abc",
        head("200 OK", "Content-Length: 3").replace(b"1.1", b"1.0") + b"abc",
        _LENGTH + b"x",
        _LENGTH + _LENGTH,
        _CHUNKED + _LENGTH[:9],
    ],
)
async def test_a_connection_that_is_not_fit_for_another_request_is_not_given_back(reply: bytes) -> None:
    keeper = Keeper()
    asked = await keeper.asked()
    keeper.connection.data_received(reply)

    assert await body_of(await asked) == b"abc"
    assert (keeper.said.count("free"), keeper.transport.closed) == (0, True)


async def test_a_connection_over_which_a_request_is_still_leaving_is_not_given_back() -> None:
    keeper = Keeper()
    asked = await keeper.asked()
    keeper.transport.unsent = 1
    keeper.connection.data_received(_LENGTH)

    assert await body_of(await asked) == b"abc"
    assert (keeper.said.count("free"), keeper.transport.aborted) == (0, True)


@pytest.mark.parametrize("unasked", [b"\r\n", b"x", _LENGTH, head("100 Continue")])
async def test_what_comes_unasked_ends_the_connection_before_anybody_can_get_it(unasked: bytes) -> None:
    keeper = Keeper()
    asked = await keeper.asked()
    keeper.connection.data_received(_LENGTH)
    await asked
    keeper.connection.data_received(unasked)

    assert keeper.said == ["free", "lost"]
    assert keeper.transport.closed
    with pytest.raises(ConnectionBroken):
        await (await keeper.asked())


async def test_a_connection_that_the_provider_closes_is_lost_before_the_loop_has_closed_it() -> None:
    keeper = Keeper()
    keeper.connection.eof_received()

    assert keeper.said == ["lost"]


@pytest.mark.parametrize(
    "reply",
    [
        b"SSH-2.0\r\n\r\n",
        head("101 Switching Protocols"),
        head("101 Switching Protocols", "Upgrade: x", "Connection: upgrade"),
        head("103 Early Hints") * (INTERIM_MAX + 1),
        head("200 OK", *["X: y"] * (HEADERS_MAX + 1)),
        head("200 OK", "X: " + "y" * LINE_BYTES_MAX),
        head("200 " + "y" * (LINE_BYTES_MAX + 1)),
        head("200 OK", "X: " + "y" * FRAMING_BYTES_MAX)[:-4],
        head("200 OK", "Content-Length: 1", "Transfer-Encoding: chunked"),
        head("200 OK", "Transfer-Encoding: identity", "Transfer-Encoding: chunked"),
        head("200 OK", "Transfer-Encoding: gzip, chunked"),
        head("200 OK", "Transfer-Encoding: chunked;x=y"),
        head("000 OK", "Content-Length: 0"),
        head("099 OK", "Content-Length: 0"),
        head("200 O\0K", "Content-Length: 0"),
        head("200 O\x1bK", "Content-Length: 0"),
    ],
)
async def test_what_is_no_answer_is_refused_and_ends_the_connection(reply: bytes) -> None:
    keeper = Keeper()
    asked = await keeper.asked()
    keeper.connection.data_received(reply)

    with pytest.raises(ConnectionBroken):
        await asked
    assert (keeper.said.count("free"), keeper.transport.aborted) == (0, True)


@pytest.mark.parametrize("trailers", [b"X: y\r\n" * (HEADERS_MAX + 2), b"X: " + b"y" * FRAMING_BYTES_MAX])
async def test_trailers_without_end_break_the_answer(trailers: bytes) -> None:
    keeper = Keeper()
    asked = await keeper.asked()
    keeper.connection.data_received(_CHUNKED.partition(b"T: x")[0])
    answer = await asked
    keeper.connection.data_received(trailers)

    assert await answer.part() == b"abc"
    with pytest.raises(UpstreamBroken):
        await answer.part()
    assert keeper.transport.aborted


@pytest.mark.parametrize(
    ("begun", "whole"), [(_LENGTH[:-1], False), (_CHUNKED[:-3], False), (_TO_THE_END, True)]
)
async def test_only_a_body_without_a_length_ends_with_its_connection(begun: bytes, *, whole: bool) -> None:
    keeper = Keeper()
    asked = await keeper.asked()
    keeper.connection.data_received(begun)
    keeper.connection.eof_received()
    answer = await asked

    assert (answer.whole, keeper.transport.aborted) == (whole, True)


@pytest.mark.parametrize("error", [None, ConnectionResetError()])
async def test_a_connection_that_ends_without_a_word_breaks_every_answer(error: Exception | None) -> None:
    keeper = Keeper()
    asked = await keeper.asked()
    keeper.connection.data_received(_TO_THE_END)
    keeper.connection.connection_lost(error)

    assert (await asked).whole is False
    assert keeper.said == ["lost"]


async def test_whoever_leaves_with_a_whole_answer_does_not_end_the_next_request() -> None:
    keeper = Keeper()
    left = await keeper.asked()
    left.cancel()
    keeper.connection.data_received(_LENGTH)
    following = asyncio.create_task(keeper.connection.ask(_HEAD, Upload(b"")))
    await asyncio.gather(left, return_exceptions=True)
    await asyncio.sleep(0)
    assert not keeper.transport.closed
    keeper.connection.data_received(_LENGTH)

    assert await body_of(await following) == b"abc"


async def test_a_connection_that_ends_before_the_head_is_no_answer() -> None:
    keeper = Keeper()
    asked = await keeper.asked()
    keeper.connection.data_received(_LENGTH[:20])
    keeper.connection.connection_lost(None)

    with pytest.raises(ConnectionBroken):
        await asked


async def test_whoever_gives_up_takes_the_connection_along() -> None:
    keeper = Keeper()
    asked = await keeper.asked()
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked

    assert keeper.transport.aborted
    # What is still on its way is nobody's.
    keeper.connection.data_received(_LENGTH)
    keeper.connection.connection_lost(None)
    assert set(keeper.said) == {"lost"}


async def test_nothing_is_sent_where_it_could_not_be_written_down() -> None:
    def full() -> None:
        raise OSError("no space left")

    keeper, upload = Keeper(), Upload(b"body", full)
    with pytest.raises(OSError, match="no space"):
        await keeper.connection.ask(_HEAD, upload)

    assert (keeper.transport.written, upload.sent, keeper.transport.aborted) == (b"", False, True)


async def test_a_held_back_provider_is_read_again_for_the_next_request() -> None:
    keeper = Keeper()
    asked = await keeper.asked()
    large = 200_000
    keeper.connection.data_received(head("200 OK", f"Content-Length: {large}") + b"x" * (large - 1))
    assert not keeper.transport.reading
    keeper.connection.data_received(b"x")

    assert (keeper.transport.reading, keeper.said) == (True, ["free"])
    assert len(await body_of(await asked)) == large


@pytest.mark.parametrize("secured", [False, True])
async def test_a_connection_that_ended_before_it_was_asked_anything_says_so_again(*, secured: bool) -> None:
    # Its owner learns that it is in use only after it was dialed, and would wait for its end.
    keeper = Keeper()
    keeper.connection.eof_received()
    keeper.connection.connection_lost(None)
    if secured:
        keeper.connection.secured(RecordedTransport())
    keeper.said.clear()

    with pytest.raises(ConnectionBroken):
        async with asyncio.timeout(5):
            await keeper.connection.ask(_HEAD, Upload(b""))
    assert keeper.said == ["lost"]
