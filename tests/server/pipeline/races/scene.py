"""The whole server at a time that a test sets, over real sockets, with edges that speak the contract."""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from om.edge.v1 import edge_service_pb2 as edge_pb
from om.edge.v1 import edge_service_pb2_grpc
from om.ingestion.v1 import ingestion_service_pb2 as ingestion_pb
from om.ingestion.v1 import ingestion_service_pb2_grpc
from om.rating.v1 import rating_service_pb2_grpc
from om.type.v1 import event_pb2, usage_pb2
from om.wallet.v1 import (
    entitlement_service_pb2_grpc,
    wallet_service_pb2,
    wallet_service_pb2_grpc,
)
from om_server import wiring
from om_server.account.keys.key import KeyWish
from om_server.core.page import PageRequest
from om_server.pipeline.worker import drain
from om_server.rpc.caller import Scope
from om_server.wallet.funding import Deposit
from om_server.wallet.store import WalletStore
from om_server.wallet.wallet import Owner, OwnerKind, Wallet
from tests.rpc import bearer, serving
from tests.server.pipeline.harness import CREDIT, Tenant
from tests.server.wallet.conftest import audit

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import grpc

    from om_server.analytics.settled import SettledEvent
    from om_server.core.clock import Clock
    from om_server.storage.database import Database
    from om_server.wallet.leases.lease import Lease

SERVICE = bearer()

#: gpt-4o: 400 tokens in are one credit.
MODEL, TOKENS_OF_A_CREDIT = "gpt-4o", 400


@dataclass(frozen=True, slots=True)
class Office(Tenant):
    """An organization with a key that may do everything."""

    secret: str

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        return bearer(self.secret)


class Server:
    """A running platform whose worker acts when it is told to."""

    def __init__(self, platform: wiring.Platform, channel: grpc.Channel) -> None:
        self.platform = platform
        self.edges = edge_service_pb2_grpc.EdgeServiceStub(channel)
        self.wallets = wallet_service_pb2_grpc.WalletServiceStub(channel)
        self.entitlements = entitlement_service_pb2_grpc.EntitlementServiceStub(channel)
        self.ingestion = ingestion_service_pb2_grpc.IngestionServiceStub(channel)
        self.rating = rating_service_pb2_grpc.RatingServiceStub(channel)
        self._numbers = itertools.count(1)

    def office(self, *, granted: int = 0) -> Office:
        account = self.platform.account
        organization_id = account.create_organization("Haberdashery").organization_id
        team = account.ensure_team(organization_id, "Default")
        made = account.create_key(organization_id, KeyWish(team.team_id, scopes=frozenset(Scope)))
        office = Office(organization_id, team.team_id, made.key.key_id, made.secret)
        if granted:
            self.grant(office, granted)
        return office

    def grant(self, office: Office, amount: int, *, user_id: str = "") -> Wallet:
        kind = OwnerKind.USER if user_id else OwnerKind.ORGANIZATION
        owner = Owner.of(office.organization_id, kind, owner_id=user_id)
        deposit = Deposit(owner, amount, f"grant {next(self._numbers)}")
        return self.platform.wallet.grant_credits(office.organization_id, deposit).wallet

    def edge(self, office: Office, number: int = 0) -> EdgeProcess:
        """The first process over a new journal, resynced."""
        process = EdgeProcess(self, office, f"edg_{number:026d}", 1)
        process.resync()
        return process

    def settle(self) -> None:
        drain(self.platform.worker)

    def event(self, office: Office, event_id: str) -> SettledEvent:
        """What became of an edge's event."""
        found = self.platform.analytics.find_event(office.organization_id, source="proxy", event_id=event_id)
        assert found is not None
        return found

    def leases(self, office: Office) -> dict[str, Lease]:
        wallet = self.platform.wallet.get_wallet(office.organization_id)
        page = self.platform.wallet.list_leases(
            office.organization_id, wallet.wallet_id, page=PageRequest.of(size=200)
        )
        return {lease.lease_id: lease for lease in page.leases}

    def money(self, office: Office) -> tuple[int, int, int]:
        """What the organization's wallet has available, held and owed."""
        wallet = self.platform.wallet.get_wallet(office.organization_id)
        return wallet.available, wallet.held, wallet.receivable

    def verified(self, office: Office) -> bool:
        """Whether VerifyLedger finds nothing wrong, in words if it does."""
        answer = self.wallets.VerifyLedger(wallet_service_pb2.VerifyLedgerRequest(), metadata=office.metadata)
        assert answer.message == ""
        return answer.valid


