"""How long the server takes to admit a call: Admit with CloseLease, and CheckEntitlement, over gRPC.

One organization's wallet pays, so that all calls at a time wait for one lock. The client runs in this
process, and its part of the time is in the figures.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import TYPE_CHECKING

import grpc
import uvloop

from om.edge.v1 import edge_service_pb2 as edge_pb
from om.edge.v1 import edge_service_pb2_grpc
from om.type.v1 import event_pb2
from om.wallet.v1 import entitlement_service_pb2 as entitlement_pb
from om.wallet.v1 import entitlement_service_pb2_grpc
from om_server.account.development import KEY_ID
from om_server.cli.demo import DEVELOPMENT_KEY
from tests.bench import sample
from tests.bench.deployment import prepared
from tests.bench.figure import Figure, percentile
from tests.bench.process import fleet

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    _Call = Callable[[int], Awaitable[None]]
    _Metadata = tuple[tuple[str, str], ...]

_ENGINES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}
_CONCURRENCIES = (1, 8)
_WARM_UP = 50
_EDGE = edge_pb.EdgeIdentity(edge_id="edg_00000000000000000000bench0", edge_epoch=1, instance="bench-process")
_BOUND = 10**9


def lease(folder: Path, seconds: float) -> list[Figure]:
    """A lease for one call is opened, and closed because the call was not sent."""
    return _figures(folder, seconds, _leases, bar={"postgresql": "p99 <= 10 ms"})


def entitlement(folder: Path, seconds: float) -> list[Figure]:
    """A caller asks with its key whether a call of one line may be made."""
    return _figures(folder, seconds, _checks, bar=dict.fromkeys(_ENGINES, "p99 <= 5 ms (aim 1)"))


def _figures(
    folder: Path,
    seconds: float,
    calls: Callable[[grpc.aio.Channel, str], Awaitable[dict[str, _Call]]],
    *,
    bar: dict[str, str],
) -> list[Figure]:
    figures: list[Figure] = []
    for engine, name in _ENGINES.items():
        with prepared(folder, engine) as deployed:
            server = deployed.server("tests.bench.intake_server")
            with fleet(deployed.folder / "logs", server):
                times = uvloop.run(
                    _measure(deployed.grpc_target, deployed.service_token, calls, seconds=seconds)
                )
        for (what, concurrency), taken in times.items():
            note = f"{concurrency} at a time, {len(taken)} calls"
            p50, p99 = percentile(taken, 50), percentile(taken, 99)
            alone = bar.get(engine, "") if concurrency == 1 else ""
            figures.append(Figure(f"{name}, {what}, p50", p50, "ms", note=note))
            figures.append(Figure(f"{name}, {what}, p99", p99, "ms", p99 / p50, "its p50", bar=alone))
    return figures


async def _measure(
    target: str,
    service_token: str,
    calls: Callable[[grpc.aio.Channel, str], Awaitable[dict[str, _Call]]],
    *,
    seconds: float,
) -> dict[tuple[str, int], list[float]]:
    """Milliseconds of every call, by what was called and how many were under way."""
    numbers = itertools.count()
    found: dict[tuple[str, int], list[float]] = {}
    async with grpc.aio.insecure_channel(target) as channel:
        steps = await calls(channel, service_token)
        await _repeat(steps, numbers, {name: [] for name in steps}, end=time.perf_counter(), least=_WARM_UP)
        for concurrency in _CONCURRENCIES:
            taken: dict[str, list[float]] = {name: [] for name in steps}
            end = time.perf_counter() + seconds / len(_CONCURRENCIES)
            await asyncio.gather(*(_repeat(steps, numbers, taken, end=end) for _ in range(concurrency)))
            found.update(((name, concurrency), times) for name, times in taken.items())
    return found


async def _repeat(
    steps: dict[str, _Call],
    numbers: Iterator[int],
    taken: dict[str, list[float]],
    *,
    end: float,
    # A percentile needs two.
    least: int = 2,
) -> None:
    for done in itertools.count():
        if done >= least and time.perf_counter() >= end:
            return
        number = next(numbers)
        for name, step in steps.items():
            started = time.perf_counter()
            await step(number)
            taken[name].append((time.perf_counter() - started) * 1000)


async def _leases(channel: grpc.aio.Channel, service_token: str) -> dict[str, _Call]:
    stub = edge_service_pb2_grpc.EdgeServiceStub(channel)
    metadata = _bearer(service_token)
    await stub.Resync(edge_pb.ResyncRequest(edge=_EDGE, boot_id="bench", clean=True), metadata=metadata)
    opened: dict[int, str] = {}

    async def admit(number: int) -> None:
        request = edge_pb.AdmitRequest(
            edge=_EDGE,
            idempotency_key=f"bench-{number}",
            key_id=KEY_ID,
            attribution=event_pb2.Attribution(customer_id="customer", user_id="user", feature_id="feature"),
            provider="openai",
            model="gpt-4o-mini",
            bound_nanos=_BOUND,
            min_nanos=_BOUND,
            want_nanos=_BOUND,
            max_intents=1,
            priced=True,
        )
        answer = await stub.Admit(request, metadata=metadata)
        if not answer.lease.amount_nanos:
            raise RuntimeError(f"no lease was opened: {answer.refusal}")
        opened[number] = answer.lease.lease_id

    async def close(number: int) -> None:
        report = edge_pb.LeaseReport(lease_id=opened.pop(number), final_count=0, keep_nanos=0)
        answer = await stub.CloseLease(
            edge_pb.CloseLeaseRequest(edge=_EDGE, report=report), metadata=metadata
        )
        if answer.released_nanos != _BOUND:
            raise RuntimeError("the lease was not released")

    return {"Admit": admit, "CloseLease": close}


async def _checks(channel: grpc.aio.Channel, service_token: str) -> dict[str, _Call]:
    del service_token
    stub = entitlement_service_pb2_grpc.EntitlementServiceStub(channel)
    line = sample.message("bench", 0).lines[0]
    request = entitlement_pb.CheckEntitlementRequest(
        attribution=event_pb2.Attribution(customer_id="customer", user_id="user", feature_id="feature"),
        lines=[line],
    )
    metadata = _bearer(DEVELOPMENT_KEY)

    async def check(number: int) -> None:
        del number
        if not (await stub.CheckEntitlement(request, metadata=metadata)).allowed:
            raise RuntimeError("the call was refused")

    return {"CheckEntitlement": check}


def _bearer(secret: str) -> _Metadata:
    return (("authorization", f"Bearer {secret}"),)
