"""How many calls a second one proxy worker carries, against a bare relay and against no proxy at all.

The ways are measured in turns, several rounds, and compared within a round, because the machine is
shared. Where everything runs on two cores, the client and the server's processes take their part
too; the processor time of the worker itself is what tells how much one worker could carry.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

import uvloop

from tests.bench import chain
from tests.bench.chain import ALONE, PROXY, RELAY, RPC, UPSTREAM, WAYS
from tests.bench.figure import Figure
from tests.bench.load import closed_loop

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.bench.chain import Chain

_CONCURRENCY = 32
_ROUNDS = 5
_WARM_UP_S = 0.3
#: What one worker with a core to itself could carry, against such a relay.
_INVERSE = "relay, inverse"
_BAR = ">= 0.6 (aim 0.85)"


@dataclass(frozen=True, slots=True)
class _Turn:
    """One turn of one way: calls a second, and milliseconds of processor for each call."""

    per_second: float
    worker_ms: float
    rpc_ms: float


@dataclass(frozen=True, slots=True)
class _Round:
    """Every way, one after the other."""

    turns: dict[str, _Turn]
    settled_after_s: float

    def ratio(self, of: str, to: str) -> float:
        return self.turns[of].per_second / self.turns[to].per_second


def plain(folder: Path, seconds: float) -> list[Figure]:
    """Calls that are answered in one piece."""
    return _measure(folder, seconds, stream=False)


def streaming(folder: Path, seconds: float) -> list[Figure]:
    """Calls that are answered as server-sent events."""
    return _measure(folder, seconds, stream=True)


def _measure(folder: Path, seconds: float, *, stream: bool) -> list[Figure]:
    with chain.running(folder) as running:
        rounds = uvloop.run(_rounds(running, chain.request(stream=stream), seconds))
    return _figures(rounds)


async def _rounds(running: Chain, request: bytes, seconds: float) -> list[_Round]:
    for name in WAYS:
        await _turn(running, name, request, seconds=_WARM_UP_S)
    await running.settled_after_s()
    return [await _round(running, request, seconds / _ROUNDS) for _ in range(_ROUNDS)]


async def _round(running: Chain, request: bytes, seconds: float) -> _Round:
    turns = {name: await _turn(running, name, request, seconds=seconds) for name in WAYS}
    # What the proxy's turn left to settle must not cost the next turn its processor.
    return _Round(turns, await running.settled_after_s())


async def _turn(running: Chain, name: str, request: bytes, *, seconds: float) -> _Turn:
    fleet = running.fleet
    worker, rpc = fleet.cpu_s(name), fleet.cpu_s(RPC)
    run = await closed_loop(running.ports[name], request, concurrency=_CONCURRENCY, seconds=seconds)
    worker, rpc = fleet.cpu_s(name) - worker, fleet.cpu_s(RPC) - rpc
    return _Turn(run.per_second, worker * 1000 / run.answers, rpc * 1000 / run.answers)


def _figures(rounds: list[_Round]) -> list[Figure]:
    def median(value: Callable[[_Round], float]) -> float:
        return statistics.median(value(item) for item in rounds)

    def speed(name: str) -> float:
        return median(lambda item: item.turns[name].per_second)

    def worker_ms(name: str) -> float:
        return median(lambda item: item.turns[name].worker_ms)

    def capacity(name: str) -> float:
        return median(lambda item: item.turns[RELAY].worker_ms / item.turns[name].worker_ms)

    relay_ratio = median(lambda item: item.ratio(RELAY, UPSTREAM))
    alone_ratio = median(lambda item: item.ratio(ALONE, RELAY))
    proxy_ratio = median(lambda item: item.ratio(PROXY, RELAY))
    rpc_ms = median(lambda item: item.turns[PROXY].rpc_ms)
    behind_s = median(lambda item: item.settled_after_s)
    return [
        Figure("direct to the upstream", speed(UPSTREAM), "calls/s", note=f"{_CONCURRENCY} at a time"),
        Figure("bare aiohttp relay", speed(RELAY), "calls/s", relay_ratio, "direct"),
        Figure("proxy, server at once", speed(ALONE), "calls/s", alone_ratio, "relay"),
        Figure("proxy", speed(PROXY), "calls/s", proxy_ratio, "relay", bar=_BAR),
        Figure("processor time: relay", worker_ms(RELAY), "ms/call"),
        Figure(
            "processor time: proxy, server at once", worker_ms(ALONE), "ms/call", capacity(ALONE), _INVERSE
        ),
        Figure("processor time: proxy", worker_ms(PROXY), "ms/call", capacity(PROXY), _INVERSE),
        Figure("processor time: server", rpc_ms, "ms/call", note="admission, intake, settlement"),
        Figure("every call is charged after", behind_s, "s", note="from a turn's last answer"),
    ]
