"""What is particular to Redis: acknowledgement after the commit, claims by idle time, and loss."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, cast

import pytest
from structlog.testing import capture_logs

from om_server.core.errors import DependencyUnavailable, Overloaded
from om_server.storage.redis_stream import RedisStream
from om_server.storage.stream_group import GROUP, POSTPONED, STREAM, WAITING, connect
from tests.server.storage.conftest import SECOND, Consumer, batch, numbered

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from om_server.storage.database import Database
    from om_server.storage.queue import Batch
    from tests.redis_server import RedisServer

_START = 1_000 * SECOND
_TIMEOUT_S = 30


class _Commits:
    """A database as far as the queue knows it."""

    def __init__(self) -> None:
        self.open = False

    def write(self, fn: Callable[[], None]) -> None:
        self.open = True
        fn()
        self.open = False


@pytest.fixture(name="now")
def make_now() -> list[int]:
    return [_START]


@pytest.fixture(name="make")
def make_maker(redis_server: RedisServer, now: list[int]) -> Callable[..., Consumer]:
    def make(abandoned_after_us: int = 60 * SECOND) -> Consumer:
        database = cast("Database", _Commits())
        stream = RedisStream(
            redis_server.client, database, lambda: now[0], abandoned_after_us=abandoned_after_us
        )
        return Consumer(stream)

    return make


@pytest.fixture(name="worker")
def make_worker(make: Callable[..., Consumer]) -> Consumer:
    return make()


def keys_of(server: RedisServer) -> set[str]:
    return set(cast("list[str]", server.client.keys()))


def pending(server: RedisServer) -> int:
    return int(server.client.xpending(STREAM, GROUP)["pending"])


def test_what_is_finished_leaves_nothing_behind(redis_server: RedisServer, worker: Consumer) -> None:
    worker.queue.append(numbered(20))
    worker.take_all(5)

    assert keys_of(redis_server) == {STREAM}
    assert redis_server.client.xlen(STREAM) == 0
    assert pending(redis_server) == 0


def test_what_waits_is_never_trimmed(redis_server: RedisServer, worker: Consumer) -> None:
    for _ in range(20):
        worker.queue.append(numbered(500))

    assert redis_server.client.xlen(STREAM) == 10_000
    worker.take(100)
    assert redis_server.client.xlen(STREAM) == 9_900


def test_redis_is_asked_nothing_while_the_transaction_is_open(
    redis_server: RedisServer, make: Callable[..., Consumer]
) -> None:
    """On SQLite a slow Redis would hold up every writer."""
    worker = make()
    worker.queue.append([batch("bat_1"), batch("bat_2")])

    def settle(batches: Sequence[Batch]) -> None:
        redis_server.kill()
        worker.queue.finish(batches[:1])
        worker.queue.postpone(batches[1], _START + SECOND)
        redis_server.start()

    worker.queue.process(10, settle)

    assert worker.take() == []


def test_a_crash_between_commit_and_acknowledgement_brings_the_batch_back(
    redis_server: RedisServer, make: Callable[..., Consumer], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make()
    first.queue.append([batch("bat_1")])
    with monkeypatch.context() as patched:
        patched.setattr(redis_server.client, "pipeline", _dies)
        with pytest.raises(SystemExit):
            first.take()
    assert [each.batch_id for each in first.given] == ["bat_1"]

    second = make(abandoned_after_us=0)
    assert second.take() == ["bat_1"]
    assert second.given[0].attempt_count == 1
    assert make(abandoned_after_us=0).take() == []


def _dies(**_: object) -> None:
    raise SystemExit


def test_what_was_given_out_lately_is_not_claimed(make: Callable[..., Consumer]) -> None:
    first = make()
    first.queue.append(numbered(3))
    first.fail(SystemExit())

    assert make().take() == []
    assert first.take() == ["bat_00000", "bat_00001", "bat_00002"]


def test_all_that_was_abandoned_is_claimed_however_much_it_is(make: Callable[..., Consumer]) -> None:
    first = make()
    first.queue.append(numbered(250))
    assert len(first.fail(SystemExit())) == 250

    assert len(set(make(abandoned_after_us=0).take_all(20))) == 250


def test_every_delivery_counts(make: Callable[..., Consumer]) -> None:
    """So that one sees a batch that kills whoever settles it."""
    make().queue.append([batch("bat_1")])
    for _ in range(3):
        make(abandoned_after_us=0).fail(SystemExit())

    last = make(abandoned_after_us=0)
    last.take()

    assert last.given[0].attempt_count >= 3


def test_deliveries_and_postponements_count_together(now: list[int], make: Callable[..., Consumer]) -> None:
    first, last = make(), make(abandoned_after_us=0)
    first.queue.append([batch("bat_1")])
    first.queue.process(10, lambda batches: first.queue.postpone(batches[0], _START + 1))
    now[0] += 1
    [again] = first.fail(SystemExit())
    assert again.attempt_count == 1

    last.take()

    assert last.given[0].attempt_count == 2


def test_a_worker_that_was_killed_had_its_batch_for_the_next_one(
    redis_server: RedisServer, make: Callable[..., Consumer]
) -> None:
    assert make().take() == []
    make().queue.append([batch("bat_1")])
    program = [sys.executable, "-c", _TAKES_AND_HANGS, redis_server.url]
    with subprocess.Popen(program, stdout=subprocess.PIPE) as killed:
        assert killed.stdout is not None
        try:
            assert killed.stdout.readline() == b"bat_1\n"
        finally:
            killed.kill()

    assert make().take() == []
    assert make(abandoned_after_us=0).take() == ["bat_1"]


_TAKES_AND_HANGS = """
import sys, threading
from om_server.storage.redis_stream import RedisStream
from om_server.storage.stream_group import connect

