"""Events that do not settle for a while, and what owners do with the letters that they become."""

from __future__ import annotations

from typing import TYPE_CHECKING

from om_server.ingestion import envelope
from om_server.ingestion.standing import LetterState
from om_server.pipeline.letter_replay import LetterReplay
from tests.simulation.oracle import require

if TYPE_CHECKING:
    from tests.simulation.front import FragileSettler
    from tests.simulation.scenario import Scenario


class Letters:
    """Poison, repair, replay and discard."""

    def __init__(self, scenario: Scenario, settler: FragileSettler) -> None:
        self._scenario = scenario
        self._chance = scenario.chance
        self._settler = settler
        world = scenario.world
        self._replay = LetterReplay(
            world.database,
            world.ingestion_store,
            settler,
            wallet=world.wallet,
            limits=world.limits,
            trail=world.trail,
        )

    def poison(self) -> str:
        """An event that will not settle until it is repaired."""
        edge = self._chance.choice(self._scenario.edges)
        unshipped = [event.event_id for event in edge.unshipped]
        if not unshipped:
            return "nothing"
        event_id = self._chance.choice(unshipped)
        self._settler.poisoned |= {event_id}
        self._scenario.oracle.poisoned.add(event_id)
        return event_id

    def replay(self) -> str:
        """Try letters again; those that are still poisoned stay."""
        letters = self._letters()
        if not letters:
            return "nothing"
        organization_id, letter_id, event_id = self._chance.choice(letters)
        repaired = self._chance.random() < 0.7
        if repaired:
            self._settler.poisoned -= {event_id}
        states = self._lease_states(event_id)
        [result] = self._replay.replay(organization_id, [letter_id], actor="mem_1")
        mended = event_id not in self._settler.poisoned
        require(mended == (result.state is LetterState.SETTLED), f"{event_id} replayed: {result.state}")
        self._scenario.meetings["dead letter replayed after its lease closed"] += (
            mended and "closed" in states
        )
        return f"{event_id} {result.state.value}"

    def discard(self) -> str:
        """Drop a letter."""
        letters = self._letters()
        if not letters:
            return "nothing"
        organization_id, letter_id, event_id = self._chance.choice(letters)
        facts = self._scenario.oracle.facts
        for lease_id in self._leases(event_id):
            facts.dropped[lease_id].add(event_id)
        [result] = self._replay.discard(organization_id, [letter_id], actor="mem_1")
        require(result.state is LetterState.DISCARDED, f"{event_id} discarded: {result.state}")
        facts.discarded.add((organization_id, "proxy", event_id))
        self._scenario.meetings["dead letter discarded"] += 1
        return event_id

    def replay_all(self) -> None:
        """Mend everything and replay all letters of all organizations."""
        self._settler.poisoned = frozenset()
        for organization_id in self._scenario.keys:
            for result in self._replay.replay(organization_id, [], actor="mem_1"):
                require(result.state is LetterState.SETTLED, f"{result.event_id}: {result.state}")

    def _letters(self) -> list[tuple[str, str, str]]:
        rows = self._scenario.oracle.rows(
            "SELECT organization_id, dead_letter_id, event_id FROM dead_letters ORDER BY dead_letter_id"
        )
        return [(str(a), str(b), str(c)) for a, b, c in rows]

    def _leases(self, event_id: str) -> set[str]:
        rows = self._scenario.oracle.rows("SELECT envelope FROM dead_letters WHERE event_id = ?", event_id)
        [[text]] = rows
        return {part.lease_id for event in envelope.unpack(str(text)) for part in event.funding}

    def _lease_states(self, event_id: str) -> set[str]:
        oracle = self._scenario.oracle
        return {
            str(state)
            for lease_id in sorted(self._leases(event_id))
            for (state,) in oracle.rows("SELECT state FROM leases WHERE lease_id = ?", lease_id)
        }
