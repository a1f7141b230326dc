from __future__ import annotations

import errno
import os
import random
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from om.type.v1 import event_pb2
from om_proxy.journal import segment
from om_proxy.journal.home import HomeTaken
from om_proxy.journal.journal import Journal, JournalBroken, JournalFull, open_journal
from om_proxy.journal.reader import Cursor
from om_proxy.journal.record import LeaseNote
from tests.proxy.journal.history import History
from tests.proxy.journal.scene import (
    BOOT,
    event_of,
    journal_in,
    killed,
    outcome_of,
    segments,
    settle_all,
    shipped,
)

_SMALL = 700
_DAY_S = 24 * 3600


@given(seed=st.integers(0, 2**32), steps=st.integers(1, 60), data=st.data())
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_wherever_it_is_cut_every_call_has_one_outcome_and_every_lease_its_count(
    tmp_path_factory: pytest.TempPathFactory, seed: int, steps: int, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("journal")
    journal = journal_in(path, segment_bytes=_SMALL)
    history = History(journal, random.Random(seed))
    history.play(steps)
    last = journal._writer.file
    size = journal._writer.size
    journal._drop_reserve()
    killed(journal)
    cut = data.draw(st.integers(0, size))
    os.truncate(last.path, cut)
    known = history.model(last.number, cut)

    journal = journal_in(path, segment_bytes=_SMALL)
    journal.recover()

    assert journal.home.clean
    assert {event.event_id: event.outcome for event in shipped(journal)} == known.outcomes()
    assert Counter(event.event_id for event in shipped(journal)).total() == len(known.calls)
    assert {note.lease_id: (note.final_count, note.keep_nanos) for note in journal.reports} == known.reports()
    journal.resynced("store")
    settle_all(journal)
    journal.tidy()
    assert journal.done()
    journal.close()


@given(seed=st.integers(0, 2**32), lives=st.integers(2, 4))
@settings(max_examples=30, deadline=None)
def test_a_call_that_was_recovered_is_not_recovered_again(
    tmp_path_factory: pytest.TempPathFactory, seed: int, lives: int
) -> None:
    """Also where only a part of what is settled was dropped in between."""
    path, chance = tmp_path_factory.mktemp("journal"), random.Random(seed)
    begun: set[str] = set()
    seen: Counter[str] = Counter()
    for life in range(lives):
        journal = journal_in(path, segment_bytes=_SMALL)
        journal.recover()
        journal.resynced("store")
        for number in range(chance.randint(0, 12)):
            name = f"evt_{life}_{number}"
            begun.add(name)
            journal.intend(event_of(name))
            journal.sent(name)
            if chance.random() < 0.6:
                journal.conclude(outcome_of(name))
        seen.update({event.event_id for event in shipped(journal)} - set(seen))
        assert max(Counter(event.event_id for event in shipped(journal)).values(), default=1) == 1
        for span in journal.spans():
            if chance.random() < 0.7:
                journal.settle(span.header.edge_epoch, [(span.first_sequence, span.last_sequence)])
        journal.tidy()
        killed(journal)
    journal = journal_in(path)
    journal.recover()
    seen.update({event.event_id for event in shipped(journal)} - set(seen))

    assert set(seen) == begun
    assert set(seen.values()) <= {1}


def test_a_marker_of_sending_that_may_have_been_lost_with_the_power_is_not_missed(tmp_path: Path) -> None:
    """What was forced to the disk has every call, but not that its first byte left."""
    journal = journal_in(tmp_path, synced=True)
    journal.intend(event_of("evt_1", {"lse_1": 5}))
    killed(journal)

    journal = journal_in(tmp_path, boot_id="another")
    journal.recover()

    assert journal.home.clean
    (event,) = shipped(journal)
    assert (event.outcome, event.funding[0].retained_nanos) == (event_pb2.OUTCOME_UNKNOWN, 5)


def test_a_settled_segment_is_kept_for_a_day_and_then_dropped(tmp_path: Path) -> None:
    journal = journal_in(tmp_path, segment_bytes=_SMALL)
    for number in range(40):
        journal.intend(event_of(f"evt_{number}"))
        journal.conclude(outcome_of(f"evt_{number}"))
    before = len(segments(tmp_path))
    settle_all(journal)
    journal.tidy()
    settled = [name for name in segments(tmp_path) if name.endswith("settled")]
    assert len(settled) > 1
    assert len(segments(tmp_path)) == before

    journal._archive._now = lambda: (tmp_path / settled[-1]).stat().st_mtime + _DAY_S + 1
    journal.tidy()
    assert [name for name in segments(tmp_path) if name.endswith("settled")] == []


def test_a_settled_segment_is_looked_at_once_although_it_is_kept_for_a_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A busy day has thousands, and the loop that tidies every two seconds passes the calls on."""
    journal = journal_in(tmp_path, segment_bytes=_SMALL)
    for number in range(40):
        journal.intend(event_of(f"evt_{number}"))
        journal.conclude(outcome_of(f"evt_{number}"))
    settle_all(journal)
    looked: Counter[str] = Counter()
    stat = Path.stat

    def counted(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        looked[path.name] += 1
        return stat(path, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(Path, "stat", counted)
    for _ in range(3):
        journal.tidy()
    settled = {name for name in segments(tmp_path) if name.endswith("settled")}
    assert looked == Counter(settled)
    journal.close()

    # The next start knows of them too.
    journal = journal_in(tmp_path, segment_bytes=_SMALL)
    looked.clear()
    for _ in range(3):
        journal.tidy()
    assert not looked
    monkeypatch.undo()
    journal._archive._now = lambda: (tmp_path / max(settled)).stat().st_mtime + _DAY_S + 1
    journal.tidy()
    assert not settled.intersection(segments(tmp_path))
    journal.close()


@pytest.mark.parametrize("open_thing", ["outcome", "call", "lease"])
def test_nothing_is_dropped_that_is_open_nor_anything_behind_it(tmp_path: Path, open_thing: str) -> None:
    """A later segment may say how an earlier one's calls ended, so they go in their order."""
    journal = journal_in(tmp_path, segment_bytes=_SMALL)
    if open_thing == "lease":
        journal.learn("lse_1")
    if open_thing == "call":
        journal.intend(event_of("evt_open"))
    for number in range(40):
        journal.intend(event_of(f"evt_{number}"))
        journal.conclude(outcome_of(f"evt_{number}"))
    first = 2 if open_thing == "outcome" else 1
    journal.settle(1, [(first, 40)])
    journal.tidy()

    assert [name for name in segments(tmp_path) if name.endswith("settled")] == []
    assert not journal.done()
    journal.settle(1, [(1, 1)])
    if open_thing == "lease":
        journal.closed(LeaseNote("lse_1"))
    if open_thing == "call":
        journal.conclude(outcome_of("evt_open"))
        journal.settle(1, [(41, 41)])
    journal.tidy()
    assert [name for name in segments(tmp_path) if name.endswith("settled")] != []
    assert journal.done()


@pytest.mark.parametrize("synced", [False, True])
@pytest.mark.parametrize(("module", "failing"), [(segment, "_allocate"), (os, "open")])
def test_a_full_disk_refuses_calls_and_lets_those_that_are_open_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, module: ModuleType, failing: str, synced: bool
) -> None:
    """So does a process that may open no more files."""
    journal = journal_in(tmp_path, segment_bytes=_SMALL, synced=synced)
    for number in range(3):
        journal.intend(event_of(f"evt_{number}", {"lse_1": 5}))
    with monkeypatch.context() as full:
        full.setattr(module, failing, _no_room)
        while True:
            try:
                journal.intend(event_of("evt_more"))
            except JournalFull:
                break
            journal.conclude(outcome_of("evt_more"))
        with pytest.raises(JournalFull):
            journal.extend(event_of("evt_0", {"lse_1": 9}))
        size = journal._writer.size
        journal.checkpoint(event_of("evt_0", {"lse_1": 5}))
        assert journal._writer.size == size
        for number in range(3):
            journal.conclude(outcome_of(f"evt_{number}", {"lse_1": 5}))
        assert not journal.broken
    journal.intend(event_of("evt_later"))
    journal.close()


