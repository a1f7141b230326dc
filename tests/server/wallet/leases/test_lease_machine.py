"""Leases against a reference over random histories of an edge, its crashes, and its owner's decisions.

Hypothesis finds the shortest history that breaks a rule; the seeded runs are longer, and weighted so
that leases live long enough to be used.
"""

import itertools
import random
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from om_server.core.event import Funding
from om_server.core.ids import IdSource
from om_server.core.page import PageRequest
from om_server.storage.database import Database
from om_server.wallet.charging import Charge
from om_server.wallet.funding import Deposit
from om_server.wallet.holds.escrow import EscrowKind
from om_server.wallet.holds.hold import HoldConflict
from om_server.wallet.holds.suspense import Decision
from om_server.wallet.leases.closing import Past
from om_server.wallet.leases.edge import EdgeEpochStale
from om_server.wallet.leases.lease import EdgeIdentity, LeaseReport, LeaseRequest
from om_server.wallet.ledger import InsufficientFunds
from om_server.wallet.operations import WalletOperations
from om_server.wallet.store import WalletStore
from om_server.wallet.wallet import Owner, OwnerKind
from tests.server.wallet.conftest import audit
from tests.server.wallet.leases.lease_reference import Loan, Purse
from tests.server.wallet.scene import FakeClock

WHICH = st.integers(0, 3)
SMALL = st.integers(0, 6)
WHY = Decision("mem_1", "lost")
_NAMES = itertools.count()


@dataclass
class Intent:
    """A call that names a lease; `retained` is its bound until it has an outcome."""

    event_id: str
    held: "Held"
    bound: int
    retained: int
    cost: int = 0
    done: bool = False
    delivered: bool = False


@dataclass
class Held:
    """A lease as the edge's journal knows it, beside its twin in the reference."""

    lease_id: str
    loan: Loan
    epoch: int
    known: bool
    closed: bool = False
    intents: list[Intent] = field(default_factory=list)

    @property
    def left(self) -> int:
        return self.loan.amount - sum(intent.retained for intent in self.intents)

    @property
    def report(self) -> LeaseReport:
        keep = sum(intent.retained for intent in self.intents)
        return LeaseReport(self.lease_id, len(self.intents), keep)


