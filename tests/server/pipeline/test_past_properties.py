"""What must hold however often events are rated again: equations, oracle, and that a preview comes true."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from om_server.core.errors import DomainError
from om_server.core.money import USD
from om_server.rating.burn_table import BurnRule
from om_server.wallet.change import WalletChange
from om_server.wallet.wallet import Owner, OwnerKind, WalletMode
from tests.server.pipeline.harness import CREDIT, World
from tests.server.pipeline.past_scene import LINES, Past
from tests.server.rating.desk import LEAD, Desk
from tests.server.rating.tariffs import LINES as USAGES
from tests.server.rating.tariffs import TABLES

if TYPE_CHECKING:
    from om_server.core.event import Event, UsageLine
    from om_server.storage.database import Database


@pytest.fixture
def desk(database: Database) -> Desk:
    return Desk(database)


@pytest.fixture
def world(database: Database, desk: Desk) -> World:
    """One for all examples, each of which has a tenant of its own."""
    return World(database, desk.rating)


#: Credits for each dollar. An event costs two dollars.
PRICES = st.sampled_from(["0", "1", "500", "1000", "1500", "4000", "0.0000003"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("settle"), st.just("")),
        st.tuples(st.just("rerate"), PRICES),
        st.tuples(st.just("grant"), st.sampled_from(["100", "3000"])),
        st.tuples(st.just("refund"), st.sampled_from(["1", "700", "all"])),
    ),
    min_size=2,
    max_size=9,
)


@dataclass
class Model:
    """What every event costs, and what of it was given back by hand."""

    granted: int = 0
    charges: dict[str, int] = field(default_factory=dict)
    refunded: dict[str, int] = field(default_factory=dict)

    def net(self, event_id: str) -> int:
        return max(0, self.charges[event_id] - self.refunded.get(event_id, 0))


def _step(past: Past, model: Model, events: list[Event], *, step: tuple[str, str]) -> None:
    name, argument = step
    if name == "settle":
        events += past.settle(lines=LINES)
        model.charges[events[-1].event_id] = 2_000 * CREDIT
    elif name == "grant":
        past.world.grant(past.org, int(argument) * CREDIT)
        model.granted += int(argument) * CREDIT
    elif name == "rerate":
        report = past.to(BurnRule(credits_per_cost=argument))
        assert report.unrated_count == 0
        model.charges = {event.event_id: past.charge(event) or 0 for event in events}
        assert set(model.charges.values()) <= {round(2 * float(argument) * CREDIT)}
    elif events:
        event, amount = events[0], None if argument == "all" else int(argument) * CREDIT
        left = model.net(event.event_id)
        wanted = left if amount is None else amount
        if not 0 < wanted <= left:
            with pytest.raises(DomainError):
                past.refund(event, amount)
            return
        past.refund(event, amount)
        model.refunded[event.event_id] = model.refunded.get(event.event_id, 0) + wanted


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(STEPS, st.sampled_from([0, 500 * CREDIT]))
def test_the_equations_hold_however_events_are_rated_and_refunded(
    world: World, desk: Desk, steps: list[tuple[str, str]], credit: int
) -> None:
    past = Past(world, desk, world.tenant(granted=1_000 * CREDIT))
    mode = WalletMode.SOFT if credit else WalletMode.STRICT
    owner = Owner.of(past.org, OwnerKind.ORGANIZATION)
    world.wallet.update_wallet(past.org, owner, change=WalletChange(mode=mode, credit_limit=credit))
    model = Model(granted=1_000 * CREDIT)
    events: list[Event] = []

    for step in steps:
        _step(past, model, events, step=step)

        available, held, receivable = world.money(past.tenant)
        assert available - receivable == model.granted - sum(map(model.net, model.charges))
        assert (held, receivable >= 0, available >= -credit) == (0, True, True)
        # Something is owed only if nothing is there.
        assert not (receivable and available > 0)
        assert past.counters().charge == sum(model.charges.values())
    report = world.wallet.verify(past.org)
    assert report.first is None


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(TABLES, TABLES, st.lists(USAGES, min_size=1, max_size=4))
def test_what_a_simulation_shows_is_what_is_charged(
    world: World,
    desk: Desk,
    before: tuple[BurnRule, ...],
    proposed: tuple[BurnRule, ...],
    usages: list[list[UsageLine]],
) -> None:
    past = Past(world, desk, world.tenant(granted=10**16))
    desk.now = world.clock.now
    desk.activate(past.table(*before), org=past.org)
    events = [past.settle(lines=tuple(lines), event_time=desk.now + LEAD)[0] for lines in usages]
    charged = {event.event_id: past.charge(event) for event in events}

    shown = past.simulate(*proposed, keep=1000)[-1]

    table_id = past.table(*proposed)
    done = past.rerate(past.request(table_id, difference_count=1000))
    assert (done.charge_before, done.charge_after) == (shown.charge_before, shown.charge_after)
    assert (done.differences, done.unrated_count) == (shown.differences, shown.unrated_count)
    assert shown.charge_before - shown.charge_after == -done.wallet_difference
    after = {found.event_id: found.after for found in shown.differences}
    assert {event.event_id: past.charge(event) for event in events} == {**charged, **after}
    # And what the table charges for the same usage once it applies.
    desk.activate(table_id, at=desk.now + 2 * LEAD, org=past.org)
    for event, lines in zip(events, usages, strict=True):
        [later] = past.settle(lines=tuple(lines), event_time=desk.now + 2 * LEAD)
        rated = desk.rating.rate_event(later)
        assert rated.cost is None or rated.cost.currency == USD
        if charged[event.event_id] is not None and past.charge(later) is not None:
            assert past.charge(later) == past.charge(event)
    assert world.wallet.verify(past.org).first is None
