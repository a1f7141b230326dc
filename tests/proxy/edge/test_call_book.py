"""Every call that begins ends in exactly one outcome, and what it did not keep is spent again."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from om.type.v1 import event_pb2
from om_proxy.admission import outcome
from om_proxy.admission.outcome import Intent
from om_proxy.edge.call_book import CallBook
from om_proxy.funding.grant import Grant
from om_proxy.funding.purse import Part
from om_proxy.journal.group_sync import GroupSync
from om_proxy.journal.journal import Journal, JournalBroken, JournalFull
from om_proxy.metering.reading import Metered
from om_proxy.metering.usage import Quantity, Unit
from tests.proxy.exchange import CHAT_PATH, call_of
from tests.proxy.fake_servicer import LEASE_ID, LEASE_NANOS
from tests.proxy.intents import intent_for
from tests.proxy.journal.scene import journal_in, killed, shipped

CALL = call_of(CHAT_PATH, {"model": "gpt-4o", "max_tokens": 9, "messages": [{"content": "x" * 40}]})


@dataclass
class Desk:
    """Takes grants back."""

    given_back: list[list[int]] = field(default_factory=list)
    cancelled: int = 0

    def give_back(self, grant: Grant, kept: Sequence[int]) -> None:
        del grant
        self.given_back.append(list(kept))

    def cancel(self, grant: Grant) -> None:
        del grant
        self.cancelled += 1


@dataclass
class Scene:
    journal: Journal
    desk: Desk
    book: CallBook
    told: list[int]
    intent: Intent


@asynccontextmanager
async def scene(path: Path, *, synced: bool = False) -> AsyncIterator[Scene]:
    journal, desk, told = journal_in(path, synced=synced), Desk(), list[int]()
    group_sync = GroupSync(journal) if synced else None
    book = CallBook(journal, desk, on_outcome=lambda: told.append(1), group_sync=group_sync)
    yield Scene(journal, desk, book, told, intent_for(CALL))
    if group_sync is not None:
        await group_sync.close()
    killed(journal)


def after_a_crash(path: Path) -> event_pb2.UsageEvent:
    journal = journal_in(path)
    journal.recover()
    (event,) = shipped(journal)
    killed(journal)
    return event


async def test_a_call_is_written_down_given_back_and_shipped_once(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        await at.book.begin(at.intent)
        at.book.sent(at.intent)
        at.book.conclude(at.intent, outcome.unread(at.intent, http_status=200, latency_ms=1))

        (event,) = shipped(at.journal)
        assert (at.desk.given_back, at.told, at.book.open_count) == ([[LEASE_NANOS]], [1], 0)
        assert [part.retained_nanos for part in event.funding] == [LEASE_NANOS]


async def test_a_call_that_was_begun_and_not_sent_kept_nothing(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        await at.book.begin(at.intent)

    event = after_a_crash(tmp_path)
    assert (event.outcome, len(event.lines)) == (event_pb2.OUTCOME_ZERO, 0)
    assert [part.retained_nanos for part in event.funding] == [0]


async def test_a_call_that_was_sent_is_its_prompt_and_keeps_its_bound(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        await at.book.begin(at.intent)
        at.book.sent(at.intent)

    event = after_a_crash(tmp_path)
    assert event.outcome == event_pb2.OUTCOME_UNKNOWN
    amounts = {item.unit: item.amount for item in event.lines[0].usage.quantities}
    assert amounts["output_tokens"] == 0
    assert amounts["input_tokens"] > 10
    assert [part.retained_nanos for part in event.funding] == [LEASE_NANOS]


async def test_what_was_seen_of_a_stream_is_known_after_a_crash(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        line = outcome._guess(at.intent, Quantity(Unit.OUTPUT_TOKENS, 77))
        await at.book.begin(at.intent)
        at.book.sent(at.intent)
        at.book.checkpoint(at.intent, Metered((line,)))
        at.intent.grant.parts = (Part(LEASE_ID, LEASE_NANOS + 5),)
        await at.book.extended(at.intent, Metered((line,)))

    event = after_a_crash(tmp_path)
    amounts = {item.unit: item.amount for item in event.lines[0].usage.quantities}
    assert (event.outcome, amounts["output_tokens"]) == (event_pb2.OUTCOME_UNKNOWN, 77)
    assert [part.retained_nanos for part in event.funding] == [LEASE_NANOS + 5]


async def test_a_call_that_cannot_be_written_down_takes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scene(tmp_path) as at:
        monkeypatch.setattr(at.journal, "has_room", lambda: False)
        with pytest.raises(JournalFull):
            await at.book.begin(at.intent)

        assert (at.desk.cancelled, at.desk.given_back, at.book.open_count) == (1, [], 0)
        assert shipped(at.journal) == []


async def test_the_end_of_earlier_work_is_shipped_without_a_call(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        at.book.job_ended(event_pb2.UsageEvent(event_id="job:openai:1"))

        assert [event.event_id for event in shipped(at.journal)] == ["job:openai:1"]
        assert (at.told, at.desk.given_back) == ([1], [])


async def test_a_call_waits_for_the_disk_where_that_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync, may_sync = os.fsync, asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(descriptor: int) -> None:
        asyncio.run_coroutine_threadsafe(may_sync.wait(), loop).result(20)
        sync(descriptor)

    async with scene(tmp_path, synced=True) as at:
        monkeypatch.setattr(os, "fsync", slow)
        beginnings = [asyncio.create_task(at.book.begin(at.intent)) for _ in range(3)]
        done, _ = await asyncio.wait(beginnings, timeout=0.05)
        assert not done
        may_sync.set()
        await asyncio.gather(*beginnings)
        monkeypatch.undo()


async def test_a_caller_who_leaves_before_the_intent_is_written_leaves_nothing_taken(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        beginning = asyncio.create_task(at.book.begin(at.intent))
        asyncio.get_running_loop().call_soon(beginning.cancel)
        await asyncio.gather(beginning, return_exceptions=True)

        assert beginning.cancelled()
        assert (at.desk.cancelled, at.desk.given_back, at.book.open_count) == (1, [], 0)
        assert shipped(at.journal) == []


async def test_a_caller_who_leaves_while_the_disk_writes_was_not_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scene(tmp_path, synced=True) as at:
        writing, never = asyncio.Event(), asyncio.Event()

        async def flush(_: GroupSync) -> None:
            writing.set()
            await never.wait()

        monkeypatch.setattr(GroupSync, "flush", flush)
        beginning = asyncio.create_task(at.book.begin(at.intent))
        await writing.wait()
        beginning.cancel()
        await asyncio.gather(beginning, return_exceptions=True)

        (event,) = shipped(at.journal)
        assert (event.outcome, at.book.open_count) == (event_pb2.OUTCOME_ZERO, 0)


async def test_a_sync_that_fails_sends_no_call_and_breaks_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_: int) -> None:
        raise OSError("a disk that fails")

    async with scene(tmp_path, synced=True) as at:
        told: list[str] = []
        at.journal.on_broken = lambda: told.append("broken")
        monkeypatch.setattr(os, "fsync", failing)
        with pytest.raises(JournalBroken):
            await at.book.begin(at.intent)
        with pytest.raises(JournalFull):
            await at.book.begin(at.intent)
        monkeypatch.undo()

        assert told == ["broken"]
        assert at.book.open_count == 0


async def test_a_call_that_cannot_be_put_into_words_takes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its lease would count a call for ever that no record names, and never end."""
    async with scene(tmp_path) as at:
        monkeypatch.setattr(outcome, "pending", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            await at.book.begin(at.intent)

        assert (at.desk.cancelled, at.book.open_count) == (1, 0)
