"""An edge with its journal: it leases, spends, ships, and forgets nothing that is not settled."""

from __future__ import annotations

import itertools
import string
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from google.protobuf import timestamp_pb2

from om.edge.v1 import edge_service_pb2 as pb
from om.edge.v1 import edge_service_pb2_grpc
from om.ingestion.v1 import ingestion_service_pb2 as ingestion_pb
from om.ingestion.v1 import ingestion_service_pb2_grpc
from om.type.v1 import event_pb2, usage_pb2
from tests.faults.estate import charge_of
from tests.faults.site import SERVICE_TOKEN
from tests.faults.watching import Watching

if TYPE_CHECKING:
    import random

    from tests.faults.estate import Tenant
    from tests.faults.oracle import Oracle
    from tests.faults.wire import Wire

_TOKENS_IN_MAX, _TOKENS_OUT_MAX = 400, 200
_BOUND = charge_of(_TOKENS_IN_MAX, _TOKENS_OUT_MAX)
_LEASE_CALLS = 6
_GUARD_S = 5.0
_BATCH = 15


@dataclass
class Lease:
    """A lease as the journal has it."""

    lease_id: str
    wallet_id: str
    amount: int
    max_intents: int
    epoch: int
    until: float
    count: int = 0
    kept: int = 0
    closed: bool = False

    @property
    def report(self) -> pb.LeaseReport:
        return pb.LeaseReport(lease_id=self.lease_id, final_count=self.count, keep_nanos=self.kept)


@dataclass
class Record:
    """An outcome, and in which life it was shipped last; -1 is never."""

    event: event_pb2.UsageEvent
    epoch: int
    shipped: int = -1


def usage_line(tokens_in: int, tokens_out: int) -> event_pb2.UsageLine:
    amounts = {"input_tokens": tokens_in, "output_tokens": tokens_out}
    quantities = [
        usage_pb2.Quantity(unit=unit, amount=amount, certainty=usage_pb2.CERTAINTY_MEASURED)
        for unit, amount in amounts.items()
    ]
    usage = usage_pb2.Usage(quantities=quantities)
    return event_pb2.UsageLine(provider="openai", model="gpt-4o", usage=usage)


def moment() -> timestamp_pb2.Timestamp:
    now = timestamp_pb2.Timestamp()
    now.GetCurrentTime()
    return now


