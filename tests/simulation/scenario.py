"""One seed: a fresh server, a few edges, and a scheduler that picks who acts next."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import random
from collections import Counter
from typing import TYPE_CHECKING

from om_server.storage.migrate import read_incarnation
from om_server.wallet.change import WalletChange
from om_server.wallet.wallet import Owner, OwnerKind, WalletMode
from tests.server.pipeline.harness import CREDIT, SetClock, Tenant, World
from tests.simulation.backup import Backups
from tests.simulation.call import Calls
from tests.simulation.edge import Edge
from tests.simulation.entitlement import Entitlements, check_limits
from tests.simulation.front import FragileSettler, Front, RememberingInbox
from tests.simulation.ground import Ground
from tests.simulation.hold import Holds, check_holds
from tests.simulation.job import Jobs, check_jobs
from tests.simulation.journal import Journal
from tests.simulation.letter import Letters
from tests.simulation.market import Market, Rates
from tests.simulation.money import Money
from tests.simulation.network import Network
from tests.simulation.oracle import Oracle
from tests.simulation.owner import OwnerActs
from tests.simulation.report import Reports
from tests.simulation.watch import Watching

if TYPE_CHECKING:
    from collections.abc import Callable

    from om_server.storage.database import Database


class Killed(Exception):
    """The worker dies before its transaction commits."""


class Scenario:
    """Everything that happens under one seed."""

    def __init__(self, database: Database, ground: Ground, *, seed: int) -> None:
        self.chance = random.Random(seed)
        self.meetings: Counter[str] = Counter()
        self.trace: list[str] = []
        self.incarnation = read_incarnation(database)
        clock = SetClock()
        rates = Rates(database, ground.catalogue, clock, chance=random.Random(f"rates {seed}"))
        ids = random.Random(f"ids {seed}").randbytes
        self.world = World(database, rates.rating, clock, RememberingInbox, ids)
        settler = FragileSettler(database, self.world.slices, self.world.clock)
        self.oracle = Oracle(self.world, self.meetings)
        self.network = Network(self.chance, self.meetings)
        self.front = Front(self.world, self.network, self.oracle, incarnation=lambda: self.incarnation)
        tenants, self.keys = ground.tenants, ground.keys
        self._grant(tenants[0], 8 * self.chance.choice((1, 1, 5)))
        self._grant(tenants[1], 6)
        self._grant(tenants[2], 0)
        soft = Owner.of(tenants[1].organization_id, OwnerKind.ORGANIZATION)
        self.world.wallet.update_wallet(
            tenants[1].organization_id,
            soft,
            change=WalletChange(mode=WalletMode.SOFT, credit_limit=10 * CREDIT),
        )
        self._edge_numbers = itertools.count(1)
        #: In some seeds every clock is right, and no event may cost more than its card said.
        self._skew = self.chance.choice((0, 3600))
        self.edges = [self._new_edge(f"e{number}") for number in range(1, 3)]
        self.jobs = Jobs(self)
        self.calls = Calls(self, tenants)
        self.reports = Reports(self, tenants)
        self.owner = OwnerActs(self, tenants)
        self.money = Money(self, tenants)
        self.holds = Holds(self, tenants)
        self.market = Market(self, tenants, rates)
        self.letters = Letters(self, settler)
        self.limits = Entitlements(self, tenants)
        self.watching = Watching(self)
        self.backups = Backups(self)
        self.worker = self.world.worker(settler, event_count_max=8)
        if self.chance.random() < 0.25:
            self.trace.append(self.limits.begin())
        self._acts = self._weighted()

    def _grant(self, tenant: Tenant, credits_: int) -> None:
        if credits_:
            self.world.grant(tenant.organization_id, credits_ * CREDIT)
        self.oracle.facts.funded[tenant.organization_id] += credits_ * CREDIT

    def _new_edge(self, name: str) -> Edge:
        journal = Journal(f"edg_{next(self._edge_numbers):026d}")
        skew = self.chance.randint(-self._skew, self._skew) * 1_000_000
        if skew:
            self.oracle.skewed.add(journal.edge_id)
        return Edge(name, journal, skew)

    def in_flight(self, tenant: Tenant) -> bool:
        """Whether a call of an organization has no end yet."""
        return any(
            intent.subject.tenant == tenant for edge in self.edges for intent in edge.journal.unfinished
        )

    def _weighted(self) -> dict[Callable[[], str], float]:
        calls, owner, money, letters = self.calls, self.owner, self.money, self.letters
        work = {
            self.deliver: 40.0,
            calls.call: 26.0,
            calls.finish: 17.0,
            calls.ship: 9.0,
            calls.ask_again: 5.0,
            calls.close: 4.0,
            self.reports.report: 3.0,
            self.settle: 7.0,
            self.pass_time: 4.0,
            self.sync: 1.0,
            self.watching.look: 5.0,
            owner.fund: 1.5,
        }
        rare: dict[Callable[[], str], float] = {
            self.kill: 1.0,
            self.lose_power: 0.4,
            self.lose_disk: 0.2,
            self.kill_worker: 0.8,
            self.redeliver: 1.5,
            self.watching.cut: 1.0,
            owner.open_user_wallet: 1.2,
            owner.resolve: 1.5,
            owner.release: 0.5,
            owner.block: 0.3,
            owner.set_credit: 0.6,
            owner.chain: 0.6,
            owner.revoke: 0.3,
            money.refund: 2.0,
            money.transfer: 0.5,
            money.adjust: 0.4,
            money.deduct: 0.3,
            self.holds.hold: 2.0,
            self.holds.resolve: 3.0,
            self.jobs.poll: 4.0,
            self.jobs.wait: 2.0,
            letters.poison: 2.5,
            letters.replay: 1.2,
            letters.discard: 1.0,
            self.limits.limit: 1.0,
            self.market.reprice: 0.4,
            self.market.mark_up: 0.4,
            self.market.price_first: 0.6,
            self.market.rate: 1.0,
        }
        if not self.world.database.supports_row_locks:
            # A file is copied in a moment; a restored PostgreSQL is another server.
            rare |= {self.backups.back_up: 0.8, self.backups.restore: 0.5}
        # Some seeds have none of a fault and others a storm of it: what hides behind it shows as well.
        return work | {act: weight * self.chance.choice((0, 0, 1, 1, 3)) for act, weight in rare.items()}

    def check(self) -> None:
        """Hold everything against what is known."""
        self.oracle.check()
        check_limits(self.oracle)
        check_holds(self.oracle)
        check_jobs(self.oracle)

    def close(self) -> None:
        """Give up what is not the database's."""
        self.backups.close()

    def step(self) -> None:
        """Let one actor act."""
        [act] = self.chance.choices(list(self._acts), list(self._acts.values()))
        self.trace.append(act.__name__)
        self.trace[-1] = f"{act.__name__}: {act()}"

    def deliver(self) -> str:
        """Let some messages arrive, in any order."""
        return ", ".join(self.network.deliver() for _ in range(self.chance.randint(1, 4)))

    def settle(self) -> str:
        self.worker.settle_once()
        return "one transaction"

    def pass_time(self) -> str:
        seconds = self.chance.choice((1, 1, 1, 2, 2, 5, 5, 10, 15, 70))
        self.world.clock.advance(seconds)
        return f"{seconds} s"

    def sync(self) -> str:
        edge = self.chance.choice(self.edges)
        edge.journal.sync()
        return edge.name

    def kill(self) -> str:
        """Without warning; the next process finds the whole journal."""
        edge = self.chance.choice(self.edges)
        return self.restart(edge).name

    def restart(self, edge: Edge) -> Edge:
        """Replace a process by the next one over the same journal."""
        edge.alive = False
        after = Edge(edge.name, edge.journal, edge.skew)
        self.edges[self.edges.index(edge)] = after
        self.watching.end(edge)
        self.calls.resync(after)
        return after

    def lose_power(self) -> str:
        """The newest records that were not synced may be gone."""
        edge = self.chance.choice(self.edges)
        journal = edge.journal
        journal.cut(self.chance.randint(journal.synced, len(journal.records)))
        self.oracle.doubted.add(journal.edge_id)
        self.meetings["unclean boot"] += 1
        return self.restart(edge).name

    def lose_disk(self) -> str:
        """An empty disk is a new edge; nobody speaks for the old one any more."""
        edge = self.chance.choice(self.edges)
        edge.alive = False
        self.oracle.doubted.add(edge.identity.edge_id)
        if edge.journal.leases:
            self.meetings["empty disk"] += 1
        after = self._new_edge(edge.name)
        self.edges[self.edges.index(edge)] = after
        self.watching.end(edge)
        self.calls.resync(after)
        return edge.name

    def kill_worker(self) -> str:
        """All its work is undone by the rollback, and delivered again."""

        def run() -> None:
            if self.worker.settle_once():
                self.meetings["worker killed before its commit"] += 1
            raise Killed

        with contextlib.suppress(Killed):
            self.world.database.write(run)
        return "before its commit"

    def redeliver(self) -> str:
        """A worker that died between commit and acknowledgement leaves its batch in the queue."""
        past = self.inbox.past
        if not past:
            return "nothing"
        batch = self.chance.choice(past)
        twin = dataclasses.replace(batch, batch_id=self.world.ids.new("bat"))
        waits = self.oracle.rows("SELECT 1 FROM inbox WHERE batch_id = ?", batch.batch_id)
        self.meetings["redelivery after the commit"] += not waits
        self.world.inbox.append([twin])
        return f"{batch.event_count} events"

    @property
    def inbox(self) -> RememberingInbox:
        assert isinstance(self.world.inbox, RememberingInbox)
        return self.world.inbox