class LeaseMachine(RuleBasedStateMachine):
    """One edge, one strict wallet, one organization for each history."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        ids = IdSource(lambda: 1_763_700_000_000, secrets.token_bytes)
        self.wallets = WalletOperations(database, WalletStore(database), ids=ids, clock=FakeClock())
        name = next(_NAMES)
        self.org, self.edge_id, self.epoch = f"org_{name}", f"edg_{name}", 1
        self.owner = Owner.of(self.org, OwnerKind.ORGANIZATION)
        self.purse = Purse()
        self.held: list[Held] = []
        self.numbers = itertools.count()
        self._fund(20)
        self.wallet_id = self.wallets.get_wallet(self.org).wallet_id
        self.wallets.resync(self.edge, Past("boot"))

    @property
    def edge(self) -> EdgeIdentity:
        return EdgeIdentity(self.edge_id, self.epoch, f"process-{self.epoch}")

    def _fund(self, amount: int) -> None:
        self.wallets.grant_credits(self.org, Deposit(self.owner, amount, f"fund-{next(self.numbers)}"))
        self.purse.fund(amount)

    @rule(amount=st.integers(1, 9))
    def fund(self, amount: int) -> None:
        self._fund(amount)

    @rule(amount=st.integers(1, 12), one=st.booleans(), lost=st.booleans())
    def admit(self, amount: int, one: bool, lost: bool) -> None:  # noqa: FBT001 - drawn values
        """Where the answer is lost, the edge never learns of its lease."""
        key = f"key-{next(self.numbers)}"
        request = LeaseRequest(self.wallet_id, self.edge, key, key, amount, amount, int(one))
        loan = self.purse.lend(amount, one=one)
        if loan is None:
            with pytest.raises(InsufficientFunds):
                self.wallets.open_lease(self.org, request)
            return
        lease = self.wallets.open_lease(self.org, request)
        assert lease is not None
        assert self.wallets.open_lease(self.org, request) == lease
        self.held.append(Held(lease.lease_id, loan, self.epoch, known=not lost))

    @rule(which=WHICH, bound=SMALL)
    def intend(self, which: int, bound: int) -> None:
        """An edge spends only what it knows, in its own epoch, before it closes the lease."""
        usable = [
            held
            for held in self.held
            if held.known and not held.closed and held.epoch == self.epoch
            and held.left >= bound and not (held.loan.one and held.intents)
        ]  # fmt: skip
        if usable:
            held = usable[which % len(usable)]
            held.intents.append(Intent(f"evt-{next(self.numbers)}", held, bound, bound))

    @rule(which=WHICH, retained=SMALL, cost=SMALL)
    def finish(self, which: int, retained: int, cost: int) -> None:
        """The cost is sometimes above what was kept: the rate card was wrong."""
        open_intents = [intent for intent in self._intents() if not intent.done]
        if open_intents:
            intent = open_intents[which % len(open_intents)]
            intent.retained, intent.cost, intent.done = min(retained, intent.bound), cost, True

    @rule(which=WHICH, kind=st.sampled_from([None, None, None, EscrowKind.UNRATED, EscrowKind.DEAD_LETTER]))
    def deliver(self, which: int, kind: EscrowKind | None) -> None:
        """In any order; what was set aside is delivered again until it is rated."""
        waiting = [
            intent
            for intent in self._intents()
            if intent.done and (not intent.delivered or intent.event_id in self.purse.parked)
        ]
        if waiting:
            self._settle(waiting[which % len(waiting)], kind)

    def _settle(self, intent: Intent, kind: EscrowKind | None) -> None:
        loan = intent.held.loan
        parts = (Funding(intent.held.lease_id, intent.bound, intent.retained),)
        cost = 0 if kind else intent.cost
        charge = Charge("proxy", intent.event_id, cost, self.wallet_id, parts, self.edge_id, keep=kind)
        self.wallets.settle_charges(self.org, [charge])
        self.purse.settle(intent.event_id, loan, intent.cost, retained=intent.retained, park=kind is not None)
        intent.delivered = True

    @rule(which=WHICH, again=st.booleans())
    def close(self, which: int, again: bool) -> None:  # noqa: FBT001 - a drawn value
        """Also a lease of an earlier epoch, and again when less is kept."""
        known = [held for held in self.held if held.known]
        if known:
            held = known[which % len(known)]
            held.closed = True
            for _ in range(1 + again):
                self._declare(held, held.report)

    @rule(which=WHICH, count=st.integers(0, 3))
    def misremember(self, which: int, count: int) -> None:
        """An edge that counts wrong, once it has counted right."""
        closed = [held for held in self.held if held.closed and held.loan.keep is not None]
        if closed:
            held = closed[which % len(closed)]
            self._declare(held, LeaseReport(held.lease_id, count, held.report.keep))

    def _declare(self, held: Held, report: LeaseReport) -> None:
        closed = self.wallets.close_lease(self.edge, report)
        assert closed.released == self.purse.declare(held.loan, report.final_count, keep=report.keep)

    @rule(clean=st.sampled_from([True, True, False]), repeats=st.integers(1, 2))
    def restart(self, clean: bool, repeats: int) -> None:  # noqa: FBT001 - a drawn value
        """The old process may still speak, and is refused; a lost answer is asked for again."""
        before = self.edge
        self.epoch += 1
        reports = tuple(held.report for held in self.held if held.known)
        for _ in range(repeats):
            resynced = self.wallets.resync(self.edge, Past("boot", clean, reports))
            assert resynced.unknown_lease_ids == []
            for held in self.held:
                loan = held.loan
                if not clean:
                    loan.doubted |= loan.keep is None and not loan.over and not loan.resolved
                elif held.known:
                    self.purse.declare(loan, held.report.final_count, keep=held.report.keep)
                else:
                    self.purse.declare(loan, 0, keep=0)
        for held in self.held:
            held.closed = True
        with pytest.raises(EdgeEpochStale):
            self.wallets.require_current(before)

    @precondition(lambda self: self.held)
    @rule(which=WHICH)
    def resolve(self, which: int) -> None:
        held = self.held[which % len(self.held)]
        if held.loan.resolved:
            return
        if self.purse.resolve(held.loan):
            self.wallets.resolve_lease(self.org, held.lease_id, decision=WHY)
        else:
            with pytest.raises(HoldConflict):
                self.wallets.resolve_lease(self.org, held.lease_id, decision=WHY)

    @rule(part=st.integers(0, 4))
    def decide(self, part: int) -> None:
        page = self.wallets.list_suspense(self.org, page=PageRequest.of())
        loans = {held.lease_id: held.loan for held in self.held}
        for suspense in page.suspense[:1]:
            loan = loans[suspense.lease_id]
            charge = loan.suspense * part // 4
            self.wallets.release_suspense(self.org, suspense.escrow_id, charge=charge, decision=WHY)
            self.purse.decide(loan, charge)

    @invariant()
    def every_sum_is_as_expected(self) -> None:
        wallet, purse = self.wallets.get_wallet(self.org), self.purse
        assert (wallet.available, wallet.held, wallet.receivable) == (
            purse.available,
            purse.held,
            purse.owed,
        )
        page = self.wallets.list_suspense(self.org, page=PageRequest.of())
        assert sum(one.remaining for one in page.suspense) == purse.suspended
        # Nothing was made or lost, and a strict wallet never pays what it does not have.
        assert purse.funded == wallet.posted + purse.suspended + purse.earned - purse.owed
        assert wallet.available >= 0

    def teardown(self) -> None:
        """When everything is declared, settled and decided, nothing is set aside."""
        for intent in self._intents():
            intent.done = True
            if not intent.delivered or intent.event_id in self.purse.parked:
                self._settle(intent, None)
        self.restart(clean=True, repeats=1)
        for held in self.held:
            if self.purse.resolve(held.loan):
                self.wallets.resolve_lease(self.org, held.lease_id, decision=WHY)
        while self.purse.suspended:
            self.decide(2)
        self.every_sum_is_as_expected()
        assert self.wallets.get_wallet(self.org).held == 0
        assert self.wallets.verify(self.org).first is None

    def _intents(self) -> list[Intent]:
        return [intent for held in self.held for intent in held.intents]


def test_any_history_of_leases_moves_what_the_contract_says(database: Database) -> None:
    class OverThisDatabase(LeaseMachine):
        def __init__(self) -> None:
            super().__init__(database)

    run_state_machine_as_test(
        OverThisDatabase,
        settings=settings(
            max_examples=20,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
    database.read(lambda: audit(WalletStore(database)))


def play(machine: LeaseMachine, chance: random.Random) -> None:
    """A history of a hundred acts: calls mostly, faults sometimes."""
    kinds = (None, None, None, EscrowKind.UNRATED, EscrowKind.DEAD_LETTER)
    acts: dict[Callable[[int, int], None], int] = {
        lambda _, small: machine.fund(1 + small): 2,
        lambda which, small: machine.admit(1 + 2 * small, which == 0, chance.random() < 0.2): 4,
        machine.intend: 8,
        lambda which, small: machine.finish(which, small, chance.randrange(7)): 8,
        lambda which, _: machine.deliver(which, chance.choice(kinds)): 8,
        lambda which, small: machine.close(which, small % 2 == 0): 3,
        lambda which, small: machine.misremember(which, small % 4): 1,
        lambda which, small: machine.restart(which > 0, 1 + small % 2): 1,
        lambda which, _: machine.resolve(which) if machine.held else None: 1,
        lambda _, small: machine.decide(small % 5): 1,
    }
    for act in chance.choices(list(acts), list(acts.values()), k=100):
        act(chance.randrange(4), chance.randrange(7))
        machine.every_sum_is_as_expected()
    machine.teardown()


def test_long_histories_of_leases_move_what_the_contract_says(database: Database) -> None:
    for seed in range(12):
        try:
            play(LeaseMachine(database), random.Random(seed))
        except AssertionError as failure:
            failure.add_note(f"seed {seed}")
            raise
    database.read(lambda: audit(WalletStore(database)))
