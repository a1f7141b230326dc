"""Runs seeds, each on a fresh copy of one migrated database in memory, and finds where one fails."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from om_server.schema import MODELS
from om_server.storage.migrate import migrate
from om_server.storage.sqlite import SqliteStore
from tests.simulation.ground import break_ground
from tests.simulation.quick_sql import quick_sql
from tests.simulation.quiescence import settle_down
from tests.simulation.scenario import Scenario

if TYPE_CHECKING:
    from collections.abc import Iterator

_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of its own is made in it

#: The steps of a seed, and after how many of them everything is checked.
STEPS = 120
EVERY = 40
#: How many of the last steps a failure shows.
_SHOWN = 25

#: What the seeds of the suite have to bring about, or the simulation proves less than it says.
MEETINGS = (
    "admit answer with a lease lost",
    "answer to a dead process",
    "call of a job that has ended",
    "charge refunded",
    "close against a queued settle",
    "close answer lost",
    "conflicting report refused",
    "cut against a call in flight",
    "end of a job again",
    "end of a job before its call",
    "end of a job behind its call",
    "event on two leases",
    "hold beside a lease of its wallet",
    "hold charged against its end",
    "hold charged in part",
    "hold freed",
    "hold refused: INSUFFICIENT_FUNDS",
    "intake answer lost",
    "key revoked in flight",
    "late admit after the next epoch's resync",
    "lease quarantined",
    "limit changed",
    "limit set with calls in flight",
    "more consumed than its bound",
    "orphan resolved",
    "outcome after its lease expired",
    "outcome again after its lease closed",
    "outcome: deferred",
    "outcome: unknown",
    "outcome: unpriced",
    "raise against a call in flight",
    "redelivery after the commit",
    "refused: INSUFFICIENT_FUNDS",
    "refused: LIMIT_REACHED",
    "refused: WALLET_BLOCKED",
    "resync answer lost",
    "suspense released",
    "twin of an answered admit",
    "unclean boot",
    "wallet corrected by hand",
    "worker killed before its commit",
)

#: What takes some thousand seeds to occur for certain.
RARE = (
    "answer of another life of the store",
    "call of a job that was charged alone",
    "credit lowered below what is overdrawn",
    "dead letter discarded",
    "dead letter replayed after its lease closed",
    "empty disk",
    "end of a job of which an owner had decided",
    "end of a job whose money is in suspense",
    "end of a job without a call in a day",
    "first price for an event without one",
    "hold charged after it had expired",
    "hold refused: WALLET_BLOCKED",
    "job that nobody saw end in a day",
    "key revoked with calls in flight",
    "late close of an older epoch",
    "late resync of an older epoch",
    "lease of a lost time settled",
    "lease of a wallet and what overflows",
    "lease recalled",
    "lease that a restored store does not know",
    "limit used up exactly",
    "new life of the store heard on a stream",
    "outcome after its lease was resolved",
    "quarantined lease resolved",
    "refund of more than is left",
    "store restored",
    "stream cut with settled ranges on it",
    "transfer between wallets",
    "wallet blocked with calls in flight",
    "wallet created in mid-flight",
)


@dataclass(frozen=True)
class Failure:
    """Where a seed went wrong."""

    seed: int
    step: int
    error: Exception
    trace: tuple[str, ...]

    def __str__(self) -> str:
        lines = "\n".join(f"  {line}" for line in self.trace[-_SHOWN:])
        return (
            f"seed {self.seed}, step {self.step}: {type(self.error).__name__}: {self.error}\n"
            f"the last steps:\n{lines}\nagain: python -m tests.simulation --seed {self.seed}"
        )


@dataclass(frozen=True)
class Play:
    """How one seed went."""

    trace: tuple[str, ...]
    meetings: Counter[str]
    failure: Failure | None


class Simulation:
    """A template database, and what every seed shares."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._template = folder / "template.db"
        store = SqliteStore(self._template, MODELS)
        migrate(store, incarnation="inc_test", now_us=0)
        self._ground = break_ground(store)
        store.close()
        self.meetings: Counter[str] = Counter()

    def run(self, seed: int, *, steps: int = STEPS) -> Failure | None:
        """Play one seed. One that fails is played again with a check after each step."""
        play = self.play(seed, steps=steps, every=EVERY)
        self.meetings += play.meetings
        if play.failure is None:
            return None
        return self.play(seed, steps=steps, every=1).failure or play.failure

    def play(self, seed: int, *, steps: int, every: int) -> Play:
        """Play one seed, with a check after so many steps."""
        path = self._folder / "seed.db"
        shutil.copy(self._template, path)
        store = SqliteStore(path, MODELS)
        scenario = Scenario(store, self._ground, seed=seed)
        try:
            return play(scenario, seed, steps=steps, every=every)
        finally:
            scenario.close()
            store.close()
            for name in ("seed.db", "seed.db-wal", "seed.db-shm"):
                (self._folder / name).unlink(missing_ok=True)


def play(scenario: Scenario, seed: int, *, steps: int, every: int) -> Play:
    """Play a scenario to its end, with a check after so many steps."""
    step, failure = 0, None
    try:
        for step in range(1, steps + 1):
            scenario.step()
            if step % every == 0:
                scenario.check()
        step = steps + 1
        settle_down(scenario)
    except Exception as error:  # noqa: BLE001 - whatever it is, it names the seed
        failure = Failure(seed, step, error, tuple(scenario.trace))
    return Play(tuple(scenario.trace), scenario.meetings, failure)


@contextmanager
def simulation() -> Iterator[Simulation]:
    """A simulation whose databases lie in memory where the machine has such a folder."""
    folder = str(_MEMORY) if _MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="om-simulation-", dir=folder) as name, quick_sql():
        yield Simulation(Path(name))
