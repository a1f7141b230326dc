"""Every outcome reaches the server once it is there; the process ends only then, or after its grace."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import grpc
import pytest
from structlog.testing import capture_logs

from om.ingestion.v1 import ingestion_service_pb2 as ingestion_pb
from om.type.v1 import event_pb2
from om_proxy.identity import new_edge
from om_proxy.report import Reporter
from om_proxy.server_client import ServerClient
from tests.proxy.fake_servicer import AWAY, SERVICE_TOKEN, Failure, FakeServer, fake_server, refused

_BATCH_MAX = 500
_BATCH_BYTES_MAX = 4 * 1024 * 1024


def event(number: int, *, size: int = 0) -> event_pb2.UsageEvent:
    line = event_pb2.UsageLine(raw_usage_json="sk-canary" + "x" * size)
    return event_pb2.UsageEvent(event_id=f"evt_{number}", lines=[line])


def ids(events: list[event_pb2.UsageEvent]) -> list[str]:
    return [found.event_id for found in events]


@asynccontextmanager
async def reporting(
    *, queue_max: int = 10_000, delay_s: float = 0.001
) -> AsyncIterator[tuple[Reporter, FakeServer]]:
    async with fake_server() as server:
        client = ServerClient(server.address, SERVICE_TOKEN)
        reporter = Reporter(client, new_edge(), queue_max=queue_max, retry_delay_s=delay_s)
        yield reporter, server
        await reporter.stop(0)
        await client.close()


async def test_outcomes_are_shipped_in_batches_in_their_order_with_gapless_sequences() -> None:
    async with reporting() as (reporter, server):
        for number in range(2 * _BATCH_MAX + 1):
            reporter.report(event(number))
        reporter.start()
        await reporter.stop(10)

    assert [len(batch) for batch in server.batches] == [_BATCH_MAX, _BATCH_MAX, 1]
    assert ids(server.events) == [f"evt_{number}" for number in range(2 * _BATCH_MAX + 1)]
    assert [found.sequence for found in server.events] == list(range(1, 2 * _BATCH_MAX + 2))


async def test_a_batch_stays_below_what_the_server_takes_in_one_message() -> None:
    async with reporting() as (reporter, server):
        for number in range(12):
            reporter.report(event(number, size=1_000_000))
        reporter.start()
        with capture_logs() as logs:
            await reporter.stop(10)

    assert logs == []  # The fake server takes no more than that either.
    assert len(server.events) == 12
    assert all(sum(found.ByteSize() for found in batch) <= _BATCH_BYTES_MAX for batch in server.batches)
    assert max(len(batch) for batch in server.batches) > 1


async def test_an_outcome_above_that_goes_alone() -> None:
    async with reporting() as (reporter, server):
        for number in range(2):
            reporter.report(event(number, size=_BATCH_BYTES_MAX // 2 + 1))
        reporter.start()
        await reporter.stop(10)

    assert [len(batch) for batch in server.batches] == [1, 1]


@pytest.mark.parametrize("failure", [AWAY, refused("EDGE_EPOCH_STALE"), Failure(grpc.StatusCode.INTERNAL)])
async def test_a_batch_that_is_not_taken_is_sent_again_with_the_same_ids(failure: Failure) -> None:
    async with reporting() as (reporter, server):
        server.failures["IngestEvents"] = [failure] * 3
        reporter.report(event(1))
        reporter.start()
        with capture_logs() as logs:
            (taken,) = await server.reported()

    assert (taken.event_id, taken.sequence) == ("evt_1", 1)
    assert server.asked.count("IngestEvents") == 4
    assert [entry["event"] for entry in logs] == ["report_postponed"] * 3
    assert "canary" not in repr(logs)


async def test_an_outcome_that_the_server_cannot_take_does_not_hold_up_the_others() -> None:
    poison = "evt_3"

    async with reporting() as (reporter, server):
        taken = server.took

        async def picky(events: list[event_pb2.UsageEvent]) -> None:
            if poison in ids(events):
                raise RuntimeError("no")
            await taken(events)

        server.took = picky  # type: ignore[method-assign]
        for number in range(8):
            reporter.report(event(number))
        reporter.start()
        await server.reported(7)
        assert poison not in ids(server.events)
        server.took = taken  # type: ignore[method-assign]
        await server.reported(8)

    assert sorted(ids(server.events)) == [f"evt_{number}" for number in range(8)]


async def test_a_defect_in_shipping_ends_neither_the_task_nor_the_outcome(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with reporting() as (reporter, server):
        build = _failing_once()
        monkeypatch.setattr("om_proxy.report.pb.EdgeSource", build)
        reporter.report(event(1))
        reporter.start()
        with capture_logs() as logs:
            await server.reported()

    assert [(entry["event"], entry["kind"]) for entry in logs] == [("report_failed", "ZeroDivisionError")]
    assert "canary" not in repr(logs)


def _failing_once() -> Callable[..., object]:
    original = ingestion_pb.EdgeSource
    failed: list[bool] = []

    def build(**fields: object) -> object:
        if not failed:
            failed.append(True)
            raise ZeroDivisionError("sk-canary")
        return original(**fields)  # type: ignore[arg-type]

    return build


async def test_the_queue_is_full_at_its_bound_and_takes_outcomes_all_the_same() -> None:
    async with reporting(queue_max=2) as (reporter, server):
        full = []
        for number in range(3):
            reporter.report(event(number))
            full.append(reporter.full)
        reporter.start()
        await reporter.stop(10)
        full.append(reporter.full)

    assert full == [False, True, True, False]
    assert len(server.events) == 3


async def test_the_end_does_not_wait_out_a_long_pause_between_two_tries() -> None:
    async with reporting(delay_s=10_000) as (reporter, server):
        server.failures["IngestEvents"] = [AWAY]
        reporter.report(event(1))
        reporter.start()
        await server.until(lambda: "IngestEvents" in server.asked)
        async with asyncio.timeout(10):
            await reporter.stop(10)

    assert ids(server.events) == ["evt_1"]


async def test_what_is_lost_at_the_end_is_counted_and_not_quoted() -> None:
    async with reporting() as (reporter, server):
        server.failures["IngestEvents"] = [AWAY] * 10_000
        for number in range(3):
            reporter.report(event(number))
        reporter.start()
        with capture_logs() as logs:
            await reporter.stop(0.05)

    lost = [entry for entry in logs if entry["log_level"] == "error"]
    assert [(entry["event"], entry["count"]) for entry in lost] == [("reports_lost", 3)]
    assert "canary" not in repr(logs)
    assert server.batches == []


async def test_a_rejected_outcome_is_told_by_its_id() -> None:
    async with reporting() as (reporter, server):
        server.ingest_state = ingestion_pb.INGEST_STATE_REJECTED
        reporter.report(event(1))
        reporter.start()
        with capture_logs() as logs:
            await reporter.stop(10)

    assert [(entry["event"], entry["event_id"]) for entry in logs] == [("report_rejected", "evt_1")]
