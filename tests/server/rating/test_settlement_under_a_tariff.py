"""What a preview says is what settlement charges and what the explanation shows, for any stored tariff."""

import contextlib
import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from om_server.analytics.settled import SettledEvent
from om_server.core.event import UsageLine
from om_server.core.money import USD
from om_server.pipeline.charge_history import ChargeHistory
from om_server.rating.burn_table import BurnRule
from om_server.rating.explanation import Explanations
from om_server.rating.price_operations import PriceOverlap
from om_server.rating.rate import Rating
from om_server.rating.unit_rate import Rate
from om_server.storage.database import Database
from tests.server.pipeline.harness import Tenant, World
from tests.server.rating.desk import CREDIT, Desk, used
from tests.server.rating.tariffs import LINES, RATES, TABLES


class Office:
    """A world whose rating reads stored tariffs, with one tenant."""

    def __init__(self, database: Database) -> None:
        self.desk = Desk(database)
        self.world = World(database, self.desk.rating)
        self.tenant: Tenant = self.world.tenant(granted=10**15)
        self._numbers = itertools.count()
        self.explanations = Explanations(
            self.desk.tariffs, self.desk.tables, charges=ChargeHistory(self.world.analytics)
        )

    def settle(self, *lines: UsageLine, at: int) -> SettledEvent:
        event = self.world.event(self.tenant, f"e{next(self._numbers)}", lines=lines, event_time=at)
        self.world.settler.settle([event])
        return self.world.settled(event)

    def preview(self, lines: tuple[UsageLine, ...], at: int) -> Rating:
        return self.desk.rating.rate_lines(lines, at=at, organization_id=self.tenant.organization_id)


@pytest.fixture
def office(database: Database) -> Office:
    return Office(database)


def test_an_event_is_charged_by_the_table_of_its_own_time(office: Office) -> None:
    desk, org = office.desk, office.tenant.organization_id
    desk.now = office.world.clock.now
    desk.activate(desk.table(BurnRule(credits_per_cost="500"), org=org), org=org)

    charges = [office.settle(used(), at=when).charge for when in (desk.now - 1, desk.now)]

    assert charges == [2_000 * CREDIT, 1_000 * CREDIT]


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(TABLES, RATES, LINES, st.sampled_from([-1, 0, 121 * 10**6]))
def test_preview_charge_and_explanation_are_equal(
    office: Office, rules: tuple[BurnRule, ...], rates: tuple[Rate, ...], lines: list[UsageLine], after: int
) -> None:
    desk, org = office.desk, office.tenant.organization_id
    desk.now = office.world.clock.now
    desk.activate(desk.table(*rules, org=org), org=org)
    # The same unit again at the same time, on a database that several examples share.
    with contextlib.suppress(PriceOverlap):
        desk.price(rates, org=org, since=desk.now)
    at = desk.now + after
    asked = office.preview(tuple(lines), at)

    settled = office.settle(*lines, at=at)

    if asked.cost is None or asked.charge is None or asked.cost.currency != USD:
        assert (settled.cost, settled.charge) == (None, None)
    else:
        assert (settled.cost, settled.charge) == (asked.cost.nanos, asked.charge.nanos)
    explained = office.explanations.explain(org, source="api", event_id=settled.event.event_id)
    assert explained.exact
    if settled.charge is not None:
        assert explained.rating.charge == asked.charge
