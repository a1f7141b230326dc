"""An answer gives its body in order, holds the provider back, and never passes for whole where it is not."""

from __future__ import annotations

import asyncio

import pytest

from om_proxy.upstream.answer import HELD_BYTES_MAX, Answer, UpstreamBroken
from tests.proxy.upstream.nowhere import Nowhere


def answer_over(flow: Nowhere) -> Answer:
    return Answer(flow, 200, b"OK", [(b"Content-TYPE", b"a"), (b"content-type", b"b")])


def test_a_header_is_found_in_any_spelling_and_the_first_counts() -> None:
    answer = answer_over(Nowhere())

    assert (answer.header(b"content-type"), answer.header(b"etag")) == ("a", "")


async def test_parts_that_came_together_are_taken_together_and_then_the_end() -> None:
    answer = answer_over(Nowhere())
    answer.feed(b"one ")
    answer.feed(b"two")

    assert await answer.part() == b"one two"
    answer.finish()
    assert answer.whole
    assert await answer.part() == b""


async def test_a_reader_waits_until_it_is_told() -> None:
    answer = answer_over(Nowhere())
    reading = asyncio.create_task(answer.part())
    await asyncio.sleep(0)
    answer.feed(b"one")
    await asyncio.sleep(0)
    assert not reading.done()
    answer.tell()

    assert await reading == b"one"


@pytest.mark.parametrize("how", ["fail", "close"])
async def test_a_broken_answer_gives_what_came_and_is_never_whole(how: str) -> None:
    answer = answer_over(Nowhere())
    answer.feed(b"one")
    getattr(answer, how)()
    # The end comes too late.
    answer.finish()

    assert not answer.whole
    assert await answer.part() == b"one"
    with pytest.raises(UpstreamBroken):
        await answer.part()


async def test_a_reader_who_waits_learns_that_it_broke() -> None:
    answer = answer_over(Nowhere())
    reading = asyncio.create_task(answer.part())
    await asyncio.sleep(0)
    answer.fail()

    with pytest.raises(UpstreamBroken):
        await reading


def test_only_an_answer_that_has_not_ended_is_dropped_and_only_once() -> None:
    flow, ended = Nowhere(), Nowhere()
    answer, other = answer_over(flow), answer_over(ended)
    answer.close()
    answer.close()
    other.finish()
    other.close()

    assert (flow.wanted, ended.wanted) == (["drop"], [])
    assert (answer.whole, other.whole) == (False, True)


def test_a_provider_is_held_back_while_much_waits_and_goes_on_once_it_is_taken() -> None:
    flow = Nowhere()
    answer = answer_over(flow)
    answer.feed(b"x" * HELD_BYTES_MAX)
    assert flow.wanted == []
    for _ in range(3):
        answer.feed(b"x")
    assert flow.wanted == ["pause"]

    assert len(answer.take()) == HELD_BYTES_MAX + 3
    assert flow.wanted == ["pause", "resume"]
    answer.take()
    assert flow.wanted == ["pause", "resume"]


def test_nothing_is_held_back_any_more_once_all_is_here() -> None:
    flow = Nowhere()
    answer = answer_over(flow)
    answer.feed(b"x" * (HELD_BYTES_MAX + 1))
    answer.finish()
    answer.take()

    assert flow.wanted == ["pause"]
