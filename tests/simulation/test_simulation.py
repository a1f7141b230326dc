"""A bounded number of seeds; `make simulate SEEDS=10000` plays as many as there is time for."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from collections.abc import Sequence

import pytest

from om_server.wallet.charging import Charge, ChargeResult
from om_server.wallet.leases import closing
from om_server.wallet.leases.declaration import Declaration, declare
from om_server.wallet.leases.lease import Lease, LeaseReport
from om_server.wallet.operations import WalletOperations
from tests.simulation.journal import Closed, Journal
from tests.simulation.network import Network
from tests.simulation.run import MEETINGS, simulation

#: Each rare meeting occurs at least three times in them.
SEEDS = range(7, 19)


def test_no_seed_makes_or_loses_money_and_every_rare_meeting_occurs() -> None:
    with simulation() as simulated:
        for seed in SEEDS:
            failure = simulated.run(seed)
            assert failure is None, str(failure)

    missing = [name for name in MEETINGS if not simulated.meetings[name]]
    assert missing == [], f"the seeds of {SEEDS} never met these"


def test_what_a_seed_found_once_stays_mended() -> None:
    """An event without an end on two leases, the first of which lay over two grants, was set aside."""
    with simulation() as simulated:
        failure = simulated.run(133)

    assert failure is None, str(failure)


def test_a_seed_plays_the_same_again() -> None:
    with simulation() as simulated:
        first = simulated.play(7, steps=40, every=40)
        again = simulated.play(7, steps=40, every=20)

    assert first.failure is None
    assert (first.trace, first.meetings) == (again.trace, again.meetings)


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


def _require_found() -> None:
    with simulation() as simulated:
        failures = (simulated.run(seed, steps=60) for seed in SEEDS)
        found = next(failure for failure in failures if failure is not None)
    assert f"seed {found.seed}, step {found.step}" in str(found)
    assert found.trace
