"""What becomes of a call whose caller leaves: dropped as on a direct connection, or read to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TypeVar

import structlog

from om_proxy.defect import log_defect
from om_proxy.dialects.attribution import OnDisconnect
from om_proxy.upstream.answer import Answer, UpstreamBroken
from om_proxy.upstream.client import Upstream
from om_proxy.upstream.tally import Tally

_log = structlog.get_logger(__name__)

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Departure:
    """What holds where a request says nothing, and how much is read for nobody at most."""

    chosen: OnDisconnect
    drain_s: float
    drain_bytes_max: int


class Drains:
    """The calls that go on without their callers."""

    def __init__(self, drain_s: float) -> None:
        self._drain_s = drain_s
        self._running: set[asyncio.Task[object]] = set()

    async def outlive(
        self,
        work: Coroutine[object, object, _Result],
        *,
        sent: Callable[[], bool],
        ended: Callable[[], None],
    ) -> _Result:
        """Do this for a caller; go on for a while where the caller leaves, unless nothing was sent yet."""
        task = asyncio.create_task(work)
        # Not in the work itself: a task that is cancelled before its first step never comes to its `finally`.
        task.add_done_callback(lambda _: ended())
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if sent():
                timer = asyncio.get_running_loop().call_later(self._drain_s, task.cancel)
                task.add_done_callback(lambda _: timer.cancel())
            else:
                task.cancel()
            task.add_done_callback(_forsaken)
            raise

    async def close(self, grace_s: float) -> None:
        """Let them go on for so long, then end them."""
        if self._running:
            await asyncio.wait(self._running, timeout=grace_s)
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)


async def read_to_end(answer: Answer, *, upstream: Upstream, tally: Tally, bytes_max: int) -> None:
    """Show the tally what is left of an answer that nobody waits for, unless it is too much."""
    size = 0
    try:
        with upstream.chunks(answer) as chunks:
            async for chunk in chunks:
                tally.take(chunk)
                size += len(chunk)
                if await tally.short() is not None:
                    return
                if size > bytes_max:
                    _log.warning("drain_cut", event_id=tally.intent.event_id)
                    return
    except UpstreamBroken:
        _log.warning("upstream_broken", event_id=tally.intent.event_id)


def _forsaken(task: asyncio.Task[object]) -> None:
    """Note a defect that nobody else sees."""
    error = None if task.cancelled() else task.exception()
    if error is not None:
        log_defect("drain_failed", error)
