"""K29: a SQLite file has one owner, and a dead one leaves it free."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.faults.failpoint import Fault
from tests.faults.scene import crashed

if TYPE_CHECKING:
    from tests.faults.scene import MakeSite, MakeTraffic


def test_a_second_owner_of_a_file_does_not_start(
    make_site: MakeSite, make_traffic: MakeTraffic, seed: int
) -> None:
    site = make_site("sqlite")
    site.start(victim="rpc", fault=Fault("after append", nth=8))
    traffic = make_traffic(site, seed)
    traffic.play(1)

    second = site.run("serve", "rpc")

    assert second.wait() == 1
    assert "in use by another process" in second.log.read_text()
    crashed(site, traffic, "rpc")
    site.start()
    traffic.check()
