"""How many queued events a second the worker settles, all of them charged to one wallet.

Batches of 500 are queued outside the measured time; what is measured is the worker's own
transaction: claim, rate, charge, roll up, commit.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from om_server import connections, wiring
from om_server.account.development import ORGANIZATION_ID
from om_server.core.clock import system_clock
from om_server.core.collector import spare_what_stays
from om_server.ingestion import envelope
from om_server.storage.inbox import SqlInbox
from om_server.storage.queue import Batch
from om_server.wallet.leases.closing import Past
from om_server.wallet.leases.lease import EdgeIdentity, Lease, LeaseRequest
from tests.bench import sample
from tests.bench.deployment import prepared
from tests.bench.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from om_server.core.event import Event

_BATCH = 500
_WARM_UP_BATCHES = 3
_BOUND = 10**9
#: Opening leases takes longer than settling them, so a measurement also ends by the clock on the wall.
_WALL_FACTOR = 3
_EDGE = EdgeIdentity("edg_00000000000000000000bench0", 1, "bench")
_BAR = ">= 5,000 (aim 20,000)"


@dataclass(frozen=True, slots=True)
class Took:
    """What settling took, by the clock and in processor time, which a busy machine changes less."""

    elapsed_s: float
    cpu_s: float

    def __add__(self, other: Took) -> Took:
        return Took(self.elapsed_s + other.elapsed_s, self.cpu_s + other.cpu_s)


@dataclass(frozen=True, slots=True)
class _Speed:
    """Events a second, and microseconds of processor for each."""

    per_second: float
    cpu_us: float


def settle(folder: Path, seconds: float) -> list[Figure]:
    """Events that an SDK reported, then a proxy's, on both databases."""
    found = {
        (engine, kind): _measure(folder, engine, seconds, leased=leased)
        for kind, leased in (("SDK events", False), ("proxy events, a lease each", True))
        for engine in ("SQLite", "PostgreSQL")
    }
    first = found["SQLite", "SDK events"].per_second
    return [
        Figure(
            f"{engine}, {kind}",
            speed.per_second,
            "events/s",
            speed.per_second / first,
            "SQLite, SDK",
            bar=_BAR,
            note=f"{speed.cpu_us:.0f} us of processor each",
        )
        for (engine, kind), speed in found.items()
    ]


def _measure(folder: Path, engine: str, seconds: float, *, leased: bool) -> _Speed:
    with bench(folder, engine, leased=leased) as run:
        for _ in range(_WARM_UP_BATCHES):
            run()
        total, batches = Took(0, 0), 0
        wall_end = time.perf_counter() + seconds * _WALL_FACTOR
        while total.elapsed_s < seconds and (time.perf_counter() < wall_end or not batches):
            total += run()
            batches += 1
        events = batches * _BATCH
        return _Speed(events / total.elapsed_s, total.cpu_s / events * 1_000_000)


@contextlib.contextmanager
def bench(folder: Path, engine: str, *, leased: bool) -> Iterator[Callable[[], Took]]:
    """Give a function that queues a batch, settles it, and returns what the settling took."""
    with prepared(folder, engine.lower()) as deployed:
        database = connections.open_database(deployed.settings)
        platform, inbox = wiring.build(database), SqlInbox(database, system_clock)
        platform.wallet.resync(_EDGE, Past(boot_id="bench"))
        # As the programs that settle do at their start.
        spare_what_stays()
        numbers = iter(range(10**9))

        def run() -> Took:
            number = next(numbers)
            ids = [f"bench-{number}-{index}" for index in range(_BATCH)]
            events = _proxied(platform, ids) if leased else _reported(ids)
            inbox.append([Batch(ORGANIZATION_ID, f"bat_{number:08d}", envelope.pack(events), _BATCH)])
            started, cpu_started = time.perf_counter(), time.process_time()
            settled = platform.worker.settle_once()
            took = Took(time.perf_counter() - started, time.process_time() - cpu_started)
            if not settled or inbox.status(ORGANIZATION_ID)[0]:
                raise RuntimeError("the batch was not settled whole")
            return took

        yield run
        _require_charged(platform)
        database.close()


def _reported(ids: list[str]) -> list[Event]:
    return [sample.event(event_id, index) for index, event_id in enumerate(ids)]


def _proxied(platform: wiring.Platform, ids: list[str]) -> list[Event]:
    """Events with the leases that their calls were admitted with."""
    wallet_id = platform.wallet.get_wallet(ORGANIZATION_ID).wallet_id

    def lease(event_id: str) -> Lease:
        request = LeaseRequest(wallet_id, _EDGE, event_id, event_id, _BOUND, _BOUND, max_intents=1)
        opened = platform.wallet.open_lease(ORGANIZATION_ID, request)
        if opened is None:
            raise RuntimeError("no lease was opened")
        return opened

    leases = platform.database.write(lambda: [lease(event_id) for event_id in ids])
    return [sample.proxied(event_id, index, lease=leases[index]) for index, event_id in enumerate(ids)]


def _require_charged(platform: wiring.Platform) -> None:
    """A batch whose events were set aside, or are held, would have been fast for the wrong reason."""
    wallet = platform.wallet.get_wallet(ORGANIZATION_ID)
    letters = platform.database.read(
        lambda: platform.database.engine.execute_sql("SELECT COUNT(*) FROM dead_letters").fetchone()
    )
    if wallet.held or wallet.receivable or letters != (0,):
        raise RuntimeError("not every event was charged from the wallet")
