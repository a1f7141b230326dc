"""K25: the clock of the server's machine jumps by an hour, and back, while leases are open."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.patience import awaited

if TYPE_CHECKING:
    from tests.faults.scene import MakeSite, MakeTraffic


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
@pytest.mark.parametrize(("jump", "clamped"), [("an hour ahead", False), ("an hour behind", True)])
def test_a_clock_that_jumps_frees_nothing_and_loses_nothing(
    make_site: MakeSite, make_traffic: MakeTraffic, *, kind: str, jump: str, clamped: bool, seed: int
) -> None:
    """To a clock that is behind, what edges report is of the future: its times are lowered and flagged."""
    site = make_site(kind)
    site.start()
    traffic = make_traffic(site, seed, lose_every=0)
    traffic.play(1)
    # What is settled from here on would free something.
    traffic.settle()
    for edge in traffic.edges:
        for tenant in site.tenants:
            edge.call(tenant, "small")
    set_aside = site.value("SELECT SUM(held) FROM wallets")

    site.kill()
    site.start(modes=[jump])
    # Every lease is over by an hour, or has an hour more: neither frees what it holds.
    assert site.value("SELECT SUM(held) FROM wallets") == set_aside > 0
    traffic.play(2)
    awaited(lambda: site.value("SELECT COUNT(*) FROM inbox") == 0)
    flagged = site.value("SELECT COUNT(*) FROM usage_events WHERE flags LIKE '%time_clamped%'")
    assert (flagged > 0) == clamped
    assert not site.value("SELECT COUNT(*) FROM usage_events WHERE event_time > receive_time")

    site.kill()
    site.start()
    traffic.play(1)
    traffic.check()
