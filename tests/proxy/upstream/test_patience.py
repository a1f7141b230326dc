"""Whoever waits too long gets a TimeoutError at their own limit, although all share one timer."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

import pytest

from om_proxy.upstream.patience import Patience
from tests.proxy.simulated_edge import VirtualLoop

_LIMIT_S = 60.0


def at_once(course: Coroutine[None, None, list[object]]) -> list[object]:
    """Run a course in a time that jumps from timer to timer."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(course)
    finally:
        loop.close()


async def waited(patience: Patience, *, start_s: float, needs_s: float) -> tuple[str, float]:
    """Begin at a time to wait for so long; tell how that ended, and when."""
    await asyncio.sleep(start_s)
    try:
        with patience.wait():
            await asyncio.sleep(needs_s)
    except TimeoutError:
        return "gave up", asyncio.get_running_loop().time()
    return "came", asyncio.get_running_loop().time()


def test_everybody_waits_as_long_whenever_they_begin() -> None:
    async def course() -> list[object]:
        patience = Patience(_LIMIT_S)
        courses = [(0.0, 1e6), (10.0, 5.0), (20.0, 59.0), (25.0, 1e6), (200.0, 1e6)]
        waiting = [waited(patience, start_s=start, needs_s=needs) for start, needs in courses]
        return list(await asyncio.gather(*waiting))

    told = at_once(course())
    assert told == [
        ("gave up", pytest.approx(60.0)),
        ("came", pytest.approx(15.0)),
        ("came", pytest.approx(79.0)),
        ("gave up", pytest.approx(85.0)),
        ("gave up", pytest.approx(260.0)),
    ]


def test_who_is_cancelled_is_not_told_that_time_is_over() -> None:
    async def course() -> list[object]:
        patience = Patience(_LIMIT_S)
        task = asyncio.create_task(waited(patience, start_s=0, needs_s=1e6))
        await asyncio.sleep(1)
        task.cancel()
        return list(await asyncio.gather(task, return_exceptions=True))

    assert isinstance(at_once(course())[0], asyncio.CancelledError)


def test_a_cancelling_at_the_limit_is_still_one() -> None:
    async def course() -> list[object]:
        patience = Patience(_LIMIT_S)
        task = asyncio.create_task(waited(patience, start_s=0, needs_s=1e6))
        await asyncio.sleep(_LIMIT_S - 1)
        asyncio.get_running_loop().call_later(1, task.cancel)
        return list(await asyncio.gather(task, return_exceptions=True))

    assert isinstance(at_once(course())[0], asyncio.CancelledError)
