"""An older copy of the store takes its place, under a new incarnation, while edges go on."""

from __future__ import annotations

import itertools
import sqlite3
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from tests.simulation.facts import Facts
    from tests.simulation.scenario import Scenario


class Backups:
    """One copy, and what was known when it was made."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._copy: sqlite3.Connection | None = None
        self._facts: Facts | None = None
        self._lives = itertools.count(1)

    @property
    def _connection(self) -> sqlite3.Connection:
        engine = self._scenario.world.database.engine
        return cast("sqlite3.Connection", getattr(engine, "writer"))  # noqa: B009 - peewee has no such name

    def back_up(self) -> str:
        """Copy the store."""
        self.close()
        self._copy = sqlite3.connect(":memory:")
        self._connection.backup(self._copy)
        self._facts = self._scenario.oracle.facts.copy()
        return ""

    def restore(self) -> str:
        """Go back to the copy."""
        if self._copy is None or self._facts is None:
            return "no copy"
        scenario, oracle = self._scenario, self._scenario.oracle
        self._copy.backup(self._connection)
        scenario.incarnation = f"inc_{next(self._lives)}"
        world = scenario.world
        world.database.write(
            lambda: world.database.engine.execute_sql(
                "UPDATE incarnations SET incarnation = ?", (scenario.incarnation,)
            )
        )
        forgotten, tariffs = set(oracle.facts.given), oracle.facts.tariffs
        oracle.facts = self._facts.copy()
        forgotten -= oracle.facts.given
        oracle.repriced |= {name for name in tariffs if tariffs[name] != oracle.facts.tariffs[name]}
        oracle.restored = True
        known = {
            (str(a), str(b), str(c))
            for a, b, c in oracle.rows("SELECT organization_id, source, event_id FROM event_identities")
        }
        oracle.gap |= oracle.reports.keys() - known
        scenario.meetings["store restored"] += 1
        spent = {
            lease_id for edge in scenario.edges for lease_id in edge.journal.of_lease if lease_id in forgotten
        }
        scenario.meetings["lease that a restored store does not know"] += len(spent)
        return f"{len(forgotten)} leases forgotten"

    def close(self) -> None:
        """Drop the copy."""
        if self._copy is not None:
            self._copy.close()
            self._copy = None
