"""Everything that decides before a call and pays for it, put together for one edge."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from om.edge.v1 import edge_service_pb2 as edge_pb
from om_proxy.admission.admission import Admissions
from om_proxy.admission.admitter import Admitter
from om_proxy.admission.ask import Ask
from om_proxy.admission.changes import Changes
from om_proxy.admission.keys import KeyRing
from om_proxy.admission.lease_desk import LeaseDesk
from om_proxy.admission.lease_request import LeaseRequests
from om_proxy.admission.limit_warnings import LimitWarnings
from om_proxy.admission.payers import Payers
from om_proxy.admission.rate_cards import RateCards
from om_proxy.funding.drawers import Drawers, LeaseTotals
from om_proxy.funding.lease_closing import LeaseClosing, LeaseJournal
from om_proxy.server.identity import Edge, new_admit_key
from om_proxy.server.incarnation import Incarnation
from om_proxy.server.server_client import ServerClient


class Life(Protocol):
    """What an edge's life does for who spends."""

    @property
    def ready(self) -> asyncio.Event:
        """Set while the server knows this epoch and its store is the one that was there."""
        ...

    def forgotten(self, edge_epoch: int) -> None:
        """Begin again, if the server knew this edge in its epoch and knows it no more."""
        ...

    def stale(self, edge_epoch: int) -> None:
        """End, if another process speaks for this edge in its epoch."""
        ...


class Spending:
    """What one edge spends, and what it remembers of the server's answers."""

    def __init__(  # noqa: PLR0913 - what one edge is made of, named by the composition root
        self,
        server: ServerClient,
        edge: Edge,
        *,
        journal: LeaseJournal,
        life: Life,
        incarnation: Incarnation,
        grace_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`grace_s`: how long calls go on without money while the server is away, where that is allowed.

        The life must hear of another incarnation first, so that no lease is taken until it is ready again.
        """
        self._edge = edge
        warnings = LimitWarnings(clock=clock)
        self._admitter = Admitter(
            server,
            incarnation,
            ready=life.ready,
            on_forgotten=life.forgotten,
            on_stale=life.stale,
            on_answer=warnings.note,
            clock=clock,
        )
        self._closing = LeaseClosing(server, edge, journal, incarnation=incarnation)
        self._cards = RateCards(server, clock=clock)
        self._payers = Payers(self._who_pays, clock=clock)
        self._drawers = Drawers(self._closing, ready=life.ready.is_set, clock=clock)
        requests = LeaseRequests(
            edge,
            self._admitter,
            self._closing,
            payers=self._payers,
            drawers=self._drawers,
            clock=clock,
        )
        #: For the handler.
        self.keys = KeyRing(server, clock=clock)
        #: For the call book.
        self.desk = LeaseDesk(requests, self._drawers, self._payers, clock=clock)
        #: For the handler.
        self.admissions = Admissions(
            self.keys, self._cards, self._payers, desk=self.desk, warnings=warnings, grace_s=grace_s
        )
        #: For the stream of changes.
        self.changes = Changes(self.keys, self._cards, self._payers, desk=self.desk)
        self._task: asyncio.Task[None] | None = None
        incarnation.on_change(self._drawers.drop_all)

    def leases(self) -> LeaseTotals:
        """Tell what lies here."""
        return self._drawers.totals()

    def start(self) -> None:
        """Give back in the background what is due."""
        self._task = asyncio.create_task(self.desk.run(), name="leases")

    async def close(self, grace_s: float) -> None:
        """Give every lease back and tell the server, for a bounded time: behind the last call."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._drawers.close(grace_s)
        await self._admitter.close(grace_s)
        self._drawers.end_all()
        await self._closing.finish(grace_s)
        for cache in (self.keys, self._cards, self._payers):
            await cache.close()

    async def _who_pays(self, ask: Ask) -> edge_pb.AdmitResponse:
        request = ask.request(self._edge, new_admit_key(), minimum=0, want=0, max_intents=0)
        return await self._admitter.question(request)
