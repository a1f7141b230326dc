"""Simulating a burn table over past events: what it looks at, in bounded steps, without a trace."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from om_server.core.event import Attribution
from om_server.pipeline import past_events
from om_server.rating.burn_table import BurnRule
from om_server.rating.comparison import Compared, Difference
from om_server.rating.unit_rate import Rate
from tests.server.pipeline.harness import CREDIT, Tenant, World, rows_of
from tests.server.pipeline.past_scene import CHARGE, DOUBLE, HALF, Past
from tests.server.rating.desk import Desk, used

if TYPE_CHECKING:
    from om_server.rating.operations import RatingOperations
    from om_server.storage.database import Database


@pytest.fixture(name="desk")
def make_desk(database: Database) -> Desk:
    return Desk(database)


@pytest.fixture(name="rating")
def make_rating(desk: Desk) -> RatingOperations:
    return desk.rating


@pytest.fixture
def past(world: World, desk: Desk, tenant: Tenant) -> Past:
    return Past(world, desk, tenant)


def test_it_tells_totals_and_the_biggest_differences_and_writes_nothing(past: Past) -> None:
    small, big = (past.settle(lines=(used(input_tokens=count),))[0] for count in (1_000, 2_000_000))
    past.settle(lines=(used("brand-new"),))
    before = rows_of(past.world.database)

    [result] = past.simulate(DOUBLE, keep=1)

    assert result == Compared(
        event_count=2,
        changed_count=2,
        charge_before=4_002 * CREDIT,
        charge_after=8_004 * CREDIT,
        differences=(Difference("api", big.event_id, 4_000 * CREDIT, 8_000 * CREDIT),),
    )
    assert small.event_id not in {found.event_id for found in result.differences}
    assert rows_of(past.world.database) == before


def test_what_the_rules_give_no_charge_is_counted_and_in_no_sum(past: Past) -> None:
    past.settle(2)
    past.settle(lines=(used(output_tokens=1_000_000),))

    [result] = past.simulate(BurnRule(rates=(Rate("output_tokens", "5"),)))

    assert (result.event_count, result.unrated_count, result.changed_count) == (3, 2, 1)
    assert (result.charge_before, result.charge_after) == (10_000 * CREDIT, 5 * CREDIT)


def test_it_goes_page_by_page_and_ends(past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(past_events, "_PAGE", 2)
    past.settle(5)

    states = past.simulate(HALF)

    assert [state.event_count for state in states] == [2, 4, 5]
    assert states[-1].charge_after == 5 * CHARGE // 2


def test_an_empty_range_has_a_result_too(past: Past) -> None:
    assert past.simulate(HALF) == [Compared()]


def test_events_whose_customer_had_a_table_of_its_own_are_not_the_organizations(past: Past) -> None:
    past.desk.activate(past.table(HALF, customer="own"), org=past.org)
    for customer in ("", "acme", "own"):
        past.settle(attribution=Attribution(customer_id=customer))

    assert past.simulate(DOUBLE)[-1].event_count == 2
    assert past.simulate(DOUBLE, customer="own")[-1].charge_before == CHARGE // 2
    assert past.simulate(DOUBLE, customer="acme")[-1].event_count == 1
    assert past.simulate(DOUBLE, customer="nobody")[-1].event_count == 0
