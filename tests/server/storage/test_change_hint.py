"""Hints through a real Redis: heard at once, never waited for, and missed without harm."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from om_server.storage.change_hint import CHANNEL, Announcer, Listener

if TYPE_CHECKING:
    from collections.abc import Iterator

    from om_server.storage.database import Database
    from tests.redis_server import RedisServer

_TIMEOUT_S = 10


class Heard:
    """Counts hints, and can be waited for."""

    def __init__(self) -> None:
        self._count = threading.Semaphore(0)

    def __call__(self) -> None:
        self._count.release()

    def waited(self) -> bool:
        return self._count.acquire(timeout=_TIMEOUT_S)


@pytest.fixture
def heard(redis_server: RedisServer) -> Iterator[Heard]:
    """What a listener hears that has subscribed already."""
    found = Heard()
    listener = Listener(redis_server.client, found)
    listener.start()
    try:
        assert found.waited()
        yield found
    finally:
        listener.stop()


@pytest.fixture
def announcer(redis_server: RedisServer) -> Iterator[Announcer]:
    found = Announcer(redis_server.client)
    found.start()
    try:
        yield found
    finally:
        found.stop()


def test_an_announcement_is_heard(heard: Heard, announcer: Announcer) -> None:
    announcer.announce()

    assert heard.waited()


def test_a_commit_is_heard_and_a_rollback_is_not(
    heard: Heard, announcer: Announcer, database: Database
) -> None:
    commits: list[int] = []
    database.after_commit(lambda: commits.append(1))
    database.after_commit(announcer.announce)

    def fail() -> None:
        raise KeyError

    with pytest.raises(KeyError):
        database.write(fail)
    assert commits == []

    database.write(lambda: database.write(lambda: None))
    assert commits == [1]
    assert heard.waited()


def test_many_commits_are_few_hints(redis_server: RedisServer, announcer: Announcer) -> None:
    with redis_server.client.pubsub() as channel:  # type: ignore[no-untyped-call]
        channel.subscribe(CHANNEL)
        assert channel.get_message(timeout=_TIMEOUT_S)
        for _ in range(1_000):
            announcer.announce()
        hints = 0
        while channel.get_message(timeout=0.3) is not None:
            hints += 1

    assert 1 <= hints < 50


def test_hints_go_on_after_redis_was_away(
    redis_server: RedisServer, heard: Heard, announcer: Announcer
) -> None:
    with capture_logs() as logs:
        redis_server.kill()
        announcer.announce()
        redis_server.start()

        # A listener that subscribes again has missed hints, so that it is itself one.
        assert heard.waited()
        announcer.announce()
        assert heard.waited()
    events = [line["event"] for line in logs if line["event"].startswith("hints_")]
    assert len(events) == len(set(events)), "an outage is logged once"


def test_announcing_never_waits_for_a_redis_that_is_away(redis_server: RedisServer) -> None:
    redis_server.kill()
    announcer = Announcer(redis_server.client)
    announcer.start()

    for _ in range(1_000):
        announcer.announce()

    announcer.stop()
