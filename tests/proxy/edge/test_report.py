"""The journal's tail on its way to the server: nothing lost, nothing changed, whatever the server does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from structlog.testing import capture_logs

from om_proxy.edge import report
from om_proxy.edge.report import Reporter
from om_proxy.journal.journal import Journal
from om_proxy.server.server_client import ServerClient
from tests.proxy.fake_servicer import AWAY, SERVICE_TOKEN, Failure, FakeServer, fake_server
from tests.proxy.journal.scene import event_of, journal_in, killed, outcome_of

_MALFORMED = Failure(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")
_SMALL = 700


@dataclass
class Tail:
    """A journal and what ships it. The clock goes where a test puts it."""

    server: FakeServer
    journal: Journal
    reporter: Reporter
    time: list[float] = field(default_factory=lambda: [0.0])

    def call(self, *names: str) -> None:
        for name in names:
            self.journal.intend(event_of(name))
            self.journal.conclude(outcome_of(name))
        self.reporter.wake()

    @property
    def names(self) -> list[str]:
        return [event.event_id for event in self.server.events]


@contextlib.asynccontextmanager
async def tail(path: Path, *, start: bool = True, segment_bytes: int = 10**6) -> AsyncIterator[Tail]:
    async with fake_server() as server:
        client = ServerClient(server.address, SERVICE_TOKEN)
        journal = journal_in(path, segment_bytes=segment_bytes)
        time = [0.0]
        reporter = Reporter(client, journal, retry_delay_s=0.001, clock=lambda: time[0])
        if start:
            reporter.start()
        try:
            yield Tail(server, journal, reporter, time)
        finally:
            await reporter.stop(0)
            await client.close()
            killed(journal)


async def test_outcomes_arrive_in_their_order_with_their_positions_and_ours(tmp_path: Path) -> None:
    async with tail(tmp_path) as shipping:
        shipping.call(*(f"evt_{number}" for number in range(1_200)))
        events = await shipping.server.reported(1_200)

        assert [event.sequence for event in events] == list(range(1, 1_201))
        assert max(len(batch) for batch in shipping.server.batches) <= 500
        edge = shipping.journal.edge
        assert {(source.edge_id, source.edge_epoch) for source in shipping.server.sources} == {
            (edge.edge_id, 1)
        }
        assert shipping.server.credentials == {f"Bearer {SERVICE_TOKEN}"}


async def test_what_a_process_before_left_is_shipped_under_its_own_epoch(tmp_path: Path) -> None:
    before = journal_in(tmp_path)
    for name in ("evt_1", "evt_2"):
        before.intend(event_of(name))
        before.conclude(outcome_of(name))
    killed(before)

    async with tail(tmp_path) as shipping:
        shipping.call("evt_3")
        events = await shipping.server.reported(3)

        assert [(event.event_id, event.sequence) for event in events] == [
            ("evt_1", 1),
            ("evt_2", 2),
            ("evt_3", 1),
        ]
        assert [source.edge_epoch for source in shipping.server.sources] == [1, 2]


@pytest.mark.acceptance("B-024")
async def test_a_server_that_is_away_gets_everything_to_the_byte_when_it_is_back(tmp_path: Path) -> None:
    async with tail(tmp_path) as shipping:
        shipping.server.failures["IngestEvents"] = [AWAY] * 6
        shipping.call("evt_1")
        await shipping.server.until(lambda: shipping.server.asked.count("IngestEvents") > 3)
        shipping.call("evt_2", "evt_3")
        await shipping.server.reported(3)

        assert shipping.names == ["evt_1", "evt_2", "evt_3"]
        assert len({bytes(data) for data in shipping.server.raw[:3]}) == 1


@pytest.mark.acceptance("B-024", "B-145")
async def test_an_hour_without_a_server_loses_nothing_and_keeps_nothing_in_memory(tmp_path: Path) -> None:
    async with tail(tmp_path, segment_bytes=20_000) as shipping:
        shipping.server.failures["IngestEvents"] = [AWAY] * 3
        for minute in range(60):
            shipping.time[0] = 60.0 * minute
            shipping.call(*(f"evt_{minute}_{number}" for number in range(50)))
        assert len(shipping.reporter._shipped) == 0
        await shipping.server.reported(3_000)

        assert len(set(shipping.names)) == 3_000
        assert len(shipping.reporter._shipped) <= len(shipping.journal.spans())


@pytest.mark.parametrize(
    "failure", [_MALFORMED, Failure(grpc.StatusCode.INTERNAL), Failure(grpc.StatusCode.UNKNOWN)]
)
async def test_one_event_that_the_server_cannot_take_does_not_stand_before_the_others(
    tmp_path: Path, failure: Failure
) -> None:
    async with tail(tmp_path, start=False) as shipping:
        shipping.server.indigestible = {"evt_3": failure}
        shipping.call(*(f"evt_{number}" for number in range(8)))
        shipping.reporter.start()
        await shipping.server.until(lambda: len(shipping.server.events) == 7)

        assert sorted(shipping.names) == [f"evt_{number}" for number in range(8) if number != 3]
        # It is not forgotten either.
        shipping.server.indigestible = {}
        shipping.time[0] += report._AGAIN_AFTER_S + 1
        shipping.reporter.wake()
        await shipping.server.until(lambda: "evt_3" in shipping.names)


async def test_what_is_not_settled_in_ten_minutes_is_shipped_again_and_nothing_else(tmp_path: Path) -> None:
    async with tail(tmp_path, segment_bytes=_SMALL) as shipping:
        shipping.call(*(f"evt_{number}" for number in range(30)))
        await shipping.server.reported(30)
        shipping.journal.settle(1, [(1, 9), (11, 20), (22, 30)])
        shipping.time[0] += report._AGAIN_AFTER_S - 1
        shipping.call("evt_late")
        await shipping.server.reported(31)

        shipping.time[0] += 2
        shipping.reporter.wake()
        await shipping.server.reported(33)
        assert shipping.names[-2:] == ["evt_9", "evt_20"]

        shipping.time[0] += report._AGAIN_AFTER_S + 1
        shipping.journal.settle(1, [(1, 31)])
        shipping.reporter.wake()
        await settled_down(shipping)
        assert len(shipping.names) == 33


async def test_what_is_shipped_again_stays_within_its_budget(tmp_path: Path) -> None:
    async with tail(tmp_path) as shipping:
        shipping.call(*(f"evt_{number}" for number in range(3_000)))
        await shipping.server.reported(3_000)
        shipping.reporter._allowed = 0.0
        shipping.reporter.again()
        shipping.time[0] += 1.0
        await shipping.server.until(lambda: len(shipping.names) >= 3_000 + report._AGAIN_PER_S)
        await settled_down(shipping)
        assert len(shipping.names) == 3_000 + report._AGAIN_PER_S

        shipping.time[0] += 1.0
        shipping.reporter.wake()
        await shipping.server.until(lambda: len(shipping.names) == 3_000 + 2 * report._AGAIN_PER_S)


async def test_a_queue_that_lost_everything_gets_what_is_not_settled(tmp_path: Path) -> None:
    async with tail(tmp_path) as shipping:
        shipping.call("evt_1", "evt_2", "evt_3")
        await shipping.server.reported(3)
        shipping.journal.settle(1, [(2, 2)])
        shipping.time[0] += 1
        shipping.reporter.again()
        await shipping.server.reported(5)

        assert shipping.names[3:] == ["evt_1", "evt_3"]
        assert shipping.server.raw[1] != shipping.server.raw[0]


async def test_a_store_that_is_another_one_gets_everything_also_what_was_settled(tmp_path: Path) -> None:
    async with tail(tmp_path, segment_bytes=_SMALL) as shipping:
        names = [f"evt_{number}" for number in range(30)]
        shipping.call(*names)
        await shipping.server.reported(30)
        shipping.journal.settle(1, [(1, 30)])
        shipping.journal.tidy()

        shipping.journal.renew(again=True)
        shipping.journal.resynced("another store")
        shipping.time[0] += 1
        shipping.reporter.all_again()
        shipping.call("evt_new")
        await shipping.server.reported(61)
        assert sorted(shipping.names[30:]) == sorted([*names, "evt_new"])


async def test_the_end_ships_what_waits(tmp_path: Path) -> None:
    async with tail(tmp_path) as shipping:
        shipping.server.failures["IngestEvents"] = [AWAY] * 2
        shipping.call("evt_1", "evt_2")
        await shipping.reporter.stop(10)

        assert shipping.names == ["evt_1", "evt_2"]


async def test_the_end_does_not_wait_for_ever_and_leaves_the_rest_in_the_journal(tmp_path: Path) -> None:
    async with tail(tmp_path) as shipping:
        shipping.server.failures["IngestEvents"] = [AWAY] * 1_000
        shipping.call("evt_1")
        await shipping.reporter.stop(0.05)
        assert shipping.names == []
    async with tail(tmp_path) as shipping:
        await shipping.server.reported(1)


async def test_a_defect_does_not_end_the_shipping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with tail(tmp_path) as shipping:
        read: Callable[..., object] = shipping.journal.read

        def broken(*_: object, **__: object) -> object:
            monkeypatch.setattr(shipping.journal, "read", read)
            raise ZeroDivisionError("sk-canary")

        monkeypatch.setattr(shipping.journal, "read", broken)
        with capture_logs() as logs:
            shipping.call("evt_1")
            await shipping.server.reported(1)

    assert [entry["kind"] for entry in logs if entry["log_level"] == "error"] == ["ZeroDivisionError"]
    assert "canary" not in repr(logs)


async def settled_down(shipping: Tail) -> None:
    """Let the reporter look once more and find nothing."""
    looked = asyncio.Event()
    again = shipping.reporter._ship_again

    async def looking() -> bool:
        found = await again()
        if not found:
            looked.set()
        return found

    shipping.reporter._ship_again = looking  # type: ignore[method-assign]
    shipping.reporter.wake()
    await looked.wait()
    shipping.reporter._ship_again = again  # type: ignore[method-assign]
