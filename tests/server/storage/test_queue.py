"""What every queue promises, in SQLite, in PostgreSQL, and in Redis beside either."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from om_server.core.errors import DependencyUnavailable
from om_server.storage.queue import Batch, batches_wanted, fitting
from tests.server.storage.conftest import SECOND, batch, numbered

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.server.storage.conftest import Consumer, Workplace

_TIMEOUT_S = 30


def test_an_empty_queue_settles_nothing(worker: Consumer) -> None:
    worker.queue.append([])

    assert worker.take() == []
    assert worker.queue.status("org") == (0, None)


def test_batches_come_out_in_the_order_they_went_in(worker: Consumer) -> None:
    worker.queue.append([batch("bat_1"), batch("bat_2")])
    worker.queue.append([batch("bat_3")])

    assert worker.take() == ["bat_1", "bat_2", "bat_3"]
    assert worker.take() == []


def test_a_batch_comes_out_as_it_went_in(workplace: Workplace, worker: Consumer) -> None:
    text = '{"version":1,"name":"Grüße 世界 \U0001f9ee \\u0000 \\"quoted\\"\\n"}' + "\x7f\u2028é" * 50_000
    worker.queue.append([Batch("org_ä", "bat_1", text, 7)])
    worker.take()

    [given] = worker.given
    assert (given.organization_id, given.batch_id, given.event_count) == ("org_ä", "bat_1", 7)
    assert given.envelope == text
    assert (given.attempt_count, given.create_time) == (0, workplace.now[0])


def test_a_worker_gets_as_many_events_as_it_asks_for_but_at_least_one_batch(worker: Consumer) -> None:
    worker.queue.append([batch("bat_1", 800), batch("bat_2", 100), batch("bat_3", 200), batch("bat_4", 100)])

    assert worker.take(500) == ["bat_1"]
    assert worker.take(300) == ["bat_2", "bat_3"]
    assert worker.take(300) == ["bat_4"]


def test_thousands_of_batches_all_come_out_once(worker: Consumer) -> None:
    batches = numbered(3_000)
    for start in range(0, len(batches), 500):
        worker.queue.append(batches[start : start + 500])
    assert worker.queue.status("org")[0] == 3_000

    assert worker.take_all(400) == [each.batch_id for each in batches]
    assert worker.queue.status("org") == (0, None)


@pytest.mark.parametrize("error", [DependencyUnavailable(), LookupError()])
def test_what_a_failed_transaction_finished_is_delivered_again_at_once(
    worker: Consumer, error: Exception
) -> None:
    worker.queue.append([batch("bat_1"), batch("bat_2")])

    assert [each.batch_id for each in worker.fail(error)] == ["bat_1", "bat_2"]

    assert worker.queue.status("org")[0] == 2
    assert worker.take() == ["bat_1", "bat_2"]
    assert [each.attempt_count for each in worker.given] == [0, 0]


def test_what_a_dead_worker_had_is_delivered_to_another(workplace: Workplace) -> None:
    dying = workplace.worker()
    dying.queue.append([batch("bat_1"), batch("bat_2")])
    dying.fail(SystemExit())

    assert workplace.worker(abandoned_after_us=0).take() == ["bat_1", "bat_2"]
    assert workplace.worker(abandoned_after_us=0).take() == []


def test_a_batch_that_is_neither_finished_nor_postponed_is_delivered_again(worker: Consumer) -> None:
    worker.queue.append([batch("bat_1")])

    assert worker.queue.process(10, lambda _: None)

    assert worker.take() == ["bat_1"]


def test_a_batch_can_be_finished_after_its_transaction_has_failed(worker: Consumer) -> None:
    """So it goes with a batch that is taken apart."""
    worker.queue.append([batch("bat_1"), batch("bat_2")])
    first, _ = worker.fail(LookupError())

    worker.queue.finish([first])

    assert worker.take() == ["bat_2"]


def test_a_postponed_batch_is_not_due_before_its_time_and_holds_up_nobody(
    workplace: Workplace, worker: Consumer
) -> None:
    worker.queue.append([batch("bat_1"), batch("bat_2")])
    later = workplace.now[0] + 90 * SECOND

    def settle(batches: Sequence[Batch]) -> None:
        worker.queue.postpone(batches[0], later)
        worker.queue.finish(batches[1:])

    worker.queue.process(10, settle)
    others = workplace.worker(abandoned_after_us=0)
    workplace.now[0] = later - 1
    assert others.take() == worker.take() == []
    assert worker.queue.status("org")[0] == 1

    workplace.now[0] = later
    assert others.take() == ["bat_1"]
    assert others.given[0].attempt_count == 1
    assert worker.take() == []
    assert worker.queue.status("org")[0] == 0


def test_a_batch_is_due_at_once_whatever_the_clock_was_that_queued_it(
    workplace: Workplace, worker: Consumer
) -> None:
    worker.queue.append([batch("bat_1")])
    workplace.now[0] -= 3600 * SECOND
    worker.queue.append([batch("bat_2")])

    assert sorted(worker.take()) == ["bat_1", "bat_2"]


def test_every_postponement_counts(workplace: Workplace, worker: Consumer) -> None:
    worker.queue.append([batch("bat_1")])
    for _ in range(3):
        worker.queue.process(10, lambda batches: worker.queue.postpone(batches[0], workplace.now[0] + 5))
        workplace.now[0] += 5

    worker.take()

    assert worker.given[0].attempt_count == 3


def test_a_postponement_in_a_transaction_that_fails_has_not_happened(
    workplace: Workplace, worker: Consumer
) -> None:
    worker.queue.append([batch("bat_1")])

    def settle(batches: Sequence[Batch]) -> None:
        worker.queue.postpone(batches[0], workplace.now[0] + 5)
        raise LookupError

    with pytest.raises(LookupError):
        worker.queue.process(10, settle)

    assert worker.take() == ["bat_1"]
    assert worker.given[0].attempt_count == 0


def test_workers_beside_one_another_share_the_work(workplace: Workplace) -> None:
    workers = [workplace.worker() for _ in range(4)]
    workers[0].queue.append(numbered(60))

    threads = [threading.Thread(target=each.take_all, args=[3]) for each in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    given = sorted(each.batch_id for worker in workers for each in worker.given)
    assert given == [each.batch_id for each in numbered(60)]
    assert workers[0].queue.status("org") == (0, None)


def test_what_waits_is_counted_for_its_organization_alone(workplace: Workplace, worker: Consumer) -> None:
    first = workplace.now[0]
    worker.queue.append([batch("bat_1"), batch("bat_2", organization_id="other")])
    workplace.now[0] += SECOND
    worker.queue.append([batch("bat_3")])

    assert worker.queue.status("org") == (2, first)
    assert worker.queue.status("nobody") == (0, None)
    worker.take(1)
    assert worker.queue.status("org") == (1, first + SECOND)
    assert worker.queue.status("other") == (1, first)


def test_what_waits_of_all_organizations_is_counted_together(workplace: Workplace, worker: Consumer) -> None:
    assert worker.queue.backlog() == (0, None)

    worker.queue.append([batch("bat_1"), batch("bat_2", organization_id="other")])
    since = workplace.now[0]
    workplace.now[0] += SECOND
    worker.queue.append([batch("bat_3")])

    assert worker.queue.backlog() == (3, since)
    worker.take_all()
    assert worker.queue.backlog() == (0, None)


def test_an_arrival_ends_a_wait(worker: Consumer) -> None:
    taken: list[str] = []

    def work() -> None:
        # A wait may end early, but the timeout is longer than the test may take.
        while not taken:
            worker.queue.wait(_TIMEOUT_S)
            taken.extend(worker.take())

    thread = threading.Thread(target=work)
    thread.start()
    worker.queue.append([batch("bat_1")])
    thread.join(_TIMEOUT_S)

    assert taken == ["bat_1"]


def test_an_arrival_before_the_wait_ends_it_too(worker: Consumer) -> None:
    worker.queue.append([batch("bat_1")])

    worker.queue.wait(_TIMEOUT_S)

    assert worker.take() == ["bat_1"]


def test_who_is_woken_does_not_wait(worker: Consumer) -> None:
    worker.queue.wake()

    worker.queue.wait(_TIMEOUT_S)

    assert worker.take() == []


@pytest.mark.parametrize(
    ("event_count_max", "sizes", "wanted"),
    [(500, [], 1), (500, [1], 499), (500, [100], 4), (500, [300], 1), (500, [0], 500), (500, [2, 4], 164)],
)
def test_as_many_more_batches_are_asked_for_as_fit_if_they_are_alike(
    event_count_max: int, sizes: list[int], wanted: int
) -> None:
    assert batches_wanted(event_count_max, [batch("bat", size) for size in sizes]) == wanted


def test_whole_batches_are_chosen_up_to_the_limit() -> None:
    three = [batch("bat_1", 3), batch("bat_2", 3), batch("bat_3", 1)]

    assert [len(fitting(limit, three)) for limit in (1, 5, 6, 7)] == [1, 1, 2, 3]
    assert fitting(5, []) == []