@dataclass
class EdgeProcess:
    """One process in one life of an edge, which speaks for one organization."""

    server: Server
    office: Office
    edge_id: str
    epoch: int
    sequence: int = 0

    @property
    def identity(self) -> edge_pb.EdgeIdentity:
        instance = f"process-{self.epoch}"
        return edge_pb.EdgeIdentity(edge_id=self.edge_id, edge_epoch=self.epoch, instance=instance)

    def successor(self) -> EdgeProcess:
        """The next process over the same journal, which has not resynced yet."""
        return EdgeProcess(self.server, self.office, self.edge_id, self.epoch + 1)

    def resync(self, *reports: edge_pb.LeaseReport, clean: bool = True) -> edge_pb.ResyncResponse:
        request = edge_pb.ResyncRequest(edge=self.identity, boot_id="boot", clean=clean, leases=reports)
        return self.server.edges.Resync(request, metadata=SERVICE)

    def question(self, key: str, **changes: object) -> edge_pb.AdmitRequest:
        """One call for one credit, unless changed."""
        request = edge_pb.AdmitRequest(
            edge=self.identity,
            idempotency_key=key,
            key_id=self.office.key_id,
            provider="openai",
            model=MODEL,
            bound=[edge_pb.UnitBound(unit="input_tokens", amount=TOKENS_OF_A_CREDIT)],
            bound_nanos=CREDIT,
            min_nanos=CREDIT,
            want_nanos=CREDIT,
            max_intents=1,
            priced=True,
        )
        for name, value in changes.items():
            if name == "attribution":
                request.attribution.CopyFrom(value)  # type: ignore[arg-type] # A table's row.
            else:
                setattr(request, name, value)
        return request

    def admit(self, key: str, **changes: object) -> edge_pb.AdmitResponse:
        return self.server.edges.Admit(self.question(key, **changes), metadata=SERVICE)

    def close(self, lease_id: str, final_count: int, keep: int) -> edge_pb.CloseLeaseResponse:
        request = edge_pb.CloseLeaseRequest(edge=self.identity, report=report(lease_id, final_count, keep))
        return self.server.edges.CloseLease(request, metadata=SERVICE)

    def outcome(
        self,
        event_id: str,
        answer: edge_pb.AdmitResponse,
        *,
        lines: Sequence[event_pb2.UsageLine] = (),
        retained: int | None = None,
        bound: int | None = None,
    ) -> event_pb2.UsageEvent:
        """The outcome of a call of half a credit, unless it says otherwise, that kept its whole bound."""
        self.sequence += 1
        lease = answer.lease
        bound = lease.amount_nanos if bound is None else bound
        funding = event_pb2.Funding(
            lease_id=lease.lease_id, bound_nanos=bound, retained_nanos=bound if retained is None else retained
        )
        return event_pb2.UsageEvent(
            event_id=event_id,
            key_id=self.office.key_id,
            sequence=self.sequence,
            outcome=event_pb2.OUTCOME_CHARGED,
            lines=lines or (line(),),
            funding=[funding] if lease.lease_id else [],
            wallet_id=answer.wallet_id,
        )

    def ship(self, *events: event_pb2.UsageEvent) -> None:
        """Send outcomes; they wait in the queue until somebody settles."""
        source = ingestion_pb.EdgeSource(edge_id=self.edge_id, edge_epoch=self.epoch)
        request = ingestion_pb.IngestEventsRequest(edge=source, events=events)
        answer = self.server.ingestion.IngestEvents(request, metadata=SERVICE)
        assert {result.state for result in answer.results} <= {
            ingestion_pb.INGEST_STATE_ACCEPTED,
            ingestion_pb.INGEST_STATE_DUPLICATE,
        }


def report(lease_id: str, final_count: int, keep: int) -> edge_pb.LeaseReport:
    return edge_pb.LeaseReport(lease_id=lease_id, final_count=final_count, keep_nanos=keep)


def line(tokens: int = TOKENS_OF_A_CREDIT // 2, *, model: str = MODEL) -> event_pb2.UsageLine:
    quantity = usage_pb2.Quantity(unit="input_tokens", amount=tokens, certainty=usage_pb2.CERTAINTY_MEASURED)
    return event_pb2.UsageLine(provider="openai", model=model, usage=usage_pb2.Usage(quantities=[quantity]))


@contextlib.contextmanager
def running(database: Database, clock: Clock) -> Iterator[Server]:
    """Serve a platform; at the end every ledger is replayed, and every column is what its entries say."""
    platform = wiring.build(database, clock=clock)
    with serving(platform.servicers, platform.account.authenticator()) as channel:
        yield Server(platform, channel)
    platform.stop()
    assert [found for found in platform.wallet.verify_all() if found.finding] == []
    database.read(lambda: audit(WalletStore(database)))
