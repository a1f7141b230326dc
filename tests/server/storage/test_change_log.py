"""The log of changes: nothing that is committed is lost, whatever the order of commits."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from om_server.core.clock import MICROS_PER_SECOND, system_clock
from om_server.core.sequence_range import SequenceRange, merged
from om_server.storage.change import Change, ChangeKind
from om_server.storage.change_log import ChangeLog

if TYPE_CHECKING:
    from om_server.storage.database import Database

EDGE = "edg_" + "0" * 26
MANY = 1_000
_TIMEOUT_S = 10


@pytest.fixture(name="log")
def make_log(database: Database) -> ChangeLog:
    return ChangeLog(database)


def note(log: ChangeLog, *sequences: int, epoch: int = 1, edge: str = EDGE) -> None:
    for sequence in sequences:
        log.note_settled(edge, epoch, [SequenceRange(sequence, sequence)])


def told(changes: tuple[Change, ...]) -> list[int]:
    return [change.value for change in changes]


def prune(log: ChangeLog, *, keep_s: int = -60, forget_before: int = 0) -> None:
    """Prune; unless told otherwise, all that is older than a minute from now."""
    now = system_clock()
    log.prune(before=now - keep_s * MICROS_PER_SECOND, now=now, forget_before=forget_before)


class Held:
    """A transaction on a thread of its own that has written, and commits when it is told to."""

    def __init__(self, database: Database, log: ChangeLog, sequence: int) -> None:
        self._written, self._commit = threading.Event(), threading.Event()

        def run() -> None:
            note(log, sequence)
            self._written.set()
            self._commit.wait(_TIMEOUT_S)

        self._thread = threading.Thread(target=lambda: database.write(run))
        self._thread.start()
        assert self._written.wait(_TIMEOUT_S)

    def commit(self) -> None:
        self._commit.set()
        self._thread.join(_TIMEOUT_S)


def test_an_empty_log_says_where_it_ends(log: ChangeLog) -> None:
    reading = log.newest(MANY)

    assert (reading.incarnation, reading.changes) == ("inc_test", ())
    assert log.since(reading.position, MANY).changes == ()


def test_a_change_is_read_once(log: ChangeLog) -> None:
    note(log, 1)
    start = log.newest(MANY)
    note(log, 2)
    first = log.since(start.position, MANY)
    note(log, 3)

    assert told(start.changes) == [1]
    assert told(first.changes) == [2]
    assert told(log.since(first.position, MANY).changes) == [3]
    assert told(log.since(start.position, MANY).changes) == [2, 3]


def test_a_change_tells_all_its_columns(log: ChangeLog) -> None:
    start = log.newest(MANY).position
    log.note_settled(EDGE, 7, [SequenceRange(3, 9)])

    [change] = log.since(start, MANY).changes

    found = (change.kind, change.edge_id, change.edge_epoch, change.value, change.last_sequence)
    assert found == (ChangeKind.SETTLED, EDGE, 7, 3, 9)


def test_what_is_rolled_back_is_never_read(log: ChangeLog, database: Database) -> None:
    start = log.newest(MANY).position

    def run() -> None:
        note(log, 1)
        raise KeyError

    with pytest.raises(KeyError):
        database.write(run)

    assert log.since(start, MANY).changes == ()


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_transaction_that_commits_behind_a_later_one_is_not_lost(
    log: ChangeLog, database: Database
) -> None:
    start = log.newest(MANY).position
    early = Held(database, log, 1)
    late = Held(database, log, 2)

    late.commit()
    first = log.since(start, MANY)
    early.commit()
    second = log.since(first.position, MANY)

    assert (told(first.changes), told(second.changes)) == ([2], [1])
    assert log.since(second.position, MANY).changes == ()


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_floor_never_passes_a_transaction_that_is_open(log: ChangeLog, database: Database) -> None:
    early = Held(database, log, 1)
    note(log, 2)
    before = log.newest(MANY)
    early.commit()

    [row] = log.since(before.position, MANY).changes

    assert told((row,)) == [1]
    assert row.transaction >= before.position.floor


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_transaction_that_is_open_holds_up_nobody(log: ChangeLog, database: Database) -> None:
    early = Held(database, log, 1)
    position = log.newest(MANY).position
    for sequence in (2, 3, 4):
        note(log, sequence)
        reading = log.since(position, MANY)
        position = reading.position
        assert told(reading.changes) == [sequence]
    early.commit()


def test_more_than_is_asked_for_is_cut_off(log: ChangeLog) -> None:
    start = log.newest(MANY).position
    note(log, 1, 2, 3)

    over, exact = log.since(start, 2), log.since(start, 3)

    assert (over.cut_off, over.changes) == (True, ())
    assert (exact.cut_off, told(exact.changes)) == (False, [1, 2, 3])


def test_the_newest_are_the_last(log: ChangeLog) -> None:
    note(log, 1, 2, 3)

    assert told(log.newest(2).changes) == [2, 3]


def test_pruning_keeps_what_is_settled_and_one_change(log: ChangeLog) -> None:
    note(log, 1, 2, 4, 5, 9)
    note(log, 1, epoch=2)

    prune(log)

    assert len(log.newest(MANY).changes) == 1
    assert log.settled([EDGE]) == {EDGE: {1: ((1, 2), (4, 5), (9, 9)), 2: ((1, 1),)}}


def test_pruning_keeps_what_is_young(log: ChangeLog) -> None:
    note(log, 1, 2)

    prune(log, keep_s=3600)

    assert told(log.newest(MANY).changes) == [1, 2]


def test_positions_stay_good_while_the_log_is_pruned(log: ChangeLog) -> None:
    note(log, 1, 2)
    position = log.newest(MANY).position
    prune(log)
    note(log, 3)

    assert told(log.since(position, MANY).changes) == [3]


def test_a_thousand_sequences_in_any_order_end_as_one_row(log: ChangeLog, database: Database) -> None:
    for start in (0, 2, 1):
        log.note_settled(EDGE, 1, [SequenceRange(n, n) for n in range(start + 1, 1_000, 3)])
        prune(log)
    note(log, 1_000, 1_001)
    prune(log)

    query = "SELECT first_sequence, last_sequence FROM settled_ranges"
    rows = database.read(lambda: database.engine.execute_sql(query).fetchall())

    assert [tuple(row) for row in rows] == [(1, 1_000)]
    assert log.settled([EDGE]) == {EDGE: {1: ((1, 1_001),)}}


def test_a_silent_epoch_is_forgotten_in_the_end(log: ChangeLog) -> None:
    note(log, 1, 2)
    prune(log)
    prune(log, forget_before=system_clock() + MICROS_PER_SECOND)

    # The last change is still in the log.
    assert log.settled([EDGE]) == {EDGE: {1: ((2, 2),)}}


def test_an_edge_is_told_of_its_own_sequences_alone(log: ChangeLog) -> None:
    other = "edg_" + "1" * 26
    note(log, 1)
    note(log, 2, edge=other)

    assert log.settled([other]) == {other: {1: ((2, 2),)}}
    assert log.settled([]) == {}


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_changes_that_came_with_a_dump_of_another_server_are_not_new_for_ever(
    log: ChangeLog, database: Database
) -> None:
    note(log, 1)
    database.write(lambda: database.engine.execute_sql("UPDATE changes SET transaction_id = 1000000000000"))
    position = log.newest(MANY).position
    assert told(log.since(position, MANY).changes) == [1]

    prune(log, keep_s=3600)

    assert log.since(position, MANY).changes == ()
    assert log.settled([EDGE]) == {EDGE: {1: merged([SequenceRange(1, 1)])}}


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_two_processes_that_prune_at_once_lose_nothing(log: ChangeLog, database: Database) -> None:
    note(log, *range(1, 40))
    barrier = threading.Barrier(4)

    def run() -> None:
        barrier.wait(_TIMEOUT_S)
        prune(log)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert log.settled([EDGE]) == {EDGE: {1: ((1, 39),)}}


def test_what_only_a_newer_program_writes_is_passed_over(log: ChangeLog, database: Database) -> None:
    start = log.newest(MANY).position
    note(log, 1)
    database.write(lambda: database.engine.execute_sql("UPDATE changes SET kind = 'of_tomorrow'"))
    note(log, 2)

    assert told(log.since(start, MANY).changes) == [2]
