"""Edges with their real journals, desks and call books, before a store in memory.

Everything runs in the time of a loop of its own: minutes take moments, and a seed repeats them.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc

from om.ingestion.v1 import ingestion_service_pb2 as ingestion_pb
from om.type.v1 import event_pb2
from om_proxy.admission import outcome
from om_proxy.admission.outcome import Intent
from om_proxy.admission.spending import Spending
from om_proxy.edge.call_book import CallBook
from om_proxy.edge.life import EdgeLife
from om_proxy.edge.report import Reporter
from om_proxy.journal.home import Home
from om_proxy.journal.journal import Journal, JournalBroken
from om_proxy.metering.reading import Line, Metered
from om_proxy.metering.usage import Certainty, Quantity, Unit, Usage
from om_proxy.server.incarnation import Incarnation
from om_proxy.server.server_client import ServerAway
from tests.proxy.bank import CALL, KNOWN, Bank
from tests.proxy.intents import WHO
from tests.proxy.simulated_store import Store

_SMALL_SEGMENT = 4_096
_EXTENSION = 7
_EDGE: contextvars.ContextVar[set[asyncio.Task[Any]] | None] = contextvars.ContextVar("edge", default=None)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Its time jumps to the next timer whenever nothing is left to do."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self.set_task_factory(_task)

    def time(self) -> float:
        return self._now

    def _run_once(self) -> None:
        timers = self._scheduled  # type: ignore[attr-defined]
        if not self._ready and timers:  # type: ignore[attr-defined]
            # One that was cancelled is skipped by the loop, which would then wait for the next in earnest.
            due = min((timer.when() for timer in timers if not timer.cancelled()), default=self._now)
            self._now = max(self._now, due)
        super()._run_once()  # type: ignore[misc]


def _task(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Task[Any]:
    task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, **options)
    if (group := _EDGE.get()) is not None:
        group.add(task)
    return task


class Link(Bank):
    """An edge's way to the store: what it asks may be lost, and what it is answered too."""

    def __init__(self, store: Store, chance: random.Random) -> None:
        super().__init__()
        self._store = store
        self._chance = chance
        self.trouble = 0.0
        self.cut = False
        self.edge = SimpleNamespace(
            Admit="Admit", CloseLease="CloseLease", GetRateCard="GetRateCard", Resync="Resync"
        )
        self.metadata = grpc.aio.Metadata()

    @property
    def away(self) -> bool:
        return False

    async def ask(self, rpc: Any, request: Any) -> Any:
        return await self._pass(lambda: self._store.answer(rpc, request))

    async def ingest(  # type: ignore[override]
        self, batch: bytes, **options: Any
    ) -> ingestion_pb.IngestEventsResponse:
        del options
        try:
            await self._pass(lambda: self._store.take(batch))
        except ServerAway:
            unavailable, nothing = grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata()
            raise grpc.aio.AioRpcError(unavailable, nothing, nothing) from None
        return ingestion_pb.IngestEventsResponse()

    async def _pass(self, effect: Callable[[], Any]) -> Any:
        for late in (False, True):
            await asyncio.sleep(self._chance.choice((0, 0.001, 0.02, 0.3)))
            if self.cut or self._chance.random() < self.trouble:
                raise ServerAway
            if not late:
                answer = effect()
        return answer


class EdgeProcess:
    """One life of one edge, as the composition root puts it together."""

    def __init__(self, store: Store, path: Path, chance: random.Random) -> None:
        clock = asyncio.get_running_loop().time
        self.tasks: set[asyncio.Task[Any]] = set()
        self.begun: list[str] = []
        self._store, self._chance, self.link = store, chance, Link(store, chance)
        token = _EDGE.set(self.tasks)
        self.journal = Journal(
            Home.enter(path, boot_id="boot", synced=False), segment_bytes=_SMALL_SEGMENT, now=lambda: 0.0
        )
        self.reporter = Reporter(self.link, self.journal, clock=clock)
        incarnation = Incarnation()
        self.life = EdgeLife(self.link, self.journal, self.reporter, incarnation=incarnation)
        self.spending = Spending(
            self.link,
            self.journal.edge,
            journal=self.journal,
            life=self.life,
            incarnation=incarnation,
            grace_s=0,
            clock=clock,
        )
        self.book = CallBook(self.journal, self.spending.desk, on_outcome=self.reporter.wake)
        self.spending.start()
        self.life.start()
        self._incarnation = incarnation
        self._watching = asyncio.create_task(self._watch())
        _EDGE.reset(token)

    def run(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        token = _EDGE.set(self.tasks)
        task = asyncio.create_task(work)
        _EDGE.reset(token)
        return task

    async def kill(self) -> None:
        """End it where it is: nothing that its tasks do on their way out is written or heard."""
        self.link.cut = self.journal.broken = True
        while running := [task for task in self.tasks if not task.done()]:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            await asyncio.sleep(0)
        self.spending._drawers.drop_all()
        self.journal.home.leave()

    async def close(self) -> None:
        """End it as a signal does: behind its last call."""
        self._watching.cancel()
        await self.spending.close(2.0)
        await self.life.close(10.0)
        assert self.book.open_count == 0

    async def call(self, event_id: str) -> None:
        intent = await self.spending.admissions.admit(event_id, KNOWN, call=CALL, who=WHO)
        if not isinstance(intent, Intent):
            return
        try:
            await self.book.begin(intent)
        except JournalBroken:
            return
        self.begun.append(event_id)
        event = outcome.zero(intent)
        try:
            await asyncio.sleep(self._chance.choice((0, 0.01)))
            self.book.sent(intent)
            for tokens in range(self._chance.randint(1, 4)):
                event = _consumed(intent, tokens)
                await asyncio.sleep(self._chance.choice((0, 0.05, 0.4, 3, 40)))
                self.book.checkpoint(intent, _metered(intent, tokens))
                if self.spending.desk.extend(intent.grant, _EXTENSION):
                    await self.book.extended(intent, _metered(intent, tokens))
                event = _consumed(intent, tokens)
        finally:
            self.book.conclude(intent, event)

    async def _watch(self) -> None:
        seen, place, short = self._store.store, len(self._store.settled), self._store.shortages
        while True:
            if seen != self._store.store:
                seen, place = self._store.store, 0
            self._incarnation.note(seen)
            for edge_id, epoch, sequence in self._store.settled[place:]:
                if edge_id == self.journal.edge.edge_id:
                    self.journal.settle(epoch, [(sequence, sequence)])
            place = len(self._store.settled)
            if short != self._store.shortages:
                short = self._store.shortages
                for lease_id in self._store.books.leases:
                    self.spending.desk.recall(lease_id)
            await asyncio.sleep(self._chance.choice((0.01, 0.2, 1)))


def _metered(intent: Intent, tokens: int) -> Metered:
    usage = Usage(
        (
            Quantity(Unit.INPUT_TOKENS, 10, Certainty.MEASURED),
            Quantity(Unit.OUTPUT_TOKENS, tokens, Certainty.MEASURED),
        )
    )
    call = intent.call
    return Metered((Line(call.provider, call.model, call.model, "standard", usage),))


def _consumed(intent: Intent, tokens: int) -> event_pb2.UsageEvent:
    return outcome.consumed(intent, _metered(intent, tokens), http_status=200, latency_ms=1)
