"""A store in memory with one wallet, which obeys the contract's rules of leases and counts every nano."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from om.edge.v1 import edge_service_pb2 as edge_pb
from om.ingestion.v1 import ingestion_service_pb2 as ingestion_pb
from om.type.v1 import error_reason_pb2 as reasons
from om.type.v1 import event_pb2
from om_proxy.server.server_client import ServerRefused
from om_server.wallet.leases.declaration import declare
from om_server.wallet.leases.edge import EdgeEpochStale, EdgeNotResynced, require_current, require_successor
from om_server.wallet.leases.lease import (
    ENDED,
    EdgeIdentity,
    Lease,
    LeaseReport,
    LeaseRequest,
    LeaseState,
    lease_amount,
)
from tests.proxy.bank import KNOWN, WALLET, Bank

_LIFE_S = 60


@dataclass
class Books:
    """What a backup holds."""

    available: int
    revenue: int = 0
    receivable: int = 0
    leases: dict[str, Lease] = field(default_factory=dict)
    answers: dict[str, str] = field(default_factory=dict)
    edges: dict[str, EdgeIdentity] = field(default_factory=dict)
    charged: dict[str, int] = field(default_factory=dict)
    retained: dict[str, int] = field(default_factory=dict)

    @property
    def held(self) -> int:
        return sum(lease.remaining for lease in self.leases.values())


class Store(Bank):
    """One wallet and its leases; `alarms` tells what should not be."""

    def __init__(self, available: int, clock: Callable[[], float]) -> None:
        super().__init__()
        self.clock = clock
        self.books = Books(available)
        self.first = available
        self.alarms: list[str] = []
        self.settled: list[tuple[str, int, int]] = []
        self.shortages = 0
        self.declared: dict[tuple[str, int], str] = {}
        self._ids = 0

    def answer(self, rpc: str, request: Any) -> Any:
        try:
            return getattr(self, f"_answer_{rpc.lower()}")(request)
        except EdgeEpochStale:
            raise ServerRefused("EDGE_EPOCH_STALE") from None
        except EdgeNotResynced:
            raise ServerRefused("EDGE_NOT_RESYNCED") from None

    def restore(self, backup: Books) -> None:
        self.books = copy.deepcopy(backup)
        self.store = f"{self.store}'"
        self.settled = []

    def check(self) -> None:
        books = self.books
        assert books.available >= 0
        assert books.available + books.held + books.revenue - books.receivable == self.first

    def take(self, batch: bytes) -> None:
        request = ingestion_pb.IngestEventsRequest.FromString(batch)
        for event in request.events:
            self._settle(event, request.edge)

    def _answer_resync(self, request: edge_pb.ResyncRequest) -> edge_pb.ResyncResponse:
        if request.incarnation not in {"", self.store}:
            return edge_pb.ResyncResponse(incarnation=self.store)
        edge = _identity(request.edge)
        registered = self.books.edges.get(edge.edge_id)
        if registered is not None:
            require_successor(edge, registered)
        self.books.edges[edge.edge_id] = edge
        reports = {report.lease_id: report for report in request.leases}
        assert request.clean
        for lease in list(self.books.leases.values()):
            past = lease.edge_id == edge.edge_id and lease.edge_epoch < edge.edge_epoch
            report = reports.get(lease.lease_id)
            if past and lease.state not in ENDED and (report is not None or lease.keep is None):
                self._declare(lease, report or edge_pb.LeaseReport(lease_id=lease.lease_id))
        return edge_pb.ResyncResponse(incarnation=self.store)

    def _answer_admit(self, request: edge_pb.AdmitRequest) -> edge_pb.AdmitResponse:
        edge = _identity(request.edge)
        require_current(edge, self.books.edges.get(edge.edge_id))
        answer = edge_pb.AdmitResponse(
            allowed=True,
            wallet_id=WALLET,
            funding_mode=self.mode,
            organization_id=KNOWN.organization_id,
            resolution_version=1,
            incarnation=self.store,
        )
        if not request.want_nanos:
            return answer
        lease_id = self.books.answers.get(request.idempotency_key) or self._open(edge, request, answer)
        if lease_id:
            lease = self.books.leases[lease_id]
            answer.lease.lease_id, answer.lease.wallet_id = lease_id, WALLET
            answer.lease.amount_nanos, answer.lease.max_intents = lease.amount, lease.max_intents
            answer.lease.time_to_live.FromMilliseconds(max(0, lease.expire_time - int(self.clock() * 1000)))
        return answer

    def _open(self, edge: EdgeIdentity, request: edge_pb.AdmitRequest, answer: edge_pb.AdmitResponse) -> str:
        books, least, want = self.books, request.min_nanos, request.want_nanos
        asked = LeaseRequest(WALLET, edge, request.idempotency_key, "", least, want, request.max_intents)
        amount = lease_amount(asked, spendable=books.available)
        if amount > books.available:
            self.shortages += 1
            answer.allowed = False
            answer.refusal.CopyFrom(
                edge_pb.Refusal(
                    reason=reasons.ERROR_REASON_INSUFFICIENT_FUNDS, available_nanos=books.available
                )
            )
            return ""
        self._ids += 1
        lease_id, now = f"lse_{self._ids:06d}", int(self.clock() * 1000)
        books.available -= amount
        books.answers[request.idempotency_key] = lease_id
        books.leases[lease_id] = Lease(
            KNOWN.organization_id, lease_id, WALLET, edge.edge_id, edge.edge_epoch, request.idempotency_key,
            "", amount, amount, request.max_intents, now + _LIFE_S * 1000, now,
            final_count=1 if request.max_intents == 1 else None,
        )  # fmt: skip
        return lease_id

    def _answer_closelease(self, request: edge_pb.CloseLeaseRequest) -> edge_pb.CloseLeaseResponse:
        edge = _identity(request.edge)
        require_current(edge, self.books.edges.get(edge.edge_id))
        lease = self.books.leases.get(request.report.lease_id)
        if lease is None:
            raise ServerRefused("NOT_FOUND")
        self._declare(lease, request.report)
        return edge_pb.CloseLeaseResponse(state=edge_pb.LEASE_STATE_CLOSING, incarnation=self.store)

    def _declare(self, lease: Lease, report: edge_pb.LeaseReport) -> None:
        declared = declare(lease, LeaseReport(lease.lease_id, report.final_count, report.keep_nanos))
        if declared.alarm is not None:
            self.alarms.append(f"{declared.alarm} {lease} {report}")
        self.declared.setdefault((lease.lease_id, report.final_count), self.store)
        if len({count for lease_id, count in self.declared if lease_id == lease.lease_id}) > 1:
            self.alarms.append(f"lease_declared differently: {lease} {report}")
        self._save(declared.lease, released=declared.release)

    def _save(self, lease: Lease, *, released: int) -> None:
        done = lease.state is LeaseState.CLOSING and lease.settled_count == lease.final_count
        state = LeaseState.CLOSED if done else lease.state
        self.books.available += released
        self.books.leases[lease.lease_id] = replace(lease, remaining=lease.remaining - released, state=state)

    def _settle(self, event: event_pb2.UsageEvent, edge: ingestion_pb.EdgeSource) -> None:
        self.settled.append((edge.edge_id, edge.edge_epoch, event.sequence))
        books = self.books
        if event.event_id in books.charged:
            return
        due = books.charged[event.event_id] = cost_of(event)
        for part in event.funding:
            lease = books.leases.get(part.lease_id)
            if lease is None or lease.state in ENDED:
                self.alarms.append(f"{event.event_id} names {part.lease_id}, which is {lease}")
                continue
            books.retained[part.lease_id] = books.retained.get(part.lease_id, 0) + part.retained_nanos
            captured = min(due, part.retained_nanos, lease.remaining)
            due -= captured
            books.revenue += captured
            last = lease.ends_next
            after = replace(
                lease,
                settled_count=lease.settled_count + 1,
                remaining=lease.remaining - captured,
                state=LeaseState.CLOSED if last else lease.state,
            )
            self._save(after, released=after.remaining if last else 0)
            if lease.keep is not None and books.retained[part.lease_id] > lease.keep:
                self.alarms.append(f"{part.lease_id} keeps more than was declared")
        if due:
            self.alarms.append(f"{event.event_id} is {due} over its bound")
            paid = min(due, books.available)
            books.available -= paid
            books.revenue += due
            books.receivable += due - paid


def cost_of(event: event_pb2.UsageEvent) -> int:
    """What an event costs at a nano for each token."""
    return sum(quantity.amount for line in event.lines for quantity in line.usage.quantities)


def _identity(edge: edge_pb.EdgeIdentity) -> EdgeIdentity:
    return EdgeIdentity(edge.edge_id, edge.edge_epoch, edge.instance)
