"""The end of a seed: the network heals, every edge comes back, and nothing may be left unexplained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from om_server.pipeline.worker import drain
from om_server.wallet.holds.suspense import ORPHAN_AFTER
from tests.simulation.oracle import require
from tests.simulation.owner import WHY

if TYPE_CHECKING:
    from tests.simulation.scenario import Scenario

_OPEN = (
    "SELECT organization_id, lease_id, edge_id, state FROM leases "
    "WHERE state NOT IN ('closed', 'resolved') ORDER BY lease_id"
)


def settle_down(scenario: Scenario) -> None:
    """Bring everything to rest, and require that all is settled and all that is held is explained."""
    scenario.network.heal()
    _arrive(scenario)
    scenario.owner.repair_all()
    for edge in list(scenario.edges):
        scenario.restart(edge)
    _arrive(scenario)
    for edge in scenario.edges:
        require(edge.resynced, f"{edge.name} could not resync")
        for intent in edge.journal.unfinished:
            scenario.calls.end(edge, intent)
        scenario.calls.send(edge, [edge.event(event_id) for event_id in edge.journal.endings])
    _arrive(scenario)
    drain(scenario.worker)
    scenario.oracle.check()
    _nothing_is_lost(scenario)
    _only_lost_money_is_held(scenario)
    _every_lease_counted(scenario)
    _decide(scenario)
    scenario.oracle.check()
    held = scenario.oracle.number("SELECT SUM(held) FROM wallets")
    require(held == 0, f"{held} is held when all is settled and decided")


def _arrive(scenario: Scenario) -> None:
    while scenario.network.deliver():
        pass


def _nothing_is_lost(scenario: Scenario) -> None:
    for edge in scenario.edges:
        names = {
            str(name)
            for (name,) in scenario.oracle.rows(
                "SELECT event_id FROM usage_events WHERE edge_id = ?", edge.identity.edge_id
            )
        }
        lost = sorted(edge.journal.endings.keys() - names)
        require(not lost, f"{edge.name} has outcomes that were never settled: {lost}")
    expected = {identity[1:] for identity in scenario.oracle.versions}
    settled = {
        (row.source, row.event_id)
        for organization_id in scenario.oracle.funded
        for row in scenario.oracle.settled(organization_id)
    }
    require(expected == settled, f"reported and settled differ: {expected ^ settled}")


def _only_lost_money_is_held(scenario: Scenario) -> None:
    for _, lease_id, edge_id, state in scenario.oracle.rows(_OPEN):
        doubted = edge_id in scenario.oracle.doubted
        require(doubted, f"{lease_id} of an edge that lost nothing stays {state}")
    waiting = scenario.oracle.rows(
        "SELECT e.event_id FROM escrows e JOIN usage_events u ON u.organization_id = e.organization_id "
        "AND u.source = e.event_source AND u.event_id = e.event_id "
        "WHERE e.pending AND NOT e.suspended AND u.state <> 'UNRATED'"
    )
    require(not waiting, f"money is held for events that are rated: {waiting}")


def _every_lease_counted(scenario: Scenario) -> None:
    """A lease has counted exactly the events that name it, and is over with the last one declared."""
    for lease_id, settled, final, state, named in scenario.oracle.rows(
        "SELECT l.lease_id, l.settled_count, l.final_count, l.state, "
        "(SELECT COUNT(*) FROM usage_events u WHERE u.organization_id = l.organization_id "
        "AND instr(u.funding, l.lease_id) > 0) FROM leases l"
    ):
        require(settled == named, f"{lease_id} counted {settled} events, and {named} name it")
        over = settled != final or state in {"closed", "resolved"}
        require(over, f"{lease_id} has all its events, and is {state}")


def _decide(scenario: Scenario) -> None:
    """After a day the owners give up what nobody speaks for, and let go of what has no price."""
    world, oracle = scenario.world, scenario.oracle
    world.clock.now += 2 * ORPHAN_AFTER
    for organization_id, lease_id, *_ in oracle.rows(_OPEN):
        world.wallet.resolve_lease(str(organization_id), str(lease_id), decision=WHY)
        scenario.meetings["orphan resolved"] += 1
    for organization_id in list(oracle.funded):
        scenario.owner.release_all(organization_id)
    for organization_id, source, event_id in oracle.rows(
        "SELECT organization_id, event_source, event_id FROM escrows WHERE pending ORDER BY escrow_id"
    ):
        world.wallet.discard_event(str(organization_id), (str(source), str(event_id)), decision=WHY)
