"""Two hundred spenders at once on one wallet: exactly what it is worth is accepted, over real sockets."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from om.edge.v1 import edge_service_pb2 as edge_pb
from om.type.v1 import error_reason_pb2
from om.wallet.v1 import wallet_service_pb2 as wallet_pb
from om_server.rpc.convert import credits_to_proto
from om_server.wallet.leases.lease import LeaseState
from tests.rpc import failure_of
from tests.server.pipeline.harness import CREDIT
from tests.server.pipeline.races.scene import SERVICE, EdgeProcess, Office, Server, line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    #: Of several RPCs, whose answers are not looked at.
    Call = grpc.Future[Any]

SPENDERS = 200
WORTH = 37
#: Half a credit is left over, which pays for nobody.
GRANTED = WORTH * CREDIT + CREDIT // 2
LEFT = CREDIT // 2
EDGES = 4


@pytest.fixture(name="office")
def make_office(server: Server) -> Office:
    return server.office(granted=GRANTED)


@pytest.fixture(name="edge")
def make_edge(server: Server, office: Office) -> EdgeProcess:
    return server.edge(office)


def hold_of(server: Server, office: Office, key: str) -> Call:
    wallet_id = server.platform.wallet.get_wallet(office.organization_id).wallet_id
    request = wallet_pb.CreateHoldRequest(
        wallet_id=wallet_id, amount=credits_to_proto(CREDIT), idempotency_key=key
    )
    return server.wallets.CreateHold.future(request, metadata=office.metadata)


def deduction_of(server: Server, office: Office, key: str) -> Call:
    request = wallet_pb.DeductCreditsRequest(amount=credits_to_proto(CREDIT), idempotency_key=key)
    return server.wallets.DeductCredits.future(request, metadata=office.metadata)


def outcomes(calls: Sequence[Call]) -> Counter[str]:
    """How often each answer came: "" for what was done, else the reason why not."""
    found: Counter[str] = Counter()
    for call in calls:
        error = call.exception()
        found[failure_of(error).reason if isinstance(error, grpc.RpcError) else ""] += 1
    return found


def admissions(edge: EdgeProcess) -> dict[str, edge_pb.AdmitResponse]:
    """Ask for every spender at once, each with a key of its own."""
    keys = [f"evt_{number}" for number in range(SPENDERS)]
    calls = [edge.server.edges.Admit.future(edge.question(key), metadata=SERVICE) for key in keys]
    return {key: call.result() for key, call in zip(keys, calls, strict=True)}


def test_exactly_as_many_calls_are_admitted_as_the_wallet_is_worth(
    server: Server, office: Office, edge: EdgeProcess
) -> None:
    answers = admissions(edge)

    admitted = {key: answer for key, answer in answers.items() if answer.allowed}
    assert len(admitted) == WORTH
    for answer in answers.values():
        if not answer.allowed:
            refusal = answer.refusal
            assert refusal.reason == error_reason_pb2.ERROR_REASON_INSUFFICIENT_FUNDS
            assert (refusal.needed_nanos, refusal.available_nanos < CREDIT) == (CREDIT, True)
    assert server.money(office) == (LEFT, WORTH * CREDIT, 0)
    assert server.verified(office)
    # Whose answer was lost asks again and gets the same.
    again = admissions(edge)
    assert {key: answer.lease.lease_id for key, answer in again.items()} == {
        key: answer.lease.lease_id for key, answer in answers.items()
    }
    edge.ship(*(edge.outcome(key, answer, lines=[line(400)]) for key, answer in admitted.items()))
    server.settle()
    assert server.money(office) == (LEFT, 0, 0)
    assert server.verified(office)


@pytest.mark.parametrize("ask", [hold_of, deduction_of])
def test_exactly_as_many_holds_or_deductions_are_made_as_the_wallet_is_worth(
    server: Server, office: Office, ask: Callable[[Server, Office, str], Call]
) -> None:
    keys = [f"key {number}" for number in range(SPENDERS)]

    calls = [ask(server, office, key) for key in keys]

    assert outcomes(calls) == {"": WORTH, "INSUFFICIENT_FUNDS": SPENDERS - WORTH}
    available, held, owed = server.money(office)
    assert (available, held, owed) == (LEFT, WORTH * CREDIT if ask is hold_of else 0, 0)
    assert server.verified(office)


def test_holds_deductions_and_calls_together_spend_no_more_than_there_is(
    server: Server, office: Office, edge: EdgeProcess
) -> None:
    made: list[Call] = []
    asked: list[grpc.Future[edge_pb.AdmitResponse]] = []
    for number in range(SPENDERS):
        if number % 4 == 0:
            made.append(hold_of(server, office, f"hold {number}"))
        elif number % 4 == 1:
            made.append(deduction_of(server, office, f"deduction {number}"))
        else:
            question = edge.question(f"evt_{number}")
            asked.append(server.edges.Admit.future(question, metadata=SERVICE))

    admitted = sum(call.result().allowed for call in asked)
    done = outcomes(made)

    assert set(done) <= {"", "INSUFFICIENT_FUNDS"}
    assert done[""] + admitted == WORTH
    available, _, owed = server.money(office)
    assert (available, owed) == (LEFT, 0)
    assert server.verified(office)


@dataclass
class Spending:
    """What an edge knows of one lease."""

    answer: edge_pb.AdmitResponse
    left: int
    event_ids: list[str] = field(default_factory=list)
    closed: bool = False

    def room(self) -> bool:
        full = 0 < self.answer.lease.max_intents <= len(self.event_ids)
        return not self.closed and not full and self.left >= CREDIT


class LocalSpender:
    """An edge that spends from what it has leased, and asks only when that is too little."""

    def __init__(self, process: EdgeProcess, waiting: Sequence[str]) -> None:
        self.process = process
        self.waiting = list(waiting)
        self.leases: list[Spending] = []
        self.asked = 0

    @property
    def accepted(self) -> int:
        return sum(len(lease.event_ids) for lease in self.leases)

    def spend_all(self) -> None:
        """Serve who waits; who is refused waits on."""
        self.waiting = [event_id for event_id in self.waiting if not self._spend(event_id)]

    def _spend(self, event_id: str) -> bool:
        lease = next((lease for lease in self.leases if lease.room()), None)
        if lease is None:
            self.asked += 1
            answer = self.process.admit(event_id, want_nanos=5 * CREDIT, max_intents=0)
            if not answer.allowed:
                return False
            lease = Spending(answer, answer.lease.amount_nanos)
            self.leases.append(lease)
        lease.left -= CREDIT
        lease.event_ids.append(event_id)
        return True

    def give_back_what_is_recalled(self) -> int:
        """Close the leases that neighbours are short of; return what that freed."""
        recalled = self.process.server.platform.wallet.recalled_leases(self.process.edge_id, since=0)
        names = {lease.lease_id for lease in recalled}
        return sum(self._close(lease) for lease in self.leases if lease.answer.lease.lease_id in names)

    def close_all(self) -> None:
        for lease in self.leases:
            if not lease.closed:
                self._close(lease)

    def _close(self, lease: Spending) -> int:
        lease.closed = True
        spent = len(lease.event_ids)
        return self.process.close(lease.answer.lease.lease_id, spent, spent * CREDIT).released_nanos

    def ship(self) -> None:
        for lease in self.leases:
            for event_id in lease.event_ids:
                outcome = self.process.outcome(event_id, lease.answer, lines=[line(400)], bound=CREDIT)
                self.process.ship(outcome)


def together(acts: Sequence[Callable[[], object]]) -> None:
    """Let them act at once, each on a thread."""
    barrier = threading.Barrier(len(acts))

    def run(act: Callable[[], object]) -> None:
        barrier.wait(30)
        act()

    with ThreadPoolExecutor(len(acts)) as pool:
        for done in [pool.submit(run, act) for act in acts]:
            done.result()


def test_edges_that_spend_from_leases_serve_exactly_as_many_calls_as_the_wallet_is_worth(
    server: Server, office: Office
) -> None:
    """Nobody is refused for good while a neighbour's lease lies idle, and nobody overspends."""
    edges = [
        LocalSpender(
            server.edge(office, number), [f"evt_{number}_{spender}" for spender in range(SPENDERS // EDGES)]
        )
        for number in range(EDGES)
    ]
    rounds = 0
    freed = 1
    while freed:
        together([edge.spend_all for edge in edges])
        rounds += 1
        accepted = sum(edge.accepted for edge in edges)
        assert accepted <= WORTH
        freed = sum(edge.give_back_what_is_recalled() for edge in edges)

    assert accepted == WORTH
    assert all(edge.waiting for edge in edges)
    # Leases were for several calls, or this would be the same as admitting every call.
    assert any(len(lease.event_ids) > 1 for edge in edges for lease in edge.leases)
    together([*(edge.close_all for edge in edges), *(edge.ship for edge in edges), server.settle])
    server.settle()
    assert server.money(office) == (LEFT, 0, 0)
    assert {lease.state for lease in server.leases(office).values()} == {LeaseState.CLOSED}
    assert server.verified(office)
