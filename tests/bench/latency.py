"""What the proxy adds to one call at a time, and to the first byte of a stream.

The ways are asked in turns, one request each, so that a slow moment of the machine hits all alike.
"""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import uvloop

from tests.bench import chain
from tests.bench.chain import ALONE, PROXY, RELAY, UPSTREAM, WAYS
from tests.bench.figure import Figure, percentile
from tests.bench.load import connected

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bench.chain import Chain
    from tests.bench.load import Answer

_WARM_UP = 30
_NAMES = {RELAY: "bare relay", ALONE: "proxy, server at once,", PROXY: "proxy"}


def plain(folder: Path, seconds: float) -> list[Figure]:
    """To the whole answer."""
    answers = _answers(folder, seconds, stream=False)
    times = {way: [answer.total_s * 1000 for answer in found] for way, found in answers.items()}
    return _figures(times, bar="<= 1 ms (aim 0.4)")


def first_byte(folder: Path, seconds: float) -> list[Figure]:
    """To the first byte of a stream's body."""
    answers = _answers(folder, seconds, stream=True)
    times = {way: [answer.first_byte_s * 1000 for answer in found] for way, found in answers.items()}
    return _figures(times, bar="+ <= 1 ms")


def _answers(folder: Path, seconds: float, *, stream: bool) -> dict[str, list[Answer]]:
    with chain.running(folder) as running:
        return uvloop.run(_ask(running, chain.request(stream=stream), seconds))


async def _ask(running: Chain, request: bytes, seconds: float) -> dict[str, list[Answer]]:
    answers: dict[str, list[Answer]] = {way: [] for way in WAYS}
    async with AsyncExitStack() as stack:
        connections = {
            way: (await stack.enter_async_context(connected(running.ports[way], 1)))[0] for way in WAYS
        }
        for connection in connections.values():
            for _ in range(_WARM_UP):
                await connection.ask(request)
        end = time.perf_counter() + seconds
        # At least two of each, because a percentile needs them.
        while time.perf_counter() < end or len(answers[PROXY]) < 2:
            for way, connection in connections.items():
                answers[way].append(await connection.ask(request))
    return answers


def _figures(times: dict[str, list[float]], *, bar: str) -> list[Figure]:
    direct = times[UPSTREAM]
    p50, p99 = percentile(direct, 50), percentile(direct, 99)
    figures = [
        Figure("direct, p50", p50, "ms", note=f"{len(direct)} calls each way"),
        Figure("direct, p99", p99, "ms"),
    ]
    for way, name in _NAMES.items():
        own50, own99 = percentile(times[way], 50), percentile(times[way], 99)
        figures += [
            Figure(
                f"{name} adds, p50", own50 - p50, "ms", own50 / p50, "direct", bar=bar if way is PROXY else ""
            ),
            Figure(f"{name} adds, p99", own99 - p99, "ms", own99 / p99, "direct"),
        ]
    return figures
