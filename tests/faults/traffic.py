"""Everybody who uses the platform in a crash test: edges and applications, steered by one seed."""

from __future__ import annotations

import functools
import random
from typing import TYPE_CHECKING

from tests.faults.application import Application
from tests.faults.edge import Edge
from tests.faults.oracle import Oracle
from tests.faults.patience import awaited
from tests.faults.wire import Away, Wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults.site import Site

_ROUNDS_MAX = 60


class Traffic:
    """Two edges and an application for each organization."""

    def __init__(self, site: Site, seed: int, *, lose_every: int = 12, prefix: str = "") -> None:
        self.chance = random.Random(seed)
        self.site = site
        self.oracle = Oracle(site)
        self.wire = Wire(site, self.chance, lose_every=lose_every)
        self.edges = [Edge(self.wire, self.chance, self.oracle, prefix=prefix) for _ in range(2)]
        self.applications = [
            Application(self.wire, self.chance, self.oracle, tenant=tenant) for tenant in site.tenants
        ]

    def play(self, rounds: int = 2, *, applications: bool = True) -> None:
        """Use the platform while it is there or not; what gets no answer is tried again later."""
        for _ in range(rounds):
            for edge in self.edges:
                for _ in range(self.chance.randint(2, 5)):
                    self.attempt(functools.partial(self._call, edge))
                self.attempt(edge.ship)
                if self.chance.random() < 0.3:
                    self.attempt(edge.close_leases)
            if applications:
                for application in self.applications:
                    application.use(self.chance.randint(1, 4))
                    self.attempt(application.send)

    def play_until(self, over: Callable[[], bool], **options: bool) -> None:
        """Use the platform until the fault has happened."""
        for _ in range(_ROUNDS_MAX):
            if over():
                return
            self.play(1, **options)
        raise AssertionError("the fault never happened")

    def finish(self) -> None:
        """Let everybody say all that there is to say; one edge begins another life for that."""
        self.edges[0].restart()
        awaited(self._said_all)

    def check(self) -> None:
        """Say all, wait for all, compare all."""
        self.finish()
        self.oracle.check()

    def settle(self) -> None:
        """Wait until all that happened so far is settled."""
        awaited(self._said_all)
        self.oracle.wait()

    def close(self) -> None:
        for edge in self.edges:
            edge.close()

    def attempt(self, act: Callable[[], None]) -> bool:
        try:
            act()
        except Away:
            return False
        return True

    def _call(self, edge: Edge) -> None:
        tenant = self.chance.choice(self.site.tenants)
        edge.call(tenant, self.chance.choice(("", "small")))

    def _said_all(self) -> bool:
        done = [self.attempt(edge.ship) and self.attempt(edge.close_leases) for edge in self.edges]
        done += [self.attempt(application.send) and application.done for application in self.applications]
        return all(done) and not any(edge.unsettled for edge in self.edges)
