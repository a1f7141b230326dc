"""K18 and K19: the database is an older one than before, and edges send it what it lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.patience import awaited
from tests.faults.scene import KINDS

if TYPE_CHECKING:
    from tests.faults.scene import MakeSite, MakeTraffic
    from tests.faults.traffic import Traffic


@pytest.mark.parametrize("kind", KINDS)
def test_an_older_database_gets_again_from_edges_what_it_has_lost(
    make_site: MakeSite, make_traffic: MakeTraffic, kind: str, seed: int
) -> None:
    """What applications reported after the backup is lost, and nothing else is: they have no journal."""
    site = make_site(kind)
    site.start()
    traffic = make_traffic(site, seed)
    traffic.play(2)
    awaited(lambda: all(traffic.attempt(application.send) for application in traffic.applications))
    awaited(lambda: promised(traffic) <= traffic.oracle.settled())
    # Leases are open, and events of edges wait.
    with site.backup() as backup:
        traffic.play(2)
        traffic.settle()
        site.kill()

        backup.put_back()
        renewed = site.run("migrate", "--restored")
        assert renewed.wait() == 0, renewed.log.read_text()
        gap = promised(traffic) - traffic.oracle.settled()
        assert gap
        traffic.oracle.forget(gap)
        for application in traffic.applications:
            application.forget(gap)
        lives = [edge.watching.store_life for edge in traffic.edges]
        site.start()
        awaited(
            lambda: all(
                edge.watching.store_life > life for edge, life in zip(traffic.edges, lives, strict=True)
            )
        )

        traffic.play(1)
        traffic.check()


def promised(traffic: Traffic) -> set[tuple[str, str, str]]:
    return set().union(*(application.answered for application in traffic.applications))
