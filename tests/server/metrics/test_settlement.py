"""Settled events are counted when they are committed, by names of our lists."""

from __future__ import annotations

import dataclasses

import pytest

from om_server.core.usage import Certainty, Quantity, Usage
from om_server.metrics.exposition import registry_of
from om_server.metrics.settlement import SettlementMetrics
from om_server.pipeline.settle import Settler
from tests.server.pipeline.harness import CREDIT, INPUT_CHARGE, World, tokens

_GRANTED = 1_000 * CREDIT


class Counted:
    """The metrics of one process, by name and labels."""

    def __init__(self) -> None:
        self.metrics = SettlementMetrics({"openai"})
        self._registry = registry_of(self.metrics)

    def value(self, name: str, **labels: str) -> float | None:
        return self._registry.get_sample_value(name, labels)


@pytest.fixture(name="counted")
def make_counted() -> Counted:
    return Counted()


def test_a_settled_event_counts_what_it_consumed_cost_and_was_charged(world: World, counted: Counted) -> None:
    tenant = world.tenant(granted=_GRANTED)
    event = world.event(tenant)
    world.clock.advance(2)

    Settler(world.database, world.slices, world.clock, settled=counted.metrics.note).settle([event])

    assert counted.value("om_settled_events_total", state="RATED") == 1
    assert counted.value("om_settled_quantity_total", provider="openai", unit="input_tokens") == 1_000
    assert counted.value("om_settled_cost_dollars_total", provider="openai") == pytest.approx(0.0025)
    assert counted.value("om_settled_charge_credits_total") == pytest.approx(1_000 * INPUT_CHARGE / CREDIT)
    assert counted.value("om_settle_lag_seconds_sum") == 2
    assert counted.value("om_settle_lag_seconds_bucket", le="1.0") == 0
    assert counted.value("om_settle_lag_seconds_bucket", le="2.5") == 1


def test_an_event_counts_once_however_often_it_is_delivered(world: World, counted: Counted) -> None:
    event = world.event(world.tenant(granted=_GRANTED))
    settler = Settler(world.database, world.slices, world.clock, settled=counted.metrics.note)

    settler.settle([event])
    settler.settle([event])

    assert counted.value("om_settled_events_total", state="RATED") == 1


def test_what_was_rolled_back_does_not_count(world: World, counted: Counted) -> None:
    tenant = world.tenant(granted=_GRANTED)
    settler = Settler(world.database, world.slices, world.clock, settled=counted.metrics.note)

    def fail() -> None:
        settler.settle([world.event(tenant)])
        raise LookupError

    with pytest.raises(LookupError):
        world.database.write(fail)
    settler.settle([world.event(tenant, "e2")])

    assert counted.value("om_settled_events_total", state="RATED") == 1


def test_a_name_that_a_caller_made_up_is_no_series(world: World, counted: Counted) -> None:
    line = tokens(1, provider="made-up")
    usage = Usage((Quantity("custom:also-made-up", 5, Certainty.MEASURED),))
    event = world.event(world.tenant(), lines=(dataclasses.replace(line, usage=usage),))

    Settler(world.database, world.slices, world.clock, settled=counted.metrics.note).settle([event])

    assert counted.value("om_settled_quantity_total", provider="other", unit="custom") == 5
    assert counted.value("om_settled_events_total", state="UNRATED") == 1


def test_a_sandbox_event_consumes_nothing(world: World, counted: Counted) -> None:
    event = world.event(world.tenant(), sandbox=True)

    Settler(world.database, world.slices, world.clock, settled=counted.metrics.note).settle([event])

    assert counted.value("om_settled_events_total", state="SANDBOX") == 1
    assert counted.value("om_settled_quantity_total", provider="openai", unit="input_tokens") is None
