"""Calls in groups: who came together takes each step together, and nobody waits for another call."""

from __future__ import annotations

import asyncio

import pytest

from om_proxy.abreast import GROUP_TURNS, Turnstile, abreast

_STEPS = 4


async def _turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def _enter_at_once(turnstile: Turnstile) -> None:
    entering = turnstile.enter()
    with pytest.raises(StopIteration):
        entering.send(None)


def _entering(turnstile: Turnstile, count: int) -> list[asyncio.Task[None]]:
    return [asyncio.create_task(turnstile.enter()) for _ in range(count)]


async def test_a_call_that_is_alone_begins_at_once() -> None:
    turnstile = Turnstile()
    for _ in range(3):
        _enter_at_once(turnstile)
        await _turns(GROUP_TURNS + 1)


async def test_calls_that_came_together_take_each_step_together() -> None:
    turnstile, taken = Turnstile(), list[tuple[int, int]]()

    async def call(number: int) -> None:
        await turnstile.enter()
        for step in range(_STEPS):
            taken.append((step, number))
            await abreast()

    _enter_at_once(turnstile)
    # One after the other, as they come from the network, and before the first group is through.
    calls = []
    for number in range(3):
        calls.append(asyncio.create_task(call(number)))
        await _turns(1)
    await asyncio.gather(*calls)

    assert taken == [(step, number) for step in range(_STEPS) for number in range(3)]


async def test_who_comes_behind_a_group_begins_some_turns_later_whatever_became_of_it() -> None:
    turnstile = Turnstile()
    # It never goes on, as one that waits for its body or for the server.
    _enter_at_once(turnstile)
    entering = _entering(turnstile, 3)

    await _turns(1)
    assert not any(task.done() for task in entering)
    await _turns(GROUP_TURNS + 1)
    assert all(task.done() for task in entering)


async def test_a_call_that_is_given_up_while_it_waits_holds_nobody_up() -> None:
    turnstile = Turnstile()
    _enter_at_once(turnstile)
    entering = _entering(turnstile, 3)
    await _turns(1)
    entering[1].cancel()

    await _turns(GROUP_TURNS + 2)
    assert [task.cancelled() for task in entering] == [False, True, False]
    assert all(task.done() for task in entering)
