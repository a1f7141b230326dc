"""Long streams against a bare relay, and what a proxy worker needs for a thousand open ones."""

from __future__ import annotations

import asyncio
import statistics
from typing import TYPE_CHECKING

import uvloop

from tests.bench import chain
from tests.bench.chain import PROXY, RELAY
from tests.bench.figure import Figure
from tests.bench.load import closed_loop, connected
from tests.bench.upstream import HELD, LONG, LONG_CHUNKS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bench.chain import Chain

_CONCURRENCY = 4
_ROUNDS = 5
_WARM_UP_S = 0.3
_OPEN = 1_000
_OPENING_TIMEOUT_S = 60.0
#: Opened so many at a time, because a listener's backlog is finite.
_GROUP = 100


def long_stream(folder: Path, seconds: float) -> list[Figure]:
    """Chunks a second of streams of 2,000 chunks, each written by itself."""
    with chain.running(folder) as running:
        rounds = uvloop.run(_rounds(running, seconds / _ROUNDS))
    relay, proxy = (statistics.median(turn[way] for turn in rounds) for way in (RELAY, PROXY))
    ratio = statistics.median(turn[PROXY] / turn[RELAY] for turn in rounds)
    return [
        Figure("bare aiohttp relay", relay, "chunks/s", note=f"{_CONCURRENCY} streams at a time"),
        Figure("proxy", proxy, "chunks/s", ratio, "relay", bar=">= 0.6"),
    ]


async def _rounds(running: Chain, seconds: float) -> list[dict[str, float]]:
    request = chain.request(stream=True, user=LONG)
    rounds = []
    for length in (_WARM_UP_S, *[seconds] * _ROUNDS):
        turn = {}
        for way in (RELAY, PROXY):
            run = await closed_loop(running.ports[way], request, concurrency=_CONCURRENCY, seconds=length)
            turn[way] = run.per_second * LONG_CHUNKS
        rounds.append(turn)
    return rounds[1:]


def open_streams(folder: Path, seconds: float) -> list[Figure]:
    """Memory of one worker while a thousand streams have begun and stand still."""
    del seconds
    with chain.running(folder) as running:
        before = running.fleet.memory_mb(PROXY)
        during = uvloop.run(_while_open(running))
    return [
        Figure("proxy, no stream", before, "MB"),
        Figure(f"proxy, {_OPEN:,} open streams", during, "MB", bar="<= 400 MB"),
        Figure("of each stream", (during - before) * 1000 / _OPEN, "kB"),
    ]


async def _while_open(running: Chain) -> float:
    request = chain.request(stream=True, user=HELD)
    async with connected(running.ports[PROXY], _OPEN) as connections:
        async with asyncio.timeout(_OPENING_TIMEOUT_S):
            for start in range(0, _OPEN, _GROUP):
                await asyncio.gather(*(one.begin(request) for one in connections[start : start + _GROUP]))
        return running.fleet.memory_mb(PROXY)
