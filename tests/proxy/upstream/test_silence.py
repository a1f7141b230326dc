"""An answer is ended where nothing of it comes for too long, and for no other reason."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from om_proxy.upstream.silence import Silence
from tests.proxy.simulated_edge import VirtualLoop

_LIMIT_S = 60.0


class Content:
    """What a reader of the answer would be told, and when."""

    def __init__(self) -> None:
        self.told: list[tuple[float, type[BaseException]]] = []

    def set_exception(self, error: BaseException) -> None:
        self.told.append((asyncio.get_running_loop().time(), type(error)))


def told(course: Callable[[Silence], Awaitable[None]]) -> list[tuple[float, type[BaseException]]]:
    """Run a course in a time that jumps from timer to timer, and give what a reader was told."""
    loop = VirtualLoop()

    async def run() -> list[tuple[float, type[BaseException]]]:
        content: Any = Content()
        silence = Silence(content, _LIMIT_S)
        await course(silence)
        silence.stop()
        await asyncio.sleep(10 * _LIMIT_S)
        heard: list[tuple[float, type[BaseException]]] = content.told
        return heard

    try:
        return loop.run_until_complete(run())
    finally:
        loop.close()


def test_an_answer_that_stands_still_is_ended_at_the_limit() -> None:
    async def course(silence: Silence) -> None:
        silence.begins()
        await asyncio.sleep(2 * _LIMIT_S)

    assert told(course) == [(_LIMIT_S, TimeoutError)]


def test_the_limit_is_counted_from_the_last_part() -> None:
    async def course(silence: Silence) -> None:
        for _ in range(5):
            silence.begins()
            await asyncio.sleep(_LIMIT_S - 1)
            silence.ends()
        silence.begins()
        await asyncio.sleep(2 * _LIMIT_S)

    assert told(course) == [(5 * (_LIMIT_S - 1) + _LIMIT_S, TimeoutError)]


@pytest.mark.parametrize("pause_s", [_LIMIT_S, 5 * _LIMIT_S])
def test_what_the_caller_takes_its_time_for_is_no_silence(pause_s: float) -> None:
    async def course(silence: Silence) -> None:
        for _ in range(3):
            silence.begins()
            await asyncio.sleep(1)
            silence.ends()
            await asyncio.sleep(pause_s)

    assert told(course) == []


def test_silence_behind_a_long_pause_of_the_caller_is_noticed_again() -> None:
    """The one timer has run out meanwhile."""

    async def course(silence: Silence) -> None:
        silence.begins()
        silence.ends()
        await asyncio.sleep(3 * _LIMIT_S)
        silence.begins()
        await asyncio.sleep(2 * _LIMIT_S)

    assert told(course) == [(4 * _LIMIT_S, TimeoutError)]


def test_whoever_has_stopped_hears_nothing() -> None:
    async def course(silence: Silence) -> None:
        silence.begins()
        silence.stop()
        await asyncio.sleep(2 * _LIMIT_S)

    assert told(course) == []