def _no_room(*_: object) -> None:
    raise OSError(errno.ENOSPC, "no space")


@pytest.mark.parametrize("failure", [OSError(errno.EIO, "disk"), 3])
def test_after_a_write_that_failed_nothing_is_written_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: OSError | int
) -> None:
    journal = journal_in(tmp_path)
    told: list[str] = []
    journal.on_broken = lambda: told.append("broken")
    journal.intend(event_of("evt_1"))
    write = os.pwrite

    def failing(descriptor: int, data: bytes, offset: int) -> int:
        if isinstance(failure, OSError):
            raise failure
        return write(descriptor, data[:failure], offset)

    with monkeypatch.context() as broken:
        broken.setattr(os, "pwrite", failing)
        with pytest.raises(JournalBroken):
            journal.sent("evt_1")
    with pytest.raises(JournalBroken):
        journal.conclude(outcome_of("evt_1"))
    with pytest.raises(JournalFull):
        journal.intend(event_of("evt_2"))
    journal.close()

    assert told == ["broken"]
    journal = journal_in(tmp_path)
    assert journal.recover() == 1
    assert [event.outcome for event in shipped(journal)] == [event_pb2.OUTCOME_ZERO]


def test_a_sync_that_failed_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk may have lost what it did not take, and says so only once."""
    journal = journal_in(tmp_path, synced=True)
    monkeypatch.setattr(os, "fsync", _no_room)
    with pytest.raises(JournalBroken):
        journal.sync()
    journal.fail()
    monkeypatch.undo()

    with pytest.raises(JournalBroken):
        journal.learn("lse_1")


def test_damage_inside_is_set_aside_and_what_is_good_around_it_is_kept(tmp_path: Path) -> None:
    journal = journal_in(tmp_path, segment_bytes=_SMALL)
    for number in range(3):
        journal.intend(event_of(f"evt_{number}"))
        journal.sent(f"evt_{number}")
        journal.conclude(outcome_of(f"evt_{number}"))
    journal.intend(event_of("evt_open"))
    path = journal._writer.file.path
    killed(journal)
    data = bytearray(path.read_bytes())
    at = data.index(b"evt_1")
    data[at] ^= 0xFF
    path.write_bytes(data)

    with capture_logs() as logs:
        journal = journal_in(tmp_path, segment_bytes=_SMALL)
        assert not journal.home.clean
        journal.recover()

    assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == ["journal_damaged"]
    # The record of evt_1's beginning is the one that is lost; how it ended is there.
    assert sorted(event.event_id for event in shipped(journal)) == ["evt_0", "evt_1", "evt_2", "evt_open"]
    journal.resynced("store")
    assert path.with_suffix(".damaged").exists()
    killed(journal)
    assert journal_in(tmp_path).home.clean


def test_a_torn_last_record_is_no_damage(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    journal.intend(event_of("evt_1"))
    path, size = journal._writer.file.path, journal._writer.size
    journal.sent("evt_1")
    killed(journal)
    with path.open("r+b") as file:
        file.seek(size + 4)
        file.write(b"\xff\xff")

    journal = journal_in(tmp_path)
    journal.recover()
    assert journal.home.clean
    assert [event.outcome for event in shipped(journal)] == [event_pb2.OUTCOME_ZERO]


def test_a_restored_store_hears_of_everything_again(tmp_path: Path) -> None:
    journal = journal_in(tmp_path, segment_bytes=_SMALL)
    journal.resynced("one")
    for number in range(30):
        journal.learn(f"lse_{number}")
        journal.intend(event_of(f"evt_{number}", {f"lse_{number}": 9}))
        journal.conclude(outcome_of(f"evt_{number}", {f"lse_{number}": 9}, kept=4))
        journal.closed(LeaseNote(f"lse_{number}", 1, 4))
    journal.learn("lse_open")
    journal.intend(event_of("evt_open", {"lse_open": 7}))
    settle_all(journal)
    journal.tidy()
    assert len(shipped(journal)) < 30
    before = (journal.edge.edge_epoch, journal.edge.instance)

    journal.renew(again=True)

    assert (journal.edge.edge_epoch, journal.edge.instance) == (before[0] + 1, before[1])
    assert [event.event_id for event in shipped(journal)] == [f"evt_{number}" for number in range(30)]
    assert {note.lease_id: (note.final_count, note.keep_nanos) for note in journal.reports} == {
        **{f"lse_{number}": (1, 4) for number in range(30)},
        "lse_open": (1, 7),
    }
    journal.resynced("two")
    journal.conclude(outcome_of("evt_open", {"lse_open": 7}))
    last = shipped(journal)[-1]
    assert (last.event_id, last.sequence) == ("evt_open", 1)
    settle_all(journal)
    journal.tidy()
    assert journal.done()


def test_outcomes_are_read_from_any_place_in_batches_of_any_size(tmp_path: Path) -> None:
    journal = journal_in(tmp_path, segment_bytes=4 * _SMALL)
    for number in range(40):
        journal.intend(event_of(f"evt_{number}"))
        journal.checkpoint(event_of(f"evt_{number}"))
        journal.conclude(outcome_of(f"evt_{number}"))

    for count_max in (1, 3, 500):
        assert [event.event_id for event in shipped(journal, count_max=count_max)] == [
            f"evt_{number}" for number in range(40)
        ]
    first = journal.read(Cursor(), count_max=500, size_max=1)
    assert first is not None
    assert len(first.events) == 1


def test_an_outcome_larger_than_what_is_read_at_once_is_read(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    large = outcome_of("evt_1")
    large.lines.add(raw_usage_json="x" * 600_000)
    journal.intend(event_of("evt_1"))
    journal.conclude(large)

    assert [event.event_id for event in shipped(journal)] == ["evt_1"]


def test_a_record_larger_than_a_segment_gets_one_of_its_own(tmp_path: Path) -> None:
    journal = journal_in(tmp_path, segment_bytes=_SMALL)
    large = outcome_of("evt_1")
    large.lines.add(raw_usage_json="x" * 16_000)
    journal.intend(event_of("evt_1"))
    journal.conclude(large)
    journal.intend(event_of("evt_2"))
    journal.conclude(outcome_of("evt_2"))

    assert [event.event_id for event in shipped(journal)] == ["evt_1", "evt_2"]


def test_a_directory_is_given_up_where_its_journal_cannot_be_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as full:
        full.setattr(segment, "_allocate", _no_room)
        with pytest.raises(OSError, match="no space"):
            open_journal(tmp_path, boot_id=BOOT, synced=False)

    one = open_journal(tmp_path, boot_id=BOOT, synced=False)
    with pytest.raises(HomeTaken):
        open_journal(tmp_path, boot_id=BOOT, synced=False)
    one.close()


def test_an_orderly_end_leaves_no_room_taken(tmp_path: Path) -> None:
    journal: Journal = journal_in(tmp_path)
    journal.intend(event_of("evt_1"))
    journal.close()

    assert sum((tmp_path / name).stat().st_size for name in segments(tmp_path)) < 4096


def test_a_start_that_did_not_come_far_after_a_power_cut_makes_no_call_free(tmp_path: Path) -> None:
    """What said that the call was sent is lost to every later start too."""
    journal = journal_in(tmp_path, boot_id="one")
    journal.intend(event_of("evt_1"))
    killed(journal)
    killed(journal_in(tmp_path, boot_id="two"))

    journal = journal_in(tmp_path, boot_id="two")
    journal.recover()
    journal.intend(event_of("evt_2"))
    killed(journal)
    journal = journal_in(tmp_path, boot_id="two")
    journal.recover()

    outcomes = {event.event_id: event.outcome for event in shipped(journal)}
    assert outcomes == {"evt_1": event_pb2.OUTCOME_UNKNOWN, "evt_2": event_pb2.OUTCOME_ZERO}
    killed(journal)


def test_a_lease_of_a_segment_without_outcomes_is_told_to_a_restored_store(tmp_path: Path) -> None:
    """Else that store would take it for one that paid for nothing, and free what its call has used."""
    journal = journal_in(tmp_path)
    journal.learn("lse_1")
    journal.intend(event_of("evt_1", {"lse_1": 9}))
    journal.sent("evt_1")
    journal.closing(LeaseNote("lse_1", 1, 9))
    journal.closed(LeaseNote("lse_1", 1, 9))
    killed(journal)
    journal = journal_in(tmp_path)
    journal.recover()
    journal.resynced("store")
    settle_all(journal)
    journal.tidy()

    journal.renew(again=True)

    assert journal.reports == [LeaseNote("lse_1", 1, 9)]
    killed(journal)


def test_what_ends_after_the_journal_was_closed_goes_nowhere(tmp_path: Path) -> None:
    journal, told = journal_in(tmp_path), list[int]()
    journal.on_broken = lambda: told.append(1)
    journal.close()
    before = {file.name: file.stat().st_size for file in tmp_path.iterdir()}

    with pytest.raises(JournalBroken):
        journal.conclude(outcome_of("evt_1"))
    with pytest.raises(JournalFull):
        journal.intend(event_of("evt_2"))

    assert {file.name: file.stat().st_size for file in tmp_path.iterdir()} == before
    assert told == []
