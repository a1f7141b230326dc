"""K7 to K9: the reply of intake gets lost, or intake dies before or behind the queue."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import pytest

from tests.faults.failpoint import Fault
from tests.faults.scene import KINDS, crashed

if TYPE_CHECKING:
    from tests.faults.scene import MakeSite, MakeTraffic


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_whose_reply_got_lost_is_charged_once(
    make_site: MakeSite, make_traffic: MakeTraffic, kind: str, seed: int
) -> None:
    """K7, for admissions and declarations too: every third answer gets lost."""
    site = make_site(kind)
    site.start()
    traffic = make_traffic(site, seed, lose_every=3)

    traffic.play(4)

    assert traffic.wire.lost > 5
    traffic.check()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("point", ["before append", "after append"])
def test_intake_that_dies_beside_its_queue_loses_and_doubles_nothing(
    make_site: MakeSite, make_traffic: MakeTraffic, kind: str, point: str, seed: int
) -> None:
    """K8 and K9. Edges send again also what they could learn to be settled."""
    site = make_site(kind)
    site.start(victim="rpc", fault=Fault(point, nth=3 + seed % 7))
    traffic = make_traffic(site, seed)

    crashed(site, traffic, "rpc")
    site.start()
    for edge in traffic.edges:
        traffic.attempt(functools.partial(edge.ship, everything=True))

    traffic.play(1)
    traffic.check()
