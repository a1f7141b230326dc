"""How most crash tests go: start with a fault somewhere, use the platform until it happens, go on."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from tests.faults.site import Site
from tests.faults.traffic import Traffic

if TYPE_CHECKING:
    from tests.faults.failpoint import Fault

MakeSite: TypeAlias = Callable[[str], Site]
MakeTraffic: TypeAlias = Callable[..., Traffic]

KINDS = ("sqlite", "postgresql", "redis")


def crashed(site: Site, traffic: Traffic, victim: str) -> None:
    """Use the platform until the victim has killed itself."""
    process = site.process(victim)
    traffic.play_until(lambda: process.ended)
    assert site.buried(victim) == -signal.SIGKILL


def settle_through_a_crash(site: Site, fault: Fault, make_traffic: MakeTraffic, *, seed: int) -> None:
    """Kill the process that settles; where there is another it goes on alone, else it starts again."""
    site.start(victim=site.settler, fault=fault)
    traffic = make_traffic(site, seed)
    crashed(site, traffic, site.settler)
    if len(site.worker_names) < 2:
        site.start()
    traffic.play(1)
    traffic.check()
