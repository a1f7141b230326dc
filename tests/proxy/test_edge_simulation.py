"""Whatever is lost, killed, restarted or put back: every call ends once, and all money is somewhere."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from om_server.wallet.leases.lease import LeaseState
from tests.proxy.simulated_edge import EdgeProcess, VirtualLoop
from tests.proxy.simulated_store import Store

_EDGES = 2
_PATIENCE_S = 3_600  # Of the loop's own time.


class World:
    """Two edges of one wallet, and what happens to them."""

    def __init__(self, path: Path, seed: int, *, restores: bool) -> None:
        self.chance = random.Random(seed)
        self.store = Store(self.chance.choice((400, 2_000, 100_000)), asyncio.get_running_loop().time)
        self._paths = [path / str(number) for number in range(_EDGES)]
        self.edges = [EdgeProcess(self.store, folder, self.chance) for folder in self._paths]
        self.begun: list[str] = []
        self.calls = 0
        self._backup = copy.deepcopy(self.store.books) if restores else None

    async def live(self, steps: int) -> None:
        for _ in range(steps):
            await getattr(self, f"_{self.chance.choice(_ACTS)}")()
            self.store.check()
            await asyncio.sleep(self.chance.choice((0, 0.001, 0.1, 1, 5)))

    async def heal(self) -> None:
        """End all trouble, let every call end, and close the edges when their journals are done."""
        for edge in self.edges:
            edge.link.trouble, edge.link.cut = 0.0, False
        await asyncio.sleep(300)
        for edge in self.edges:
            self.begun += edge.begun
            await edge.close()
        # What nobody could be told in time, the next start tells.
        for folder in self._paths:
            edge = EdgeProcess(self.store, folder, self.chance)
            async with asyncio.timeout(_PATIENCE_S):
                while not (edge.life.ready.is_set() and edge.journal.done()):  # noqa: ASYNC110
                    await asyncio.sleep(1)
            await edge.close()

    async def _call(self) -> None:
        edge = self.chance.choice(self.edges)
        for _ in range(self.chance.randint(1, 6)):
            self.calls += 1
            task = edge.run(edge.call(f"evt_{self.calls}"))
            if self.chance.random() < 0.2:
                asyncio.get_running_loop().call_later(self.chance.choice((0, 0.01, 0.3, 2)), task.cancel)

    async def _trouble(self) -> None:
        self.chance.choice(self.edges).link.trouble = self.chance.choice((0, 0, 0.2, 0.6))

    async def _cut(self) -> None:
        link = self.chance.choice(self.edges).link
        link.cut = not link.cut

    async def _kill(self) -> None:
        number = self.chance.randrange(_EDGES)
        await self.edges[number].kill()
        self.begun += self.edges[number].begun
        self.edges[number] = EdgeProcess(self.store, self._paths[number], self.chance)

    async def _back_up(self) -> None:
        if self._backup is not None:
            self._backup = copy.deepcopy(self.store.books)

    async def _restore(self) -> None:
        if self._backup is not None and self.chance.random() < 0.3:
            self.store.restore(self._backup)


_ACTS = ("call", "call", "call", "call", "call", "trouble", "cut", "kill", "back_up", "restore")


@contextlib.contextmanager
def repeatable(seed: int) -> Iterator[None]:
    """Pauses of the edges are random too."""
    before = random.getstate()
    random.seed(seed)
    yield
    random.setstate(before)


def lived(path: Path, seed: int, *, restores: bool) -> World:
    async def run() -> World:
        world = World(path, seed, restores=restores)
        await world.live(60)
        await world.heal()
        return world

    loop = VirtualLoop()
    with repeatable(seed), capture_logs():
        try:
            return loop.run_until_complete(run())
        finally:
            loop.close()


@pytest.mark.parametrize("seed", range(25))
def test_every_call_ends_once_and_every_lease_returns(tmp_path: Path, seed: int) -> None:
    world = lived(tmp_path, seed, restores=False)
    store = world.store

    store.check()
    assert store.alarms == []
    assert set(world.begun) == set(store.books.charged)
    assert max(Counter(world.begun).values(), default=1) == 1
    assert Counter(lease.state for lease in store.books.leases.values()).keys() <= {LeaseState.CLOSED}
    assert (store.books.held, store.books.receivable) == (0, 0)
    assert store.books.revenue == sum(store.books.charged.values())


@pytest.mark.parametrize("seed", range(25))
def test_a_store_that_was_put_back_hears_of_every_call_and_every_lease(tmp_path: Path, seed: int) -> None:
    """What leases paid for that it never had is charged directly; nothing is charged twice or kept."""
    world = lived(tmp_path, seed, restores=True)
    store = world.store

    store.check()
    assert not [alarm for alarm in store.alarms if alarm.startswith("lease_")]
    assert set(world.begun) == set(store.books.charged)
    assert Counter(lease.state for lease in store.books.leases.values()).keys() <= {LeaseState.CLOSED}
    assert store.books.held == 0
    assert store.books.revenue == sum(store.books.charged.values())
