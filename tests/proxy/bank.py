"""A server in memory with one wallet and the real rules of leases, and an edge's spending before it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

from google.protobuf import duration_pb2, timestamp_pb2

from om.account.v1 import account_service_pb2 as account_pb
from om.edge.v1 import edge_service_pb2 as edge_pb
from om.type.v1 import access_pb2, limit_warning_pb2
from om.type.v1 import error_reason_pb2 as reasons
from om_proxy.admission.keys import Key
from om_proxy.admission.outcome import Intent
from om_proxy.admission.spending import Spending
from om_proxy.call.call import Call
from om_proxy.dialects.attribution import Attribution
from om_proxy.journal.record import LeaseNote
from om_proxy.refusals.refusal import Problem
from om_proxy.server.identity import Edge, new_edge
from om_proxy.server.incarnation import Incarnation
from om_proxy.server.server_client import ServerAway, ServerClient, ServerRefused
from tests.proxy.exchange import CHAT_PATH, call_of
from tests.proxy.fake_servicer import KEY, KEY_ID
from tests.proxy.intents import WHO
from tests.proxy.one_edge import CHAT

ORG = "org_test"
TEAM = "tem_test"
WALLET = "wal_test"
KNOWN = Key(KEY_ID, ORG, test_mode=False, team_id=TEAM)
CALL = call_of(CHAT_PATH, CHAT)
#: CHAT's bytes, its one message, and nine tokens of output, at a nano each.
BOUND = len(CHAT) + 16 + 9
NOW_S = 1_700_000_000
_LIFE_S = 60


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Leased:
    """A lease as the server has it."""

    amount: int
    max_intents: int
    report: edge_pb.LeaseReport | None = None


@dataclass
class Bank(ServerClient):
    """What it answers, and what it was asked, by name of the RPC."""

    available: int = 1_000_000
    mode: edge_pb.FundingMode.ValueType = edge_pb.FUNDING_MODE_STRICT
    wallet_id: str = WALLET
    version: int = 1
    down: bool = False
    refusal: edge_pb.Refusal | None = None
    #: Errors that the next calls get, and how many answers are lost behind their effect.
    errors: dict[str, list[Exception]] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)
    #: While it is clear, nothing is answered.
    answers: asyncio.Event = field(default_factory=asyncio.Event)
    asked: list[str] = field(default_factory=list)
    admits: list[edge_pb.AdmitRequest] = field(default_factory=list)
    reports: list[edge_pb.LeaseReport] = field(default_factory=list)
    leases: dict[str, Leased] = field(default_factory=dict)
    selectors: list[tuple[str, str]] = field(default_factory=list)
    #: The soft limits that a call of a feature passes.
    warnings: dict[str, list[str]] = field(default_factory=dict)
    priced: bool = True
    rate: int = 1_000_000
    context_window: int = 8_000
    scopes: list[access_pb2.Scope.ValueType] = field(default_factory=lambda: [access_pb2.SCOPE_PROXY])
    expire_s: int = 0
    revoked: bool = False
    #: What the key says about its calls.
    calls: account_pb.AuthenticateKeyResponse = field(default_factory=account_pb.AuthenticateKeyResponse)
    store: str = "inc_1"
    life_s: float = _LIFE_S
    #: What a lease has at most, where the call that asks needs no more.
    largest: int = 2**62
    _stored: dict[str, edge_pb.AdmitResponse] = field(default_factory=dict)
    _away: bool = False

    def __post_init__(self) -> None:
        self.answers.set()
        self.trusts_us = True
        self.edge: Any = SimpleNamespace(Admit="Admit", CloseLease="CloseLease", GetRateCard="GetRateCard")
        self.account: Any = SimpleNamespace(AuthenticateKey="AuthenticateKey")

    async def trusted(self, patience_s: float) -> bool:
        del patience_s
        return self.trusts_us

    @property
    def away(self) -> bool:
        return self._away

    def count(self, rpc: str) -> int:
        return self.asked.count(rpc)

    async def ask(self, rpc: Any, request: Any) -> Any:
        self.asked.append(rpc)
        await asyncio.sleep(0)
        await self.answers.wait()
        if self.down:
            self._away = True
            raise ServerAway
        self._away = False
        if errors := self.errors.get(rpc):
            raise errors.pop(0)
        answer = getattr(self, f"_answer_{rpc.lower()}")(request)
        if self.lost.get(rpc, 0):
            self.lost[rpc] -= 1
            raise ServerAway
        return answer

    def _answer_authenticatekey(
        self, request: account_pb.AuthenticateKeyRequest
    ) -> account_pb.AuthenticateKeyResponse:
        if request.secret != KEY or self.revoked:
            raise ServerRefused("CREDENTIAL_INVALID")
        answer = account_pb.AuthenticateKeyResponse(
            key_id=KEY_ID, organization_id=ORG, team_id=TEAM, scopes=self.scopes
        )
        answer.MergeFrom(self.calls)
        if self.expire_s:
            answer.expire_time.CopyFrom(timestamp_pb2.Timestamp(seconds=self.expire_s))
        return answer

    def _answer_getratecard(self, request: edge_pb.GetRateCardRequest) -> edge_pb.GetRateCardResponse:
        units = ("input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens")
        rates = [edge_pb.UnitRate(unit=unit, nanos_per_million=self.rate) for unit in units]
        model = edge_pb.ModelRate(
            priced=self.priced,
            rates=rates if self.priced else [],
            context_window=self.context_window,
            output_tokens_max=100,
        )
        return edge_pb.GetRateCardResponse(
            models=[model],
            time_to_live=duration_pb2.Duration(seconds=60),
            hard_limit_selectors=[
                edge_pb.HardLimitSelector(scope=kind, id=name) for kind, name in self.selectors
            ],
        )

    def _answer_admit(self, request: edge_pb.AdmitRequest) -> edge_pb.AdmitResponse:
        self.admits.append(request)
        if (stored := self._stored.get(request.idempotency_key)) is not None:
            return stored
        answer = edge_pb.AdmitResponse(
            allowed=True,
            wallet_id=self.wallet_id,
            funding_mode=self.mode,
            organization_id=ORG,
            resolution_version=self.version,
            incarnation=self.store,
            warnings=[
                limit_warning_pb2.LimitWarning(limit_id=name)
                for name in self.warnings.get(request.attribution.feature_id, ())
            ],
        )
        refusal = self.refusal
        if self.wallet_id and self.available < request.min_nanos:
            refusal = edge_pb.Refusal(
                reason=reasons.ERROR_REASON_INSUFFICIENT_FUNDS,
                needed_nanos=request.min_nanos,
                available_nanos=self.available,
            )
        if refusal is not None:
            answer.allowed = False
            answer.refusal.CopyFrom(refusal)
        elif request.want_nanos and (self.wallet_id or self.selectors):
            self._lease(request, answer)
            self._stored[request.idempotency_key] = answer
        return answer

    def _lease(self, request: edge_pb.AdmitRequest, answer: edge_pb.AdmitResponse) -> None:
        fair = max(request.min_nanos, self.available // 5)
        amount = max(request.min_nanos, min(request.want_nanos, fair, self.largest)) if self.wallet_id else 0
        self.available -= amount
        lease_id = f"lse_{len(self.leases):026d}"
        self.leases[lease_id] = Leased(amount, request.max_intents)
        answer.lease.lease_id, answer.lease.wallet_id = lease_id, self.wallet_id
        answer.lease.amount_nanos, answer.lease.max_intents = amount, request.max_intents
        answer.lease.time_to_live.FromMilliseconds(int(self.life_s * 1000))

    def _answer_closelease(self, request: edge_pb.CloseLeaseRequest) -> edge_pb.CloseLeaseResponse:
        report = request.report
        self.reports.append(report)
        lease = self.leases.get(report.lease_id)
        if lease is None:
            raise ServerRefused("NOT_FOUND")
        if lease.report is None:
            lease.report = report
            self.available += lease.amount - report.keep_nanos
        assert lease.report.final_count == report.final_count, "a declared count never changes"
        return edge_pb.CloseLeaseResponse(state=edge_pb.LEASE_STATE_CLOSING, incarnation=self.store)


@dataclass
class Notes:
    """A journal that remembers what was written about leases, in order."""

    written: list[tuple[str, str]] = field(default_factory=list)
    room: bool = True

    def has_room(self) -> bool:
        return self.room

    def learn(self, lease_id: str) -> None:
        self.written.append(("learn", lease_id))

    def closing(self, note: LeaseNote) -> None:
        self.written.append(("closing", note.lease_id))

    def closed(self, note: LeaseNote) -> None:
        self.written.append(("closed", note.lease_id))


class Life:
    """An edge that is registered."""

    def __init__(self) -> None:
        self.ready = asyncio.Event()
        self.ready.set()
        self.stale_epochs: list[int] = []
        self.forgotten_epochs: list[int] = []

    def forgotten(self, edge_epoch: int) -> None:
        self.forgotten_epochs.append(edge_epoch)

    def stale(self, edge_epoch: int) -> None:
        self.stale_epochs.append(edge_epoch)


class Till:
    """An edge's spending, with a clock of the test's."""

    def __init__(self, bank: Bank, *, grace_s: float = 900.0, wait_s: float = 0.05) -> None:
        self.bank = bank
        self.clock = Clock()
        self.edge: Edge = new_edge()
        self.notes, self.life, self.incarnation = Notes(), Life(), Incarnation()
        self.incarnation.note(bank.store)
        self.spending = Spending(
            bank,
            self.edge,
            journal=self.notes,
            life=self.life,
            incarnation=self.incarnation,
            grace_s=grace_s,
            clock=self.clock,
        )
        self.desk = self.spending.desk
        self.desk._shortfall_wait_s = wait_s
        self.drawers = self.spending._drawers
        self.keys = self.spending.keys
        self.hear: Callable[[edge_pb.WatchResponse], None] = self.spending.changes.hear
        self.hear(edge_pb.WatchResponse())

    async def admit(
        self, *, call: Call = CALL, who: Attribution = WHO, user_id: str = "", event_id: str = "evt_1"
    ) -> Intent | Problem:
        who = replace(who, user_id=user_id) if user_id else who
        return await self.spending.admissions.admit(event_id, KNOWN, call=call, who=who)

    async def admitted(self, **options: Any) -> Intent:
        answer = await self.admit(**options)
        assert isinstance(answer, Intent), answer
        return answer

    def give_back(self, intent: Intent, kept: int = 0) -> tuple[int, ...]:
        shares = intent.grant.shares(kept)
        self.desk.give_back(intent.grant, shares)
        return shares

    async def sweep(self) -> None:
        """Declare what is due, and wait until the server has been told."""
        self.drawers.sweep()
        await settle()

    async def busy(self) -> None:
        """Make two calls, so that the next one finds a lease for many."""
        for _ in range(3):
            self.give_back(await self.admitted())
        await settle()


async def settle() -> None:
    """Let every task that can go on go on."""
    for _ in range(20):
        await asyncio.sleep(0)


async def until(reached: Callable[[], bool]) -> None:
    """Wait for what a task does behind a short pause of its own."""
    async with asyncio.timeout(5):
        while not reached():  # noqa: ASYNC110 - nobody here could set an event.
            await asyncio.sleep(0.001)