class Edge:
    """Many lives over one journal. Any call may raise Away, and is then made again later."""

    def __init__(self, wire: Wire, chance: random.Random, oracle: Oracle, *, prefix: str = "") -> None:
        self.edge_id = "edg_" + "".join(chance.choices(string.digits + string.ascii_lowercase, k=26))
        self.refused = 0
        self.prefix = prefix
        self._wire = wire
        self._chance = chance
        self._oracle = oracle
        self._epoch = 0
        self._journal: list[Record] = []
        self._leases: list[Lease] = []
        #: Admissions without an answer, by key and user.
        self._asked: dict[tuple[str, str], tuple[Tenant, pb.AdmitRequest]] = {}
        self._numbers = itertools.count(1)
        self._watching: Watching | None = None
        self._resynced = False
        self._store_life = 0
        self.restart()

    @property
    def watching(self) -> Watching:
        assert self._watching is not None
        return self._watching

    @property
    def unsettled(self) -> list[Record]:
        return [
            record
            for record in self._journal
            if not self.watching.settled(record.epoch, record.event.sequence)
        ]

    def restart(self) -> None:
        """Begin another epoch over the same journal."""
        self._epoch += 1
        self._sequence = itertools.count(1)
        self._asked.clear()
        self._resynced = False
        self._identity = pb.EdgeIdentity(
            edge_id=self.edge_id, edge_epoch=self._epoch, instance=f"instance-{self._epoch}"
        )
        for record in self._journal:
            record.shipped = -1
        self.close()
        self._watching = Watching(self._wire, self._identity)
        self._store_life = 0

    def close(self) -> None:
        if self._watching is not None:
            self._watching.close()

    def call(self, tenant: Tenant, user_id: str) -> None:
        """Serve a call that a lease pays for; a refused one is not served."""
        self._catch_up()
        lease = self._lease(tenant, user_id)
        if lease is None:
            return
        tokens_in, tokens_out = (
            self._chance.randint(1, _TOKENS_IN_MAX),
            self._chance.randint(1, _TOKENS_OUT_MAX),
        )
        charge = charge_of(tokens_in, tokens_out)
        event_id = f"{self.prefix}{self.edge_id[-6:]}-{next(self._numbers)}"
        lease.count += 1
        lease.kept += charge
        event = event_pb2.UsageEvent(
            event_id=event_id,
            occur_time=moment(),
            attribution=event_pb2.Attribution(user_id=user_id),
            lines=[usage_line(tokens_in, tokens_out)],
            key_id=tenant.key_id,
            sequence=next(self._sequence),
            outcome=event_pb2.OUTCOME_CHARGED,
            funding=[event_pb2.Funding(lease_id=lease.lease_id, bound_nanos=_BOUND, retained_nanos=charge)],
            wallet_id=lease.wallet_id,
            http_status=200,
        )
        self._journal.append(Record(event, self._epoch))
        self._oracle.expect((tenant.organization_id, "proxy", event_id), charge, lease.wallet_id)

    def ship(self, *, everything: bool = False) -> None:
        """Send what is not settled and was not taken in this life of queue and store."""
        self._catch_up()
        life = self.watching.life
        unshipped = [record for record in self.unsettled if record.shipped < life]
        waiting = self._journal if everything else unshipped
        for epoch in sorted({record.epoch for record in waiting}):
            of_epoch = [record for record in waiting if record.epoch == epoch]
            for start in range(0, len(of_epoch), _BATCH):
                self._send(epoch, of_epoch[start : start + _BATCH], life=life)

    def close_leases(self) -> None:
        """Declare what the leases of this epoch paid for, also those of which no answer told."""
        self._catch_up()
        for (_, user_id), (tenant, _) in list(self._asked.items()):
            self._admit(tenant, user_id)
        stub = edge_service_pb2_grpc.EdgeServiceStub(self._wire.channel)
        for lease in self._leases:
            if not lease.closed and lease.epoch == self._epoch:
                request = pb.CloseLeaseRequest(edge=self._identity, report=lease.report)
                self._wire.call(stub.CloseLease, request, secret=SERVICE_TOKEN)
                lease.closed = True

    def _catch_up(self) -> None:
        """Register, and once more where the store is another than before."""
        if self.watching.store_life != self._store_life:
            self.restart()
        if not self._resynced:
            stub = edge_service_pb2_grpc.EdgeServiceStub(self._wire.channel)
            reports = [lease.report for lease in self._leases if lease.epoch < self._epoch]
            request = pb.ResyncRequest(edge=self._identity, boot_id="boot", clean=True, leases=reports)
            self._wire.call(stub.Resync, request, secret=SERVICE_TOKEN)
            self._resynced = True

    def _lease(self, tenant: Tenant, user_id: str) -> Lease | None:
        wallet_id = tenant.wallets[user_id].wallet_id
        for lease in self._leases:
            fits = lease.amount - lease.kept >= _BOUND and lease.count < (lease.max_intents or 10**6)
            usable = lease.epoch == self._epoch and not lease.closed and time.monotonic() < lease.until
            if lease.wallet_id == wallet_id and fits and usable:
                return lease
        return self._admit(tenant, user_id)

    def _admit(self, tenant: Tenant, user_id: str) -> Lease | None:
        """Ask until there is an answer, always with the same key and words."""
        subject = tenant.key_id, user_id
        new = pb.AdmitRequest(
            edge=self._identity,
            idempotency_key=f"{self.edge_id[-6:]}-{self._epoch}-{next(self._numbers)}",
            key_id=tenant.key_id,
            attribution=event_pb2.Attribution(user_id=user_id),
            provider="openai",
            model="gpt-4o",
            bound_nanos=_BOUND,
            min_nanos=_BOUND,
            want_nanos=_BOUND * _LEASE_CALLS,
            priced=True,
        )
        _, request = self._asked.setdefault(subject, (tenant, new))
        stub = edge_service_pb2_grpc.EdgeServiceStub(self._wire.channel)
        answer = self._wire.call(stub.Admit, request, secret=SERVICE_TOKEN)
        del self._asked[subject]
        if not answer.allowed:
            self.refused += 1
            return None
        until = time.monotonic() + answer.lease.time_to_live.seconds - _GUARD_S
        lease = Lease(
            answer.lease.lease_id,
            answer.wallet_id,
            answer.lease.amount_nanos,
            answer.lease.max_intents,
            self._epoch,
            until,
        )
        self._leases.append(lease)
        return lease

    def _send(self, epoch: int, records: list[Record], *, life: int) -> None:
        stub = ingestion_service_pb2_grpc.IngestionServiceStub(self._wire.channel)
        request = ingestion_pb.IngestEventsRequest(
            edge=ingestion_pb.EdgeSource(edge_id=self.edge_id, edge_epoch=epoch),
            events=[record.event for record in records],
        )
        answer = self._wire.call(stub.IngestEvents, request, secret=SERVICE_TOKEN)
        assert not answer.rejected_count, answer
        for record in records:
            record.shipped = life
