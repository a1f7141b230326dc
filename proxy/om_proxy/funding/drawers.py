"""The leases that lie here, by wallet, and who waits for more of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from om.edge.v1 import edge_service_pb2 as edge_pb
from om_proxy.funding.lease import GUARD_S, Declaration, Granted
from om_proxy.funding.lease_closing import LeaseClosing
from om_proxy.funding.purse import Purse
from om_proxy.server.server_client import ServerAway

#: A question for a lease that is in flight: the refusal, where it was not granted.
Flight = asyncio.Task[edge_pb.Refusal | None]


class LeaseUnusable(ServerAway):
    """A lease came too late to be spent, or behind the edge's last call; the next one would be no better."""


@dataclass(slots=True)
class Drawer:
    """The leases of one wallet; of none, where leases only reserve a limit."""

    wallet_id: str
    purse: Purse = field(default_factory=Purse)
    flight: Flight | None = None
    #: A question was asked and its answer lost; another one would take the money twice.
    unanswered: bool = False
    #: Not to be asked ahead for a lease before.
    refill_at: float = 0.0
    _waiting: set[asyncio.Future[bool]] = field(default_factory=set)

    def wake(self, *, ask: bool) -> None:
        """Let those who wait look again; `ask` where the wallet itself may have more."""
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(ask)

    async def woken(self, deadline: float) -> bool | None:
        """Wait for `wake` and tell its `ask`; None where the loop's time has come to the deadline."""
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.add(waiter)
        try:
            async with asyncio.timeout_at(deadline):
                return await waiter
        except TimeoutError:
            return None
        finally:
            self._waiting.discard(waiter)

    @property
    def pending(self) -> Flight | None:
        """The question that has no answer yet. Who awaits one that has would wait for nothing."""
        return self.flight if self.flight is not None and not self.flight.done() else None

    @property
    def idle(self) -> bool:
        """Whether nothing lies here and nobody waits."""
        return not (len(self.purse) or self.flight or self._waiting or self.unanswered)


@dataclass(frozen=True, slots=True)
class LeaseTotals:
    """The leases that lie here, of all wallets together."""

    count: int
    granted_nanos: int
    left_nanos: int


class Drawers:
    """Every wallet of which this edge knows something."""

    def __init__(
        self,
        closing: LeaseClosing,
        *,
        ready: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`ready`: whether the server knows this epoch, and its store is the one that grants the leases."""
        self._closing = closing
        self._ready = ready
        self._clock = clock
        self._drawers: dict[str, Drawer] = {}
        self._ended = False

    def __len__(self) -> int:
        return len(self._drawers)

    @property
    def open(self) -> bool:
        """Whether a lease is of use: there is room to write its calls down, and the edge goes on."""
        return not self._ended and self._closing.may_learn()

    def of(self, wallet_id: str) -> Drawer:
        """Give the drawer of a wallet."""
        drawer = self._drawers.get(wallet_id)
        if drawer is None:
            drawer = self._drawers[wallet_id] = Drawer(wallet_id)
        return drawer

    def totals(self) -> LeaseTotals:
        """Add up what lies here."""
        leases = [lease for drawer in self._drawers.values() for lease in drawer.purse.open_leases]
        granted = sum(lease.granted.amount_nanos for lease in leases)
        return LeaseTotals(len(leases), granted, sum(lease.left_nanos for lease in leases))

    def left_nanos(self, wallet_id: str) -> int:
        """What lies here of a wallet."""
        drawer = self._drawers.get(wallet_id)
        return drawer.purse.left_nanos(self._clock()) if drawer is not None else 0

    def put(self, response: edge_pb.AdmitResponse, *, asked_at: float) -> bool:
        """Write a lease down and put it in; whether there is one, of the present store. LeaseUnusable."""
        lease, wallet_id = response.lease, response.wallet_id
        if not lease.lease_id:
            return False
        # Counted from the question: the server began to count behind it.
        spend_until = asked_at + lease.time_to_live.ToTimedelta().total_seconds() - GUARD_S
        if not self._ready():
            self._closing.decline(lease.lease_id)
            return False
        if not self.open or self._clock() >= spend_until:
            self._closing.decline(lease.lease_id)
            raise LeaseUnusable
        self._closing.learn(lease.lease_id)
        granted = Granted(lease.lease_id, wallet_id, lease.amount_nanos, lease.max_intents, spend_until)
        self.of(wallet_id).purse.add(granted, self._clock())
        return True

    def recall(self, lease_id: str) -> bool:
        """Note that a neighbour needs a lease; whether it lies here."""
        return any(drawer.purse.recall(lease_id) for drawer in self._drawers.values())

    def funds_changed(self, wallet_id: str) -> None:
        """Let those who wait for a wallet ask again."""
        drawer = self._drawers.get(wallet_id)
        if drawer is not None:
            drawer.refill_at = 0.0
            drawer.wake(ask=True)

    def sweep(self) -> None:
        """Declare what is due, and forget wallets that nobody asks for."""
        now = self._clock()
        for drawer in list(self._drawers.values()):
            for declaration in drawer.purse.due(now):
                self._declare(drawer, declaration)
            if drawer.idle and not drawer.purse.wanted_nanos(now):
                del self._drawers[drawer.wallet_id]

    def end_all(self) -> None:
        """Spend from no lease any more, and declare each."""
        for drawer in self._drawers.values():
            for declaration in drawer.purse.end_all():
                self._declare(drawer, declaration)

    def drop_all(self) -> None:
        """Spend from no lease any more, without a word: a resync tells the server about their calls."""
        for drawer in self._drawers.values():
            drawer.purse.drop_all()

    async def close(self, grace_s: float) -> None:
        """Take no lease any more, and wait for what is in flight."""
        self._ended = True
        flights = [drawer.flight for drawer in self._drawers.values() if drawer.flight is not None]
        if flights:
            await asyncio.wait(flights, timeout=grace_s)

    def _declare(self, drawer: Drawer, declaration: Declaration) -> None:
        self._closing.close(declaration, lambda: drawer.wake(ask=True))
