"""A bounded number of seeds; `make simulate SEEDS=10000` plays as many as there is time for."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

import peewee
import pytest

from om_server.ingestion.job import Arrival, Job, JobState
from om_server.schema import MODELS
from om_server.storage.postgresql import PostgresStore
from om_server.wallet.charging import Charge, ChargeResult
from om_server.wallet.leases import closing
from om_server.wallet.leases.declaration import Declaration, declare
from om_server.wallet.leases.lease import Lease, LeaseReport
from om_server.wallet.ledger import WalletBook
from om_server.wallet.operations import WalletOperations
from tests.databases import PostgresTemplate
from tests.simulation.ground import break_ground
from tests.simulation.journal import Closed, Journal
from tests.simulation.network import Network
from tests.simulation.quick_sql import peewees_sql
from tests.simulation.run import MEETINGS, STEPS, play, simulation
from tests.simulation.scenario import Scenario

#: As many as there is time for.
SEEDS = range(7, 67)

_TRACE = """
from tests.simulation.run import STEPS, simulation
with simulation() as simulated:
    for seed in range(7, 10):
        for line in simulated.play(seed, steps=STEPS, every=STEPS).trace:
            print("step", line)
"""


def test_no_seed_makes_or_loses_money_and_every_rare_meeting_occurs() -> None:
    with simulation() as simulated:
        for seed in SEEDS:
            failure = simulated.run(seed)
            assert failure is None, str(failure)

    missing = [name for name in MEETINGS if not simulated.meetings[name]]
    assert missing == [], f"the seeds of {SEEDS} never met these"


def test_a_seed_plays_the_same_again_in_another_process() -> None:
    """What depends on the order of a set, on the time or on a random name differs between two processes."""

    def traced(hash_seed: str) -> list[str]:
        command = [sys.executable, "-c", _TRACE]
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        # The server's log lines have the time of day.
        return [line for line in done.stdout.splitlines() if line.startswith("step ")]

    first = traced("1")

    assert len(first) >= 3 * STEPS
    assert first == traced("2")


def test_how_often_everything_is_checked_changes_nothing_in_a_seed() -> None:
    with simulation() as simulated:
        first = simulated.play(7, steps=40, every=40)
        again = simulated.play(7, steps=40, every=1)

    assert first.failure is None
    assert first.trace == again.trace


@pytest.mark.parametrize("seed", range(4))
def test_seeds_play_on_postgresql_as_well(postgres_template: PostgresTemplate, seed: int) -> None:
    with (
        postgres_template.clone() as url,
        contextlib.closing(PostgresStore(url, MODELS, pool_size=2)) as store,
    ):
        played = play(Scenario(store, break_ground(store), seed=seed), seed, steps=STEPS, every=STEPS)

    assert played.failure is None, str(played.failure)


def test_statements_are_written_as_peewee_writes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each statement of a seed is written in both ways."""
    written: list[tuple[str, list[object]]] = []

    def context(database: peewee.Database, query: Any) -> tuple[str, list[object]]:
        sql, values = database.get_sql_context().sql(query).query()
        return sql, list(values)

    def execute(database: peewee.Database, query: Any, **options: Any) -> Any:
        with peewees_sql():
            written.append(context(database, query))
        assert context(database, query) == written[-1]
        return run(database, query, **options)  # type: ignore[no-untyped-call] # Peewee has no types for it.

    run = peewee.Database.execute
    monkeypatch.setattr(peewee.Database, "execute", execute)
    with simulation() as simulated:
        failure = simulated.run(8)

    assert failure is None, str(failure)
    assert len({sql for sql, _ in written}) > 30


def test_a_repaired_network_loses_nothing_and_a_broken_one_everything() -> None:
    arrived: list[str] = []
    network = Network(random.Random(1), Counter(), drop=1.0)
    network.send("lost", lambda: arrived.append("lost"), loss="an answer lost")
    network.heal()
    network.send("kept", lambda: arrived.append("kept"))

    assert [network.deliver(), network.deliver()] == ["kept", ""]
    assert arrived == ["kept"]
    assert network.meetings == {"an answer lost": 1}


def test_a_loss_of_power_takes_what_was_not_synced() -> None:
    journal = Journal("edg_1")
    journal.write(Closed("lse_1"))
    journal.sync()
    journal.write(Closed("lse_2"))
    journal.cut(0)

    assert (journal.closed, journal.doubted) == ({"lse_1"}, True)


def test_a_lease_that_is_freed_before_its_events_settle_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule that is broken on purpose: what events still keep is freed with the rest."""

    def free(lease: Lease, report: LeaseReport) -> Declaration:
        return declare(lease, dataclasses.replace(report, keep=0))

    monkeypatch.setattr(closing, "declare", free)

    _require_found()


def test_an_event_that_is_charged_twice_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule that is broken on purpose: the money moves again, and nothing else does."""

    def twice(
        wallets: WalletOperations, organization_id: str, charges: Sequence[Charge]
    ) -> list[ChargeResult]:
        settle_charges(
            wallets, organization_id, [dataclasses.replace(charge, funding=()) for charge in charges]
        )
        return settle_charges(wallets, organization_id, charges)

    settle_charges = WalletOperations.settle_charges
    monkeypatch.setattr(WalletOperations, "settle_charges", twice)

    _require_found()


def test_the_end_of_a_job_that_charges_nobody_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule that is broken on purpose: the call that began it was settled before, and stays as it is."""

    def forget(job: Job, terminal: str, *, now: int) -> tuple[Job, Arrival]:
        return (job, Arrival.REPEATS) if job.state is JobState.DEFERRED else end(job, terminal, now=now)

    end = Job.end
    monkeypatch.setattr(Job, "end", forget)

    _require_found()


def test_a_hold_that_owes_nothing_after_its_time_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule that is broken on purpose: its work has happened, and nobody pays for it."""
    monkeypatch.setattr(WalletBook, "owe", lambda *_, **__: None)

    _require_found()


def _require_found() -> None:
    with simulation() as simulated:
        failures = (simulated.run(seed, steps=60) for seed in SEEDS)
        found = next(failure for failure in failures if failure is not None)
    assert f"seed {found.seed}, step {found.step}" in str(found)
    assert found.trace
