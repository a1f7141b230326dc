"""Declares what leases paid for: first in the journal, then to the server, until it has answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import structlog

from om.edge.v1 import edge_service_pb2 as edge_pb
from om_proxy.backoff import Backoff
from om_proxy.defect import log_defect
from om_proxy.funding.lease import Declaration
from om_proxy.journal.record import LeaseNote
from om_proxy.server.identity import Edge
from om_proxy.server.incarnation import Incarnation
from om_proxy.server.server_client import ServerAway, ServerClient, ServerRefused

_log = structlog.get_logger(__name__)

_RETRY_DELAY_S = 0.2
_RETRY_DELAY_MAX_S = 5.0
#: The server never had the lease, as after a restore: there is nothing to declare.
_UNKNOWN_LEASE = "NOT_FOUND"
#: Another process of this edge has taken over, and what it finds in the journal it tells itself.
_NOT_OURS = "EDGE_EPOCH_STALE"
#: The store was restored, and the edge is about to say so.
_NOT_YET = "EDGE_NOT_RESYNCED"


class LeaseJournal(Protocol):
    """What is written down about leases. Every call may fail, and then the process has to start again."""

    def has_room(self) -> bool:
        """Whether a call may begin, and so whether a lease is of use."""
        ...

    def learn(self, lease_id: str) -> None:
        """Write down a lease before its first use."""
        ...

    def closing(self, note: LeaseNote) -> None:
        """Write down what will be declared of a lease."""
        ...

    def closed(self, note: LeaseNote) -> None:
        """Write down that the server knows."""
        ...


class LeaseClosing:
    """The only one who calls CloseLease."""

    def __init__(
        self,
        server: ServerClient,
        edge: Edge,
        journal: LeaseJournal,
        *,
        incarnation: Incarnation,
        retry_delay_s: float = _RETRY_DELAY_S,
    ) -> None:
        self._server = server
        self._edge = edge
        self._journal = journal
        self._incarnation = incarnation
        self._retry_delay_s = retry_delay_s
        self._closing: set[asyncio.Task[None]] = set()

    def may_learn(self) -> bool:
        """Whether there is room for what is written down of a lease, without that of calls that are open."""
        return self._journal.has_room()

    def learn(self, lease_id: str) -> None:
        """Write down a lease before its first use."""
        self._journal.learn(lease_id)

    def close(self, declaration: Declaration, on_closed: Callable[[], None] | None = None) -> None:
        """Declare a lease that was used, or might have been."""
        note = LeaseNote(declaration.lease_id, declaration.final_count, declaration.keep_nanos)
        self._journal.closing(note)
        self._start(note, learnt=True, on_closed=on_closed)

    def decline(self, lease_id: str) -> None:
        """Give back a lease that nobody wants: the journal never heard of it, so no call can name it."""
        self._start(LeaseNote(lease_id), learnt=False, on_closed=None)

    async def finish(self, grace_s: float) -> None:
        """Wait for what is being declared; the next resync says the rest."""
        if self._closing:
            await asyncio.wait(self._closing, timeout=grace_s)
        left = list(self._closing)
        if left:
            _log.warning("leases_undeclared", count=len(left))
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def _start(self, note: LeaseNote, *, learnt: bool, on_closed: Callable[[], None] | None) -> None:
        task = asyncio.create_task(self._until_closed(note, learnt=learnt, on_closed=on_closed))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _until_closed(
        self, note: LeaseNote, *, learnt: bool, on_closed: Callable[[], None] | None
    ) -> None:
        report = edge_pb.LeaseReport(
            lease_id=note.lease_id, final_count=note.final_count, keep_nanos=note.keep_nanos
        )
        backoff = Backoff(self._retry_delay_s, most_s=_RETRY_DELAY_MAX_S)
        while (told := await self._told(report)) is False:
            await backoff.pause()
        try:
            if learnt and told:
                self._journal.closed(note)
        except Exception as error:  # noqa: BLE001 - the edge finds the journal broken by itself.
            log_defect("lease_not_noted", error)
        if on_closed is not None:
            on_closed()

    async def _told(self, report: edge_pb.LeaseReport) -> bool | None:
        """Declare once; whether the server knows now, and None where it is not for us to tell it."""
        lease_id = report.lease_id
        # The epoch may have grown since the last attempt.
        request = edge_pb.CloseLeaseRequest(edge=self._edge.to_proto(), report=report)
        try:
            answer = await self._server.ask(self._server.edge.CloseLease, request)
        except ServerAway:
            return False
        except ServerRefused as refused:
            return _after_refusal(lease_id, refused)
        self._incarnation.note(answer.incarnation)
        if answer.state == edge_pb.LEASE_STATE_QUARANTINED:
            _log.error("lease_quarantined", lease_id=lease_id)
        return True


def _after_refusal(lease_id: str, refused: ServerRefused) -> bool | None:
    if refused.reason == _NOT_YET:
        return False
    _log.warning("lease_not_declared", lease_id=lease_id, reason=refused.reason)
    return None if refused.reason == _NOT_OURS else refused.reason == _UNKNOWN_LEASE
