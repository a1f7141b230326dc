"""The life of one edge: what its journal says of the past is told, what it has is shipped, to its end.

The store is heard in which life it is before anything is said about leases: what is open there after it was
restored is not what was open when it was left.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import structlog

from om.edge.v1 import edge_service_pb2 as pb
from om_proxy.backoff import Backoff
from om_proxy.defect import log_defect
from om_proxy.edge.report import Reporter
from om_proxy.journal.journal import Journal, JournalBroken
from om_proxy.server.incarnation import Incarnation
from om_proxy.server.server_client import ServerAway, ServerClient, ServerRefused

_log = structlog.get_logger(__name__)

_RETRY_DELAY_S = 0.2
_RETRY_DELAY_MAX_S = 2.0
_TIDY_INTERVAL_S = 2.0
#: What one Resync may say. Where there is more, nothing is believed, and leases wait for an owner.
_REPORTS_MAX = 10_000
_STALE = "EDGE_EPOCH_STALE"


class EdgeLife:
    """Runs beside the calls of an edge; also without any, for a journal that has to come to its end."""

    def __init__(
        self, server: ServerClient, journal: Journal, reporter: Reporter, *, incarnation: Incarnation
    ) -> None:
        """Hears of another life of the store before those who are made later."""
        #: Set while the server knows this epoch and its store is the one that was there.
        self.ready = asyncio.Event()
        #: Why it cannot go on, in a sentence for a person.
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._server = server
        self._journal = journal
        self._reporter = reporter
        self._incarnation = incarnation
        self._lock = asyncio.Lock()
        self._begun = False
        self._tasks: set[asyncio.Task[None]] = set()
        journal.on_broken = self._broken
        incarnation.on_change(self._store_changed)

    def start(self) -> None:
        """Live until `close`. Somebody else listens to the server, and notes what it says of the store."""
        self._run(self._begin)

    def forgotten(self, edge_epoch: int) -> None:
        """Begin again, if the server knew this edge in its epoch and knows it no more.

        Only another store has forgotten it. To say less than everything would tell that one that the leases
        which it has of the past paid for nothing.
        """
        if self.ready.is_set() and edge_epoch == self._journal.edge.edge_epoch:
            self._incarnation.forget()

    def stale(self, edge_epoch: int) -> None:
        """End, if another process speaks for this edge in its epoch."""
        if self._begun and edge_epoch == self._journal.edge.edge_epoch:
            self._end(f"another process speaks for edge {self._journal.edge.edge_id}")

    async def close(self, ship_grace_s: float) -> None:
        """Ship what can be shipped in time, end, and give the journal up."""
        await self._reporter.stop(ship_grace_s)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(OSError):
            self._journal.tidy()
        self._journal.close()

    def _store_changed(self) -> None:
        if self._begun:
            _log.warning("store_changed", edge_id=self._journal.edge.edge_id)
            self.ready.clear()
            self._run(self._begin)

    async def _begin(self) -> None:
        """Become ready before the store that is there, at the start and whenever it is another one.

        Another store is told everything, and is shipped everything.
        """
        await self._incarnation.known.wait()
        async with self._lock:
            await self._register()
            if self._begun:
                self._reporter.all_again()
            else:
                self._recover()
        self.ready.set()

    def _recover(self) -> None:
        if ended := self._journal.recover():
            _log.warning("calls_recovered", edge_id=self._journal.edge.edge_id, count=ended)
        self._begun = True
        self._reporter.start()
        self._run(self._tidy)

    async def _register(self) -> None:
        """Tell the server of the past until it has heard it; of all of it where the store is another one."""
        journal = self._journal
        while True:
            store = self._incarnation.current
            if journal.home.store not in {"", store}:
                journal.renew(again=True)
            answered = await self._told(store)
            if answered == store:
                journal.resynced(store)
                return
            # Nobody else needs to hear of it: nothing is spent while this edge is not ready.
            self._incarnation.current = answered

    async def _told(self, store: str) -> str:
        """Ask until there is an answer, or the store is another one meanwhile; give the store's life."""
        step, backoff = 1, Backoff(_RETRY_DELAY_S, most_s=_RETRY_DELAY_MAX_S)
        while self._incarnation.current == store:
            try:
                return await self._resync(store)
            except ServerAway:
                pass
            except ServerRefused as refused:
                _log.error("resync_refused", reason=refused.reason)
                if refused.reason == _STALE and not self._begun:
                    self._rise(step)
                    step *= 2
                    continue
                if refused.reason == _STALE:
                    self.stale(self._journal.edge.edge_epoch)
            await backoff.pause()
        return self._incarnation.current

    def _rise(self, step: int) -> None:
        """Begin a higher epoch: the directory is an older copy of itself, so its past is not all that was."""
        self._journal.home.found_damage()
        self._journal.renew(step=step)

    async def _resync(self, store: str) -> str:
        answer = await self._server.ask(self._server.edge.Resync, self._past(store))
        return answer.incarnation

    def _past(self, store: str) -> pb.ResyncRequest:
        journal = self._journal
        reports = list(journal.reports)[-_REPORTS_MAX:]
        return pb.ResyncRequest(
            edge=journal.edge.to_proto(),
            boot_id=journal.home.boot_id,
            incarnation=store,
            clean=journal.home.clean and len(reports) == len(journal.reports),
            leases=[
                pb.LeaseReport(
                    lease_id=note.lease_id, final_count=note.final_count, keep_nanos=note.keep_nanos
                )
                for note in reports
            ],
        )

    async def _tidy(self) -> None:
        while True:
            await asyncio.sleep(_TIDY_INTERVAL_S)
            try:
                self._journal.tidy()
            except OSError as error:
                log_defect("tidy_failed", error)

    def _run(self, work: Callable[[], Awaitable[None]]) -> None:
        task = asyncio.create_task(self._guarded(work), name="edge")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except (JournalBroken, OSError) as error:
            log_defect("journal_failed", error)
            self._journal.fail()
        except Exception as error:  # noqa: BLE001 - whatever it is, somebody must hear that the edge is gone.
            log_defect("edge_failed", error)
            self._end(f"a defect ended it: {type(error).__name__}")

    def _broken(self) -> None:
        self._end("the journal cannot be written; the next start goes on from what is there")

    def _end(self, reason: str) -> None:
        if not self.ended.done():
            self.ended.set_result(reason)
