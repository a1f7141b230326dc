"""What an edge says of its past, to whom, and what ends it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from om.edge.v1 import edge_service_pb2 as pb
from om_proxy.background import in_background
from om_proxy.edge.life import EdgeLife
from om_proxy.edge.report import Reporter
from om_proxy.edge.watch import JournalNews, Watch
from om_proxy.journal.journal import Journal
from om_proxy.journal.record import LeaseNote
from om_proxy.server.incarnation import Incarnation
from om_proxy.server.server_client import ServerClient
from tests.proxy.fake_servicer import AWAY, SERVICE_TOKEN, FakeServer, fake_server, refused
from tests.proxy.journal.scene import event_of, journal_in, killed, outcome_of

_PATIENCE_S = 20
LEASE = "lse_" + "a" * 26


@dataclass
class Scene:
    journal: Journal
    life: EdgeLife
    stopped: list[str]

    async def ready(self) -> None:
        async with asyncio.timeout(_PATIENCE_S):
            await self.life.ready.wait()

    def call(self, name: str, *, kept: int | None = 4) -> None:
        """Make a call out of the lease; one that keeps nothing known is never sent."""
        self.journal.intend(event_of(name, {LEASE: 9}))
        if kept is not None:
            self.journal.sent(name)
            self.journal.conclude(outcome_of(name, {LEASE: 9}, kept=kept))


@asynccontextmanager
async def edge(server: FakeServer, path: Path, *, boot_id: str = "boot") -> AsyncIterator[Scene]:
    """An edge until the block is left, which is as if it was killed there."""
    client = ServerClient(server.address, SERVICE_TOKEN)
    journal = journal_in(path, boot_id=boot_id)
    reporter = Reporter(client, journal, retry_delay_s=0.001)
    incarnation = Incarnation()
    life = EdgeLife(client, journal, reporter, incarnation=incarnation)
    news = JournalNews(journal.settle, on_queue_changed=reporter.again)
    watch = Watch(client, journal.edge, incarnation=incarnation, hearers=(news.hear,))
    stopped: list[str] = []
    incarnation.on_change(lambda: stopped.append(incarnation.current))
    life.start()
    async with in_background(watch.run()):
        try:
            yield Scene(journal, life, stopped)
        finally:
            await reporter.stop(0)
            tasks = list(life._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            killed(journal)
            await client.close()


def reports(request: pb.ResyncRequest) -> dict[str, tuple[int, int]]:
    return {report.lease_id: (report.final_count, report.keep_nanos) for report in request.leases}


async def test_a_start_tells_of_every_lease_and_ships_what_never_ended(tmp_path: Path) -> None:
    async with fake_server() as server:
        async with edge(server, tmp_path) as first:
            await first.ready()
            first.journal.learn(LEASE)
            first.call("evt_1")
            first.journal.intend(event_of("evt_2", {LEASE: 9}))
            first.journal.sent("evt_2")
            first.call("evt_3", kept=None)
        server.failures["Resync"] = [AWAY] * 2
        async with edge(server, tmp_path) as second:
            await second.ready()
            await server.until(lambda: len(server.events) == 3)
            assert second.journal.reports == ()

        assert reports(server.resyncs[0]) == {}
        assert [reports(request) for request in server.resyncs[1:]] == [{LEASE: (3, 4 + 9)}] * 3
        assert {(request.edge.edge_epoch, request.clean, request.boot_id) for request in server.resyncs} == {
            (1, True, "boot"),
            (2, True, "boot"),
        }
        # They are told once.
        async with edge(server, tmp_path) as third:
            await third.ready()
        assert reports(server.resyncs[-1]) == {}


async def test_after_a_power_cut_no_count_is_to_be_believed(tmp_path: Path) -> None:
    async with fake_server() as server:
        for boot_id in ("one", "two", "two"):
            async with edge(server, tmp_path, boot_id=boot_id) as life:
                await life.ready()

    assert [request.clean for request in server.resyncs] == [True, False, True]


async def test_a_folder_that_is_an_older_copy_begins_above_what_the_server_knows(tmp_path: Path) -> None:
    async with fake_server() as server:
        server.failures["Resync"] = [refused("EDGE_EPOCH_STALE")] * 4
        with capture_logs():
            async with edge(server, tmp_path) as life:
                await life.ready()
                assert life.journal.edge.edge_epoch == 1 + 1 + 2 + 4 + 8

    assert [request.clean for request in server.resyncs] == [True, False, False, False, False]
    assert [request.edge.edge_epoch for request in server.resyncs] == [1, 2, 4, 8, 16]


async def test_another_process_that_speaks_for_it_ends_it(tmp_path: Path) -> None:
    async with fake_server() as server, edge(server, tmp_path) as life:
        await life.ready()
        life.life.stale(life.journal.edge.edge_epoch - 1)
        assert not life.life.ended.done()
        life.life.stale(life.journal.edge.edge_epoch)

        assert "another process speaks for edge edg_" in await life.life.ended


async def test_a_journal_that_breaks_ends_it(tmp_path: Path) -> None:
    async with fake_server() as server, edge(server, tmp_path) as life:
        await life.ready()
        life.journal.fail()

        assert "the journal cannot be written" in await life.life.ended


async def test_a_store_that_was_restored_is_told_everything_and_gets_everything(tmp_path: Path) -> None:
    async with fake_server() as server, edge(server, tmp_path) as life:
        await life.ready()
        life.journal.learn(LEASE)
        life.call("evt_1")
        life.journal.closed(LeaseNote(LEASE, 1, 4))
        life.life._reporter.wake()
        await server.reported(1)
        server.settle()
        async with asyncio.timeout(_PATIENCE_S):
            while not life.journal.covers(1, 1, 1):  # noqa: ASYNC110 - nothing tells of it.
                await asyncio.sleep(0)

        server.store = "inc_2"
        with capture_logs() as logs:
            server.tell(pb.WatchResponse())
            await server.reported(2)
            await life.ready()

        assert life.stopped == ["inc_2"]
        assert [entry["event"] for entry in logs] == ["store_changed"]
        assert reports(server.resyncs[-1]) == {LEASE: (1, 4)}
        assert server.resyncs[-1].edge.edge_epoch == 2
        assert [event.event_id for event in server.events] == ["evt_1", "evt_1"]
        assert life.journal.home.store == "inc_2"


async def test_a_store_that_was_restored_while_it_was_away_is_told_everything_too(tmp_path: Path) -> None:
    """Else it would believe that leases of its past paid for nothing."""
    async with fake_server() as server:
        async with edge(server, tmp_path) as first:
            await first.ready()
            first.journal.learn(LEASE)
            first.call("evt_1")
            first.journal.closed(LeaseNote(LEASE, 1, 4))
        server.store = "inc_2"
        async with edge(server, tmp_path) as second:
            await second.ready()

    assert [reports(request) for request in server.resyncs] == [{}, {LEASE: (1, 4)}]
    assert [request.incarnation for request in server.resyncs] == ["inc_1", "inc_2"]


async def test_a_store_that_is_put_back_while_an_edge_begins_is_told_everything(tmp_path: Path) -> None:
    async with fake_server() as server:
        async with edge(server, tmp_path) as first:
            await first.ready()
            first.journal.learn(LEASE)
            first.call("evt_1")
            first.journal.closed(LeaseNote(LEASE, 1, 4))
        server.failures["Resync"] = [AWAY] * 1_000
        async with edge(server, tmp_path) as second:
            await server.until(lambda: len(server.resyncs) > 1)
            server.store = "inc_2"
            server.tell(pb.WatchResponse())
            await server.until(lambda: server.resyncs[-1].incarnation == "inc_2")
            server.failures["Resync"] = []
            await second.ready()

    assert {(request.incarnation, bool(request.leases)) for request in server.resyncs} == {
        ("inc_1", False),
        ("inc_2", True),
    }


async def test_a_queue_that_was_lost_gets_again_what_is_not_settled(tmp_path: Path) -> None:
    async with fake_server() as server, edge(server, tmp_path) as life:
        await life.ready()
        server.tell(pb.WatchResponse(queue_incarnation="one"))
        life.call("evt_1")
        life.life._reporter.wake()
        await server.reported(1)
        with capture_logs():
            server.tell(pb.WatchResponse(queue_incarnation="two"))
            await server.reported(2)


@pytest.mark.parametrize("store", ["inc_1", "inc_2"])
async def test_a_store_that_forgot_it_is_told_everything_before_anybody_says_which_it_is(
    tmp_path: Path, store: str
) -> None:
    """Whatever is not told of a lease says that it paid for nothing."""
    async with fake_server() as server, edge(server, tmp_path) as life:
        life.life.forgotten(1)
        await life.ready()
        life.journal.learn(LEASE)
        life.call("evt_1")
        life.journal.closed(LeaseNote(LEASE, 1, 4))
        life.life.forgotten(0)
        assert len(server.resyncs) == 1

        server.store = store
        with capture_logs():
            life.life.forgotten(1)
            assert life.stopped == [""]
            await life.ready()

    assert len(server.resyncs) > 1
    assert {tuple(reports(request).items()) for request in server.resyncs[1:]} == {((LEASE, (1, 4)),)}
    assert life.journal.home.store == store
