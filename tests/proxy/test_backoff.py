"""Pauses that grow to their limit, and are never the same for two edges."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from om_proxy.backoff import Backoff


@pytest.fixture
def longest(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Draw the longest pause each time."""
    return lambda: monkeypatch.setattr(random, "uniform", lambda low, high: low + high)


def test_the_limit_doubles_up_to_its_most_and_begins_again(longest: Callable[[], None]) -> None:
    longest()
    backoff = Backoff(0.5, most_s=3)

    assert [backoff.next_s() for _ in range(5)] == [0.5, 1, 2, 3, 3]
    backoff.reset()
    assert backoff.next_s() == 0.5


def test_a_pause_is_anywhere_below_its_limit() -> None:
    backoff = Backoff(1, most_s=1)
    drawn = [backoff.next_s() for _ in range(200)]

    assert min(drawn) < 0.1
    assert 0.9 < max(drawn) <= 1


async def test_to_pause_is_to_wait_for_what_was_drawn() -> None:
    backoff = Backoff(0, most_s=0)

    await backoff.pause()

    assert backoff.next_s() == 0