class Hangs:
    def write(self, fn):
        fn()
        threading.Event().wait()

queue = RedisStream(connect(sys.argv[1]), Hangs(), lambda: 0)
queue.process(10, lambda batches: print(batches[0].batch_id, flush=True))
"""


def test_a_worker_that_was_paused_too_long_lets_go_of_what_it_had(
    now: list[int], make: Callable[..., Consumer]
) -> None:
    paused = make()
    paused.queue.append([batch("bat_1")])
    paused.fail(LookupError())
    now[0] += 61 * SECOND

    assert paused.take() == []


def test_two_workers_with_one_batch_may_both_finish_it(make: Callable[..., Consumer]) -> None:
    paused, other = make(), make(abandoned_after_us=0)
    assert paused.take() == []
    paused.queue.append([batch("bat_1")])

    def settle(batches: Sequence[Batch]) -> None:
        assert other.take() == ["bat_1"]
        paused.queue.finish(batches)

    with capture_logs() as logs:
        paused.queue.process(10, settle)

    # A platform that another test module keeps running may log too.
    told = [entry["event"] for entry in logs if entry["event"].startswith("batches_")]
    assert told == ["batches_claimed_again", "batches_were_gone"]
    assert paused.queue.status("org") == (0, None)
    assert paused.take() == []


def test_a_postponed_batch_that_another_has_finished_is_forgotten(
    redis_server: RedisServer, now: list[int], make: Callable[..., Consumer]
) -> None:
    paused, other = make(), make(abandoned_after_us=0)
    paused.queue.append([batch("bat_1")])

    def settle(batches: Sequence[Batch]) -> None:
        assert other.take() == ["bat_1"]
        paused.queue.postpone(batches[0], _START + 1)

    paused.queue.process(10, settle)
    assert redis_server.client.zcard(POSTPONED) == 1
    now[0] += 1

    assert paused.take() == []
    assert keys_of(redis_server) == {STREAM}


def test_a_redis_that_lost_everything_gets_its_group_again(
    redis_server: RedisServer, worker: Consumer
) -> None:
    worker.queue.append([batch("bat_1")])
    worker.fail(LookupError())
    redis_server.kill()
    redis_server.start()
    assert worker.queue.status("org") == (0, None)

    worker.queue.append([batch("bat_2")])

    # What this worker still had in its memory is settled as well, which is as good as a redelivery.
    assert worker.take_all() == ["bat_1", "bat_2"]
    assert pending(redis_server) == 0


def test_a_group_that_was_lost_alone_delivers_everything_again(
    redis_server: RedisServer, make: Callable[..., Consumer]
) -> None:
    make().queue.append(numbered(3))
    make().fail(SystemExit(), 1)
    redis_server.client.xgroup_destroy(STREAM, GROUP)

    assert make().take() == ["bat_00000", "bat_00001", "bat_00002"]


def test_the_life_of_the_queue_is_the_same_for_everybody_until_redis_loses_something(
    redis_server: RedisServer, make: Callable[..., Consumer]
) -> None:
    one, other = make().queue, make().queue
    one.process(1, lambda batches: None)
    lives = [one.incarnation(), other.incarnation()]
    redis_server.client.flushall()
    lives += [other.incarnation(), one.incarnation()]
    redis_server.kill()
    redis_server.start()
    lives += [one.incarnation(), other.incarnation()]
    redis_server.client.delete(STREAM)
    one.process(1, lambda batches: None)
    lives += [one.incarnation(), other.incarnation()]

    assert lives[::2] == lives[1::2]
    assert len(set(lives)) == 4


def test_a_restart_with_what_was_kept_is_another_life(
    redis_server: RedisServer, make: Callable[..., Consumer]
) -> None:
    queue = make().queue
    before = queue.incarnation()
    redis_server.client.save()

    redis_server.kill()
    redis_server.start()
    redis_server.forget()

    kept, _, _ = before.partition(".")
    assert queue.incarnation().startswith(kept)
    assert queue.incarnation() != before


def test_a_redis_that_is_away_is_an_error_that_may_be_tried_again(
    redis_server: RedisServer, worker: Consumer
) -> None:
    worker.queue.append([batch("bat_1")])
    [taken] = worker.fail(LookupError())
    redis_server.kill()

    for call in (
        lambda: worker.queue.append([batch("bat_2")]),
        worker.take,
        lambda: worker.queue.finish([taken]),
        lambda: worker.queue.postpone(taken, _START),
        lambda: worker.queue.status("org"),
    ):
        with pytest.raises(DependencyUnavailable, match="the queue is not available"):
            call()


def test_a_worker_that_has_failed_takes_no_more_while_it_waits(make: Callable[..., Consumer]) -> None:
    """A database may be away for long; what is new is better off with a worker that can reach it."""
    worker = make()
    worker.queue.append(numbered(2))
    worker.fail(DependencyUnavailable(), 1)

    worker.queue.wait(0.001)

    assert make().take() == ["bat_00001"]


def test_a_wait_for_a_redis_that_is_away_ends_when_it_is_woken_and_not_before(
    redis_server: RedisServer, worker: Consumer
) -> None:
    """Else the loop would ask it without a pause."""
    redis_server.kill()
    waiting = threading.Thread(target=worker.queue.wait, args=[_TIMEOUT_S])
    waiting.start()
    waiting.join(0.05)
    assert waiting.is_alive()

    worker.queue.wake()
    waiting.join(_TIMEOUT_S)

    assert not waiting.is_alive()


def test_a_redis_that_does_not_answer_is_given_up(make: Callable[..., Consumer]) -> None:
    client = connect("redis://127.0.0.1:1/0")
    stream = RedisStream(client, cast("Database", _Commits()), lambda: _START)
    started = time.monotonic()

    with pytest.raises(DependencyUnavailable):
        stream.append([batch("bat_1")])

    assert time.monotonic() - started < 5
    timeouts = client.connection_pool.connection_kwargs
    assert timeouts["socket_timeout"] > 0
    assert timeouts["socket_connect_timeout"] > 0


def test_a_full_redis_refuses_and_can_still_be_emptied(redis_server: RedisServer, worker: Consumer) -> None:
    assert worker.take() == []
    worker.queue.append([batch("bat_1")])
    redis_server.client.config_set("maxmemory", "1")

    with pytest.raises(Overloaded):
        worker.queue.append([batch("bat_2")])

    assert redis_server.client.xlen(STREAM) == 1
    assert worker.take() == ["bat_1"]


def test_every_reply_of_a_pipeline_is_read(redis_server: RedisServer, worker: Consumer) -> None:
    """The entry is added and its note is not: who appended must hear of it, and sends again."""
    redis_server.client.set(WAITING + "org", "not a sorted set")

    with pytest.raises(DependencyUnavailable):
        worker.queue.append([batch("bat_1", organization_id="other"), batch("bat_1")])
    with pytest.raises(DependencyUnavailable):
        worker.take()
    redis_server.client.delete(WAITING + "org")

    assert worker.take_all() == ["bat_1", "bat_1"]


@pytest.mark.parametrize("fields", [(("data", "of another program"),), (("organization_id", "org"),)])
def test_an_entry_that_cannot_be_read_stays_and_holds_up_nobody(
    redis_server: RedisServer, worker: Consumer, fields: tuple[tuple[str, str], ...]
) -> None:
    redis_server.client.xadd(STREAM, dict(fields))
    worker.queue.append([batch("bat_1")])

    with capture_logs() as logs:
        assert worker.take() + worker.take() == ["bat_1"]

    assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == ["entry_unreadable"]
    assert pending(redis_server) == 1


def test_restarts_of_workers_leave_no_consumers_behind(
    redis_server: RedisServer, make: Callable[..., Consumer]
) -> None:
    make().queue.append(numbered(5))
    for _ in range(5):
        make().take(1)

    assert len(redis_server.client.xinfo_consumers(STREAM, GROUP)) == 1
