"""K21: the disk of the database is full for a while, under processes that go on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.full_disk import full_disk
from tests.faults.patience import awaited
from tests.faults.scene import KINDS

if TYPE_CHECKING:
    from tests.faults.scene import MakeSite, MakeTraffic
    from tests.faults.site import Site
    from tests.faults.traffic import Traffic


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_full_disk_does_not_take_is_charged_once_when_there_is_room(
    make_site: MakeSite, make_traffic: MakeTraffic, kind: str, seed: int
) -> None:
    """Nobody is told that it is settled, and no event is to blame."""
    site = make_site(kind)
    site.start()
    traffic = make_traffic(site, seed, lose_every=0)
    _call(traffic)

    with full_disk(site):
        traffic.play_until(lambda: "settle_postponed" in _logs(site))
        if kind != "redis":
            # The queue is on that disk too, so that who reports has to keep it.
            traffic.play_until(lambda: not all(application.done for application in traffic.applications))
        _require_told_what_is_settled(site)
    assert not any(site.process(name).ended for name in ("rpc", *site.worker_names))

    traffic.play(1)
    traffic.check()
    assert "batch_taken_apart" not in _logs(site)


def test_workers_that_die_while_the_disk_is_full_have_acknowledged_nothing(
    make_site: MakeSite, make_traffic: MakeTraffic, seed: int
) -> None:
    """Each has taken what an application reported, which only Redis still has."""
    site = make_site("redis")
    site.start()
    traffic = make_traffic(site, seed, lose_every=0)
    logs = [site.process(name).log for name in site.worker_names]

    with full_disk(site):
        for application in traffic.applications:
            application.use(3)
            application.send()
        awaited(lambda: all("settle_postponed" in log.read_text() for log in logs))
        site.kill(*site.worker_names)
    site.start()

    traffic.check()


def _call(traffic: Traffic) -> None:
    """Let edges have something to report."""
    traffic.play(1)
    for edge in traffic.edges:
        for tenant in [*traffic.site.tenants] * 4:
            edge.call(tenant, "")


def _require_told_what_is_settled(site: Site) -> None:
    """As often as an edge was told that something is settled, so many events of edges are."""
    [[told, settled]] = site.rows(
        "SELECT (SELECT SUM(last_sequence - value + 1) FROM changes WHERE kind = 'settled'), "
        "(SELECT COUNT(*) FROM usage_events WHERE edge_id <> '')"
    )
    assert int(told or 0) == settled


def _logs(site: Site) -> str:
    return "".join(file.read_text(errors="replace") for file in site.folder.glob("*.log"))
