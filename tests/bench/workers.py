"""What a second worker adds, in front of a server that allows everything at once.

Client and upstream need a processor, too. On a machine of two, two workers share both with them, and the
ratio of calls a second is below what two free processors would give; the processor time of a call shows how
much of it is the workers' own loss.
"""

from __future__ import annotations

import dataclasses
import os
import statistics
from typing import TYPE_CHECKING

import uvloop

from tests.bench import chain
from tests.bench.chain import STAND_IN, UPSTREAM
from tests.bench.deployment import free_ports, proxy
from tests.bench.figure import Figure
from tests.bench.load import closed_loop
from tests.bench.process import fleet

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.bench.process import Fleet, Program

_ONE, _TWO = "one_worker", "two_workers"
_WAYS = (UPSTREAM, _ONE, _TWO)
_CONCURRENCY = 64
_ROUNDS = 5
_WARM_UP_S = 0.5


@dataclasses.dataclass(frozen=True, slots=True)
class _Turn:
    """Calls a second, milliseconds of a worker's processor for each, and processors in use by anybody."""

    per_second: float
    worker_ms: float
    busy: float


def two(folder: Path, seconds: float) -> list[Figure]:
    """Calls a second of one and of two, in turns."""
    ports = dict(zip((*_WAYS, STAND_IN), free_ports(len(_WAYS) + 1), strict=True))
    programs = (
        chain.own(UPSTREAM, ports[UPSTREAM]),
        chain.own(STAND_IN, ports[STAND_IN]),
        _proxy(_ONE, ports, count=1),
        _proxy(_TWO, ports, count=2),
    )
    with fleet(folder / "workers", *programs) as running:
        rounds = uvloop.run(_rounds(running, ports, seconds / _ROUNDS))
    return _figures(rounds)


def _proxy(name: str, ports: dict[str, int], *, count: int) -> Program:
    upstream, target = f"http://127.0.0.1:{ports[UPSTREAM]}", f"127.0.0.1:{ports[STAND_IN]}"
    program = proxy(name, ports[name], upstream=upstream, grpc_target=target, service_token="workers-bench")
    return dataclasses.replace(program, environment={**program.environment, "OM_PROXY_WORKERS": str(count)})


async def _rounds(running: Fleet, ports: dict[str, int], seconds: float) -> list[dict[str, _Turn]]:
    lengths = (_WARM_UP_S, *[seconds] * _ROUNDS)
    rounds = [
        {way: await _turn(running, way, ports[way], seconds=length) for way in _WAYS} for length in lengths
    ]
    return rounds[1:]


async def _turn(running: Fleet, name: str, port: int, *, seconds: float) -> _Turn:
    request = chain.request(stream=False)
    own, upstream, client = running.cpu_s(name), running.cpu_s(UPSTREAM), sum(os.times()[:2])
    run = await closed_loop(port, request, concurrency=_CONCURRENCY, seconds=seconds)
    own, upstream = running.cpu_s(name) - own, running.cpu_s(UPSTREAM) - upstream
    client = sum(os.times()[:2]) - client
    busy = own + client + (0 if name == UPSTREAM else upstream)
    return _Turn(run.per_second, own * 1000 / run.answers, busy / run.elapsed_s)


def _figures(rounds: list[dict[str, _Turn]]) -> list[Figure]:
    def median(name: str, value: Callable[[_Turn], float]) -> float:
        return statistics.median(value(turns[name]) for turns in rounds)

    def per_second(name: str) -> float:
        return median(name, lambda turn: turn.per_second)

    def worker_ms(name: str) -> float:
        return median(name, lambda turn: turn.worker_ms)

    def busy(name: str) -> float:
        return median(name, lambda turn: turn.busy)

    speed = statistics.median(turns[_TWO].per_second / turns[_ONE].per_second for turns in rounds)
    cost = statistics.median(turns[_ONE].worker_ms / turns[_TWO].worker_ms for turns in rounds)
    note = f"of {os.cpu_count()}: worker, client and upstream"
    return [
        Figure("one worker", per_second(_ONE), "calls/s", note=f"{_CONCURRENCY} at a time"),
        Figure("two workers", per_second(_TWO), "calls/s", speed, "one", bar=">= 1.6 (two free cores)"),
        Figure("processor time: one worker", worker_ms(_ONE), "ms/call"),
        Figure("processor time: two workers", worker_ms(_TWO), "ms/call", cost, "one, inverse"),
        Figure("processors in use: one worker", busy(_ONE), "", note=note),
        Figure("processors in use: two workers", busy(_TWO), "", note=note),
    ]
