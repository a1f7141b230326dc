"""How many events a second become durable in the queue: gRPC batches of 500 to one server process."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import grpc
import uvloop

from om.ingestion.v1 import ingestion_service_pb2 as pb
from om_server.cli.demo import DEVELOPMENT_KEY
from tests.bench import sample
from tests.bench.deployment import prepared
from tests.bench.figure import Figure
from tests.bench.process import fleet

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    _Call = grpc.aio.UnaryUnaryMultiCallable[bytes, pb.IngestEventsResponse]

_BATCH = 500
_IN_FLIGHT = 4
_WARM_UP_BATCHES = 8
_METHOD = "/om.ingestion.v1.IngestionService/IngestEvents"
_BAR = ">= 10,000 (aim 50,000)"


def ingest(folder: Path, seconds: float) -> list[Figure]:
    """On SQLite and on PostgreSQL; settlement does not run meanwhile."""
    speeds = {engine: _measure(folder, engine, seconds) for engine in ("sqlite", "postgresql")}
    sqlite = speeds["sqlite"]
    return [
        Figure("SQLite", sqlite, "events/s", bar=_BAR, note=f"batches of {_BATCH}, {_IN_FLIGHT} at a time"),
        Figure(
            "PostgreSQL", speeds["postgresql"], "events/s", speeds["postgresql"] / sqlite, "SQLite", bar=_BAR
        ),
    ]


def _measure(folder: Path, engine: str, seconds: float) -> float:
    with prepared(folder, engine) as deployed:
        server = deployed.server("tests.bench.intake_server")
        with fleet(deployed.folder / "logs", server):
            return uvloop.run(_speed(deployed.grpc_target, seconds))


async def _speed(target: str, seconds: float) -> float:
    async with grpc.aio.insecure_channel(target) as channel:
        # Bytes go in, so that writing messages does not cost the server its processor.
        call: _Call = channel.unary_unary(_METHOD, response_deserializer=pb.IngestEventsResponse.FromString)
        warm = await _send(call, list(_batches("warm", _WARM_UP_BATCHES)))
        count = max(_IN_FLIGHT, int(seconds * warm / _BATCH))
        return await _send(call, list(_batches("timed", count)))


def _batches(label: str, count: int) -> Iterator[bytes]:
    for batch in range(count):
        events = (sample.message(f"{label}-{batch}-{index}", index) for index in range(_BATCH))
        yield pb.IngestEventsRequest(events=events).SerializeToString()


async def _send(call: _Call, batches: list[bytes]) -> float:
    """Events a second, all of them accepted."""
    queue = iter(batches)
    started = time.perf_counter()
    await asyncio.gather(*(_sender(call, queue) for _ in range(_IN_FLIGHT)))
    return len(batches) * _BATCH / (time.perf_counter() - started)


async def _sender(call: _Call, queue: Iterable[bytes]) -> None:
    for batch in queue:
        answer = await call(batch, metadata=(("authorization", f"Bearer {DEVELOPMENT_KEY}"),))
        if answer.accepted_count != _BATCH:
            raise RuntimeError(f"{answer.rejected_count} events were rejected")
