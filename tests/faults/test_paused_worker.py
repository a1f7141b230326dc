"""K15: a worker stands still for longer than its batch is believed to be its own, and then goes on."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.faults.failpoint import Fault
from tests.faults.patience import awaited

if TYPE_CHECKING:
    from tests.faults.scene import MakeSite, MakeTraffic


@pytest.mark.parametrize("point", ["claimed", "rolled up", "after commit"])
def test_two_workers_with_one_batch_charge_once(
    make_site: MakeSite, make_traffic: MakeTraffic, point: str, seed: int
) -> None:
    """Redis gives the batch to the other worker: before the transaction of the first, in it, behind it."""
    site = make_site("redis")
    site.start(victim="a", fault=Fault(point, nth=1 + seed % 3, action="stop"))
    traffic = make_traffic(site, seed)
    paused, other = site.process("a"), site.process("b")

    traffic.play_until(lambda: paused.stopped)
    awaited(lambda: "batches_claimed_again" in other.log.read_text())
    paused.signal(signal.SIGCONT)

    traffic.play(1)
    traffic.check()


def test_a_worker_that_holds_rows_of_the_table_delays_no_others(
    make_site: MakeSite, make_traffic: MakeTraffic, seed: int
) -> None:
    """PostgreSQL: the other worker passes over what is locked, and the first settles it when it wakes."""
    site = make_site("postgresql")
    site.start(victim="a", fault=Fault("claimed", nth=1 + seed % 3, action="stop"))
    traffic = make_traffic(site, seed)
    paused = site.process("a")
    traffic.play_until(lambda: paused.stopped)
    before = traffic.oracle.settled()

    site.start_one("b")
    traffic.play(1)
    awaited(lambda: traffic.oracle.settled() - before)
    paused.signal(signal.SIGCONT)

    traffic.check()
