"""K30: an old worker meets what only a newer one can read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.failpoint import Fault
from tests.faults.patience import awaited
from tests.faults.scene import crashed

if TYPE_CHECKING:
    from tests.faults.scene import MakeSite, MakeTraffic


@pytest.mark.parametrize("kind", ["postgresql", "redis"])
def test_an_old_worker_leaves_newer_envelopes_to_a_newer_worker(
    make_site: MakeSite, make_traffic: MakeTraffic, kind: str, seed: int
) -> None:
    site = make_site(kind)
    site.start_one("rpc", modes=["newer"])
    old = site.start_one("a")
    traffic = make_traffic(site, seed)

    traffic.play(2)
    awaited(lambda: "envelope_unreadable" in old.log.read_text())
    assert not traffic.oracle.settled()
    site.start_one("b", modes=["newer"])

    traffic.check()


def test_a_rollback_to_an_old_version_loses_nothing_of_the_newer(
    make_site: MakeSite, make_traffic: MakeTraffic, seed: int
) -> None:
    """SQLite, where one process writes and settles."""
    site = make_site("sqlite")
    site.start(victim="rpc", fault=Fault("claimed"), modes=["newer"])
    traffic = make_traffic(site, seed)
    crashed(site, traffic, "rpc")

    old = site.start_one("rpc")
    traffic.play(1)
    awaited(lambda: "envelope_unreadable" in old.log.read_text())
    site.stop()
    site.start(modes=["newer"])

    traffic.check()
