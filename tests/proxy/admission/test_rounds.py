"""Who waits for money goes round by round, and each round waits for something that happens."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from om.edge.v1 import edge_service_pb2 as edge_pb
from om_proxy.admission.lease_desk import QUEUE_WAIT_S
from om_proxy.admission.outcome import Intent
from om_proxy.server.server_client import ServerAway, ServerRefused
from tests.proxy.bank import BOUND, CALL, KNOWN, WALLET, Bank, Till
from tests.proxy.intents import WHO
from tests.proxy.simulated_edge import VirtualLoop

_CALLS = 60
#: A call waits for the queue, and then for the one answer that it is waiting for.
_PATIENCE_S = QUEUE_WAIT_S + 5


class Turns(VirtualLoop):
    """Counts its turns."""

    def __init__(self) -> None:
        super().__init__()
        self.turn = 0

    def _run_once(self) -> None:
        self.turn += 1
        super()._run_once()


class Moody(Bank):
    """Answers late, or not at all, and changes who pays and how long a lease lives."""

    def moods(self, chance: random.Random) -> None:
        self._chance = chance

    async def ask(self, rpc: Any, request: Any) -> Any:
        await asyncio.sleep(self._chance.choice((0, 0, 0.001, 0.02)))
        if rpc == "Admit":
            trouble = self._chance.random()
            if trouble < 0.05:
                self.errors["Admit"] = [ServerAway()]
            elif trouble < 0.1:
                self.errors["Admit"] = [ServerRefused("KEY_REVOKED")]
        return await super().ask(rpc, request)


class World:
    """One edge whose rounds are written down, and what happens to its wallet."""

    def __init__(self, loop: Turns, chance: random.Random) -> None:
        self.bank = Moody(available=BOUND * chance.choice((0, 5, 40, 1_000)))
        self.bank.moods(chance)
        self.bank.largest = chance.choice((BOUND, 3 * BOUND, 2**62))
        self.till = Till(self.bank, wait_s=0.5)
        self.till.spending._admitter._retry_delay_s = 0.01
        self.chance = chance
        self.rounds: Counter[tuple[asyncio.Task[Any] | None, int]] = Counter()
        desk = self.till.desk
        for name in ("_shared", "_alone"):
            self._count(desk, name, loop)

    def _count(self, desk: Any, name: str, loop: Turns) -> None:
        go = getattr(desk, name)

        async def counted(*arguments: Any, **named: Any) -> Any:
            self.rounds[asyncio.current_task(), loop.turn] += 1
            return await go(*arguments, **named)

        setattr(desk, name, counted)

    async def call(self, number: int) -> None:
        await asyncio.sleep(self.chance.choice((0, 0.01, 0.3, 1)))
        # In any turn of a question, also in that in which it ends.
        for _ in range(self.chance.randrange(20)):
            await asyncio.sleep(0)
        async with asyncio.timeout(_PATIENCE_S):
            intent = await self.till.admit(event_id=f"evt_{number}")
        if not isinstance(intent, Intent):
            return
        await asyncio.sleep(self.chance.choice((0, 0.05, 0.4)))
        if intent.grant.parts and self.chance.random() < 0.5:
            await self._stretch(intent)
        self.till.give_back(intent, self.chance.choice((0, BOUND)))

    async def _stretch(self, intent: Intent) -> None:
        ask = await self.till.spending.admissions._ask(intent.event_id, KNOWN, call=CALL, who=WHO)
        async with asyncio.timeout(_PATIENCE_S):
            try:
                await self.till.desk.stretch(intent.grant, ask)
            except (ServerAway, ServerRefused):
                return

    async def happen(self) -> None:
        for _ in range(40):
            await asyncio.sleep(self.chance.choice((0.001, 0.05)))
            match self.chance.choice(("funds", "payer", "life", "full", "sweep", "sweep")):
                case "funds":
                    self.bank.available += BOUND
                    self.till.hear(
                        edge_pb.WatchResponse(funds_changed=edge_pb.FundsChanged(wallet_id=WALLET))
                    )
                case "payer":
                    self.bank.wallet_id = self.chance.choice((WALLET, "wal_other", ""))
                    self.till.spending._payers.drop_all()
                case "life":
                    self.bank.life_s = self.chance.choice((0.0, 60.0))
                case "full":
                    self.till.notes.room = not self.till.notes.room
                case _:
                    self.till.drawers.sweep()


@pytest.mark.parametrize("seed", range(20))
def test_no_call_goes_twice_round_in_one_turn_and_each_comes_to_its_end(seed: int) -> None:
    async def run() -> World:
        world = World(cast("Turns", asyncio.get_running_loop()), random.Random(seed))
        happening = asyncio.create_task(world.happen())
        await asyncio.gather(*(world.call(number) for number in range(_CALLS)))
        await happening
        return world

    with capture_logs(), asyncio.Runner(loop_factory=Turns) as runner:
        world = runner.run(run())

    assert world.rounds
    assert max(world.rounds.values()) == 1
    # However many wait, they share their questions: hardly more than one for a call, its end and its stretch.
    assert world.bank.count("Admit") < 12 * _CALLS


def test_a_queue_longer_than_a_hundred_calls_is_served_to_its_end() -> None:
    """Where each answer is enough for one call alone, the last loses as many rounds as there are others."""

    async def run() -> set[type]:
        bank = Bank()
        till = Till(bank)
        till.give_back(await till.admitted())
        bank.largest = BOUND
        calls = (till.admit(event_id=f"evt_{number}") for number in range(250))
        return {type(answer) for answer in await asyncio.gather(*calls)}

    with asyncio.Runner(loop_factory=Turns) as runner:
        assert runner.run(run()) == {Intent}
