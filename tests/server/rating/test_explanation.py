from dataclasses import dataclass, replace

import pytest

from om_server.core.errors import NotFound
from om_server.core.event import UsageLine
from om_server.rating.burn_table import BurnRule
from om_server.rating.explanation import Explanation, Explanations, SettledCharge
from om_server.rating.unit_rate import Rate
from tests.server.rating.desk import CREDIT, LEAD, ORG, START, Desk, nanos, used


@dataclass
class Shelf:
    """Settled events of one organization, by id."""

    desk: Desk

    def __post_init__(self) -> None:
        self.charges: dict[str, SettledCharge] = {}

    def __call__(self, organization_id: str, *, source: str, event_id: str) -> SettledCharge | None:
        return self.charges.get(event_id) if (organization_id, source) == (ORG, "api") else None

    def settle(self, *lines: UsageLine) -> SettledCharge:
        rating = self.desk.rating.rate_lines(lines, at=self.desk.now, organization_id=ORG)
        rated = rating.cost is not None and rating.charge is not None
        charge = SettledCharge(
            source="api",
            event_id="e",
            event_time=self.desk.now,
            customer_id="",
            feature_id="",
            lines=lines,
            cost=rating.cost if rated else None,
            charge=rating.charge if rated else None,
            burn_table_version=rating.burn_table_version,
            price_versions=tuple(line.price_version for line in rating.lines),
        )
        self.charges["e"] = charge
        return charge

    def explained(self) -> Explanation:
        explanations = Explanations(self.desk.tariffs, self.desk.tables, charges=self)
        return explanations.explain(ORG, source="api", event_id="e")


@pytest.fixture
def shelf(desk: Desk) -> Shelf:
    return Shelf(desk)


def test_a_charge_is_explained_by_the_versions_of_its_time(desk: Desk, shelf: Shelf) -> None:
    table_id = desk.table(BurnRule(credits_per_cost="500"))
    desk.activate(table_id)
    price = desk.price([Rate("input_tokens", "1")])
    settled = shelf.settle(used(input_tokens=10**6, output_tokens=10**6))
    desk.activate(desk.table(BurnRule(credits_per_cost="100")))
    desk.price([Rate("input_tokens", "0.5")], since=START + 1)
    desk.now += LEAD

    explained = shelf.explained()

    assert explained.exact
    assert explained.rating.charge == settled.charge
    assert nanos(explained.rating) == 5_500 * CREDIT
    assert explained.rating.burn_table_version == table_id
    assert explained.rating.price_versions == (f"{price.version}+list/m",)


def test_a_price_that_came_later_does_not_change_the_explanation(desk: Desk, shelf: Shelf) -> None:
    shelf.settle(used())
    desk.price([Rate("web_searches", "0.01", 1)])

    assert shelf.explained().exact
    assert shelf.explained().rating.price_versions == ("list/m",)


def test_what_cannot_be_shown_again_is_said_to_differ(shelf: Shelf) -> None:
    settled = shelf.settle(used())
    assert settled.charge is not None
    shelf.charges["e"] = replace(settled, charge=replace(settled.charge, nanos=settled.charge.nanos + 1))
    assert not shelf.explained().exact
    shelf.charges["e"] = replace(settled, price_versions=("older list/m",))
    assert not shelf.explained().exact


def test_an_unrated_event_is_explained_by_what_is_in_the_way(shelf: Shelf) -> None:
    shelf.settle(used(web_searches=1))

    explained = shelf.explained()

    assert explained.exact
    assert [cause.unit for cause in explained.rating.unrated] == ["web_searches"]


def test_an_event_whose_usage_is_missing_is_never_explained_as_free(shelf: Shelf) -> None:
    shelf.charges["e"] = replace(shelf.settle(), cost=None, charge=None, burn_table_version="")

    explained = shelf.explained()

    assert (explained.rating.cost, explained.rating.charge, explained.exact) == (None, None, True)
    assert [cause.reason for cause in explained.rating.unrated] == ["USAGE_MISSING"]


@pytest.mark.parametrize(("organization_id", "source"), [("org_b", "api"), (ORG, "proxy")])
def test_no_such_event_is_not_found(shelf: Shelf, organization_id: str, source: str) -> None:
    shelf.settle(used())
    explanations = Explanations(shelf.desk.tariffs, shelf.desk.tables, charges=shelf)

    with pytest.raises(NotFound):
        explanations.explain(organization_id, source=source, event_id="e")
