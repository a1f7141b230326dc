"""Where settled events stand, under the names of the contract."""

import pytest

from om_server.core.event import Outcome
from om_server.ingestion.standing import EventState
from om_server.pipeline.settled_standing import SettledStanding
from tests.server.pipeline.edge_scene import leased, outcome
from tests.server.pipeline.harness import Tenant, World, tokens

UNPRICED = (tokens(1, model="a-model-nobody-knows"),)


def standings_of(world: World) -> SettledStanding:
    return SettledStanding(world.analytics, world.ingestion.find_job)


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, EventState.CHARGED),
        ({"sandbox": True}, EventState.ZERO),
        ({"lines": (tokens(0),)}, EventState.ZERO),
        ({"lines": UNPRICED}, EventState.UNRATED),
    ],
)
def test_an_event_of_an_application(
    world: World, tenant: Tenant, changes: dict[str, object], state: EventState
) -> None:
    event = world.event(tenant, "e1", **changes)
    world.settler.settle([event])
    world.clock.advance(5)

    found = standings_of(world)(tenant.organization_id, source="api", event_id="e1")

    assert found is not None
    assert (found.state, found.settle_time) == (state, event.event_time)


@pytest.mark.parametrize(
    ("end", "state"), [(Outcome.DEFERRED, EventState.DEFERRED), (Outcome.UNKNOWN, EventState.UNRATED)]
)
def test_an_event_of_an_edge(world: World, tenant: Tenant, end: Outcome, state: EventState) -> None:
    world.settler.settle([outcome(world, tenant, leased(world, tenant), lines=(), outcome=end)])

    found = standings_of(world)(tenant.organization_id, source="proxy", event_id="evt_1")

    assert found is not None
    assert found.state is state


def test_where_nobody_pays_nothing_is_charged(world: World) -> None:
    poor = world.tenant()
    world.settler.settle([world.event(poor)])

    found = standings_of(world)(poor.organization_id, source="api", event_id="e1")

    assert found is not None
    assert found.state is EventState.ZERO


def test_what_is_not_settled_is_not_found(world: World, tenant: Tenant) -> None:
    other = world.tenant("Ironmonger")
    world.settler.settle([world.event(tenant)])
    standings = standings_of(world)

    assert standings(tenant.organization_id, source="api", event_id="other") is None
    assert standings(tenant.organization_id, source="proxy", event_id="e1") is None
    assert standings(other.organization_id, source="api", event_id="e1") is None
