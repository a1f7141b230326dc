"""Charged events that are rated again, over a world whose tariffs are stored."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from om_server.analytics.counters import Counters
from om_server.analytics.query import EventFilter, UsageQuery
from om_server.pipeline.charge_history import ChargeHistory
from om_server.pipeline.past_events import PastEventRater
from om_server.rating.burn_table import BurnRule
from om_server.rating.explanation import Explanation, Explanations
from om_server.rating.past import Range, RerateRequest, SimulationRequest
from om_server.rating.proposal import Proposals
from om_server.rating.stored import BurnTableDraft
from om_server.wallet.funding import Refund
from tests.server.pipeline.harness import CREDIT, SECOND, World
from tests.server.rating.desk import used

if TYPE_CHECKING:
    from collections.abc import Callable

    from om_server.analytics.settled import SettledEvent
    from om_server.core.event import Event
    from om_server.rating.comparison import Compared
    from om_server.wallet.entry import Entry
    from tests.server.pipeline.harness import Tenant
    from tests.server.rating.desk import Desk

#: A million input tokens of the model m cost 2 dollars.
LINES = (used(),)
CHARGE = 2_000 * CREDIT
HALF, DOUBLE = BurnRule(credits_per_cost="500"), BurnRule(credits_per_cost="2000")

DAY = 86_400 * SECOND


@dataclass
class Past:
    """One tenant, its charged events, and who rates them again."""

    world: World
    desk: Desk
    tenant: Tenant
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.rater = self.new_rater()
        self.explanations = Explanations(
            self.desk.tariffs, self.desk.tables, charges=ChargeHistory(self.world.analytics)
        )

    @property
    def org(self) -> str:
        return self.tenant.organization_id

    @property
    def span(self) -> Range:
        return Range(self.world.clock.now - DAY, self.world.clock.now + DAY)

    def new_rater(self) -> PastEventRater:
        proposals = Proposals(self.desk.rating, self.desk.tariffs, burn_tables=self.desk.tables)
        return PastEventRater(
            self.world.database,
            self.world.slices,
            proposals=proposals,
            ids=self.world.ids,
            clock=self.world.clock,
        )

    def settle(self, count: int = 1, **changes: object) -> list[Event]:
        """Settle events of 2,000 credits unless changed."""
        made = [
            self.world.event(self.tenant, f"p{next(self._numbers)}", **{"lines": LINES, **changes})
            for _ in range(count)
        ]
        self.world.settler.settle(made)
        return made

    def table(self, *rules: BurnRule, customer: str = "") -> str:
        return self.desk.table(*rules, customer=customer, org=self.org)

    def request(self, table_id: str = "", *, key: str = "", **changes: object) -> RerateRequest:
        plain = RerateRequest(self.span, key or f"key {next(self._numbers)}", burn_table_id=table_id)
        return dataclasses.replace(plain, **changes)  # type: ignore[arg-type] # A table's row.

    def rerate(
        self, request: RerateRequest, *, in_time: Callable[[], bool] = lambda: True, actor: str = "key_1"
    ) -> Compared:
        return self.rater.rerate(self.org, request, actor=actor, in_time=in_time)

    def to(self, *rules: BurnRule) -> Compared:
        """Rate everything again under a table of these rules."""
        return self.rerate(self.request(self.table(*rules)))

    def simulate(self, *rules: BurnRule, customer: str = "", keep: int = 0) -> list[Compared]:
        """Every state of a simulation of these rules, the result last."""
        draft = BurnTableDraft("proposed", rules, customer)
        simulation = self.rater.simulate(self.org, SimulationRequest(self.span, draft, keep))
        states = []
        while (state := simulation.step()) is not None:
            states.append(state)
        return states

    def refund(self, event: Event, amount: int | None = None) -> None:
        key = f"refund {next(self._numbers)}"
        self.world.wallet.refund_charge(self.org, Refund(event.source, event.event_id, key, amount))

    def explain(self, event: Event) -> Explanation:
        return self.explanations.explain(self.org, source=event.source, event_id=event.event_id)

    def settled(self, event: Event) -> SettledEvent:
        return self.world.settled(event)

    def charge(self, event: Event) -> int | None:
        return self.world.settled(event).charge

    def entries(self, event: Event) -> list[Entry]:
        """What the event moved, oldest first."""
        found = self.world.database.read(
            lambda: self.world.wallet_store.journal.of_event(
                self.org, source=event.source, event_id=event.event_id
            )
        )
        return sorted(found, key=lambda entry: entry.entry_id)

    def counters(self) -> Counters:
        query = UsageQuery(filter=EventFilter(start_time=0, end_time=self.world.clock.now + DAY))
        report = self.world.analytics.query_usage(self.org, query)
        return sum((row.counters for row in report.rows), Counters())

    def verified(self) -> bool:
        """Whether every ledger, its hashes and its equations hold."""
        return not [found for found in self.world.wallet.verify_all() if found.finding]
