"""The end of a seed: the network heals, every edge comes back, and nothing may be left unexplained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from om_server.pipeline.worker import drain
from om_server.wallet.holds.suspense import ORPHAN_AFTER
from tests.simulation.job import require_ended
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
    scenario.letters.replay_all()
    for edge in list(scenario.edges):
        scenario.restart(edge)
    _arrive(scenario)
    _speak_to_this_life(scenario)
    for edge in scenario.edges:
        require(edge.resynced, f"{edge.name} could not resync")
        for intent in edge.journal.unfinished:
            scenario.calls.end(edge, intent)
        # What the store has named as settled is gone for good: if it was not, it shows below.
        known = edge.journal.forgotten
        scenario.calls.send(edge, [edge.event(name) for name in edge.journal.endings if name not in known])
    _arrive(scenario)
    drain(scenario.worker)
    scenario.letters.replay_all()
    scenario.market.rate_all()
    scenario.check()
    _nothing_is_lost(scenario)
    _only_lost_money_is_held(scenario)
    _every_lease_counted(scenario)
    _every_outcome_is_named(scenario)
    _decide(scenario)
    scenario.check()
    held = scenario.oracle.number("SELECT SUM(held) FROM wallets")
    require(held == 0, f"{held} is held when all is settled and decided")


def _speak_to_this_life(scenario: Scenario) -> None:
    """Edges that spoke to another life of the store resync with this one, and close what they took then."""
    for _ in range(3):
        scenario.watching.hear_all()
        for edge in scenario.edges:
            scenario.calls.ask(edge)
        _arrive(scenario)


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
        discarded = {name for *_, name in scenario.oracle.facts.discarded}
        lost = sorted(name for name in edge.journal.endings.keys() - names - discarded if not _is_end(name))
        require(not lost, f"{edge.name} has outcomes that were never settled: {lost}")
    oracle = scenario.oracle
    settled = {
        (organization_id, row.source, row.event_id)
        for organization_id in oracle.facts.funded
        for row in oracle.settled(organization_id)
    }
    missing = oracle.reports.keys() - settled - oracle.gap - oracle.facts.discarded
    missing = {identity for identity in missing if not _is_end(identity[2])}
    require(not missing, f"reported and never settled: {missing}")
    require_ended(oracle)


def _is_end(event_id: str) -> bool:
    """Tell whether this is the end of a job, which may be charged as the call that began it."""
    return event_id.startswith("job:")


def _every_outcome_is_named(scenario: Scenario) -> None:
    """Edges hear of everything that they sent that it is settled, and may forget it."""
    scenario.watching.hear_all()
    for edge in scenario.edges:
        left = edge.journal.endings.keys() - edge.journal.forgotten
        require(not left, f"{edge.name} was never told that these are settled: {sorted(left)}")


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
    oracle = scenario.oracle
    settled_names = {str(name) for (name,) in oracle.rows("SELECT event_id FROM usage_events")}
    for lease_id, settled, final, state, of_events in oracle.rows(
        "SELECT l.lease_id, l.settled_count, l.final_count, l.state, "
        "(SELECT COUNT(*) FROM usage_events u WHERE u.organization_id = l.organization_id "
        "AND u.funding LIKE '%%' || l.lease_id || '%%') FROM leases l"
    ):
        named = int(str(of_events)) + len(oracle.facts.dropped[str(lease_id)] - settled_names)
        require(settled == named, f"{lease_id} counted {settled} events, and {named} name it")
        over = settled != final or state in {"closed", "resolved"}
        require(over, f"{lease_id} has all its events, and is {state}")


def _decide(scenario: Scenario) -> None:
    """After a day the owners give up what nobody speaks for, and let go of what has no price."""
    world, oracle = scenario.world, scenario.oracle
    world.clock.now += 2 * ORPHAN_AFTER
    scenario.holds.free_all()
    for organization_id, lease_id, *_ in oracle.rows(_OPEN):
        world.wallet.resolve_lease(str(organization_id), str(lease_id), decision=WHY)
        scenario.meetings["orphan resolved"] += 1
    for organization_id in list(oracle.facts.funded):
        scenario.owner.release_all(organization_id)
    for organization_id, source, event_id in oracle.rows(
        "SELECT organization_id, event_source, event_id FROM escrows WHERE pending ORDER BY escrow_id"
    ):
        world.wallet.discard_event(str(organization_id), (str(source), str(event_id)), decision=WHY)
