"""K11 to K14, K16 and K26: a worker dies around the transaction that settles, and all is charged once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.failpoint import Fault
from tests.faults.scene import KINDS, settle_through_a_crash

if TYPE_CHECKING:
    from tests.faults.scene import MakeSite, MakeTraffic


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_dead_worker_had_claimed_is_settled_by_another(
    make_site: MakeSite, make_traffic: MakeTraffic, kind: str, seed: int
) -> None:
    """K11. A table's rows are claimed in the transaction, those of Redis before it."""
    fault = Fault("claimed", nth=1 + seed % 4)
    settle_through_a_crash(make_site(kind), fault, make_traffic, seed=seed)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("point", ["identities claimed", "before commit"])
def test_a_transaction_that_dies_leaves_nothing_behind(
    make_site: MakeSite, make_traffic: MakeTraffic, kind: str, point: str, seed: int
) -> None:
    """K12: at its first write, and when all is written."""
    fault = Fault(point, nth=1 + seed % 4)
    settle_through_a_crash(make_site(kind), fault, make_traffic, seed=seed)


@pytest.mark.parametrize("kind", KINDS)
def test_the_ledger_and_the_rollups_move_together(
    make_site: MakeSite, make_traffic: MakeTraffic, kind: str, seed: int
) -> None:
    """K26: dead between the two."""
    fault = Fault("money moved", nth=1 + seed % 4)
    settle_through_a_crash(make_site(kind), fault, make_traffic, seed=seed)


@pytest.mark.parametrize("kind", ["postgresql", "redis"])
def test_a_commit_whose_answer_got_lost_is_not_settled_again(
    make_site: MakeSite, make_traffic: MakeTraffic, kind: str, seed: int
) -> None:
    """K13: the worker lives on and believes that it failed."""
    site = make_site(kind)
    site.start(victim=site.settler, fault=Fault("after commit", nth=1 + seed % 4, action="lose"))
    traffic = make_traffic(site, seed)
    process = site.process(site.settler)

    traffic.play_until(lambda: "settle_postponed" in process.log.read_text())

    traffic.play(1)
    traffic.check()


@pytest.mark.parametrize("kind", KINDS)
def test_a_worker_that_dies_after_its_commit_has_charged_once(
    make_site: MakeSite, make_traffic: MakeTraffic, kind: str, seed: int
) -> None:
    """K13 and K14: with Redis nobody was told that the batch is settled."""
    fault = Fault("after commit", nth=1 + seed % 4)
    settle_through_a_crash(make_site(kind), fault, make_traffic, seed=seed)


def test_what_is_acknowledged_leaves_the_stream_at_once(
    make_site: MakeSite, make_traffic: MakeTraffic, seed: int
) -> None:
    """K16: acknowledging and trimming are one transaction of Redis, so nothing is left between them."""
    fault = Fault("after acknowledge", nth=1 + seed % 4)
    site = make_site("redis")

    settle_through_a_crash(site, fault, make_traffic, seed=seed)

    assert site.redis is not None
    assert site.redis.client.xpending("om:{events}:stream", "settlement")["pending"] == 0
    assert not site.redis.client.keys("om:{events}:waiting:*")
