"""An answer is ended where nothing of it comes for too long, and for no other reason."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from om_proxy.upstream.silence import Silence
from tests.proxy.simulated_edge import VirtualLoop

_LIMIT_S = 60.0


def given_up(course: Callable[[Silence], Awaitable[None]]) -> list[float]:
    """Run a course in a time that jumps from timer to timer, and tell when the answer was given up."""
    loop = VirtualLoop()

    async def run() -> list[float]:
        times: list[float] = []
        silence = Silence(lambda: times.append(loop.time()), _LIMIT_S)
        await course(silence)
        silence.stop()
        await asyncio.sleep(10 * _LIMIT_S)
        return times

    try:
        return loop.run_until_complete(run())
    finally:
        loop.close()


def test_an_answer_that_stands_still_is_ended_at_the_limit() -> None:
    async def course(silence: Silence) -> None:
        silence.begins()
        await asyncio.sleep(2 * _LIMIT_S)

    assert given_up(course) == [_LIMIT_S]


def test_the_limit_is_counted_from_the_last_part() -> None:
    async def course(silence: Silence) -> None:
        for _ in range(5):
            silence.begins()
            await asyncio.sleep(_LIMIT_S - 1)
            silence.ends()
        silence.begins()
        await asyncio.sleep(2 * _LIMIT_S)

    assert given_up(course) == [5 * (_LIMIT_S - 1) + _LIMIT_S]


@pytest.mark.parametrize("pause_s", [_LIMIT_S, 5 * _LIMIT_S])
def test_what_the_caller_takes_its_time_for_is_no_silence(pause_s: float) -> None:
    async def course(silence: Silence) -> None:
        for _ in range(3):
            silence.begins()
            await asyncio.sleep(1)
            silence.ends()
            await asyncio.sleep(pause_s)

    assert given_up(course) == []


def test_silence_behind_a_long_pause_of_the_caller_is_noticed_again() -> None:
    """The one timer has run out meanwhile."""

    async def course(silence: Silence) -> None:
        silence.begins()
        silence.ends()
        await asyncio.sleep(3 * _LIMIT_S)
        silence.begins()
        await asyncio.sleep(2 * _LIMIT_S)

    assert given_up(course) == [4 * _LIMIT_S]


def test_whoever_has_stopped_hears_nothing() -> None:
    async def course(silence: Silence) -> None:
        silence.begins()
        silence.stop()
        await asyncio.sleep(2 * _LIMIT_S)

    assert given_up(course) == []
