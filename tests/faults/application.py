"""A program that reports usage by an SDK: it repeats an event with the same id until it has an answer."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from om.ingestion.v1 import ingestion_service_pb2 as pb
from om.ingestion.v1 import ingestion_service_pb2_grpc
from om.type.v1 import event_pb2
from tests.faults.edge import moment, usage_line
from tests.faults.estate import charge_of

if TYPE_CHECKING:
    import random

    from tests.faults.estate import Tenant
    from tests.faults.oracle import Oracle
    from tests.faults.wire import Wire

_USERS = ("", "poor")


class Application:
    """Keeps what was not answered, and now and then repeats what was."""

    def __init__(self, wire: Wire, chance: random.Random, oracle: Oracle, *, tenant: Tenant) -> None:
        self._wire = wire
        self._chance = chance
        self._oracle = oracle
        self._tenant = tenant
        self._name = f"app{chance.randrange(10**6)}"
        self._numbers = itertools.count(1)
        self._waiting: list[event_pb2.UsageEvent] = []
        self._answered: list[event_pb2.UsageEvent] = []

    @property
    def answered(self) -> set[tuple[str, str, str]]:
        """Identities of the events that the server has promised."""
        return {(self._tenant.organization_id, "api", event.event_id) for event in self._answered}

    def forget(self, identities: set[tuple[str, str, str]]) -> None:
        """Never repeat these."""
        self._answered = [
            event
            for event in self._answered
            if (self._tenant.organization_id, "api", event.event_id) not in identities
        ]

    def use(self, count: int, *, prefix: str = "") -> None:
        """Consume something that is not reported yet."""
        for _ in range(count):
            user_id = self._chance.choice(_USERS)
            tokens_in, tokens_out = self._chance.randint(1, 500), self._chance.randint(1, 300)
            event_id = f"{prefix}{self._name}-{next(self._numbers)}"
            event = event_pb2.UsageEvent(
                event_id=event_id,
                occur_time=moment(),
                attribution=event_pb2.Attribution(user_id=user_id, feature_id="search"),
                lines=[usage_line(tokens_in, tokens_out)],
            )
            self._waiting.append(event)
            identity = (self._tenant.organization_id, "api", event_id)
            self._oracle.expect(
                identity, charge_of(tokens_in, tokens_out), self._tenant.wallets[user_id].wallet_id
            )

    def send(self) -> None:
        """Report what waits, with a repetition if there is one."""
        if not self._waiting:
            return
        batch = list(self._waiting)
        if self._answered and self._chance.random() < 0.3:
            batch.append(self._chance.choice(self._answered))
        stub = ingestion_service_pb2_grpc.IngestionServiceStub(self._wire.channel)
        request = pb.IngestEventsRequest(events=batch)
        answer = self._wire.call(stub.IngestEvents, request, secret=self._tenant.secret)
        assert not answer.rejected_count, answer
        self._answered += self._waiting
        self._waiting = []

    @property
    def done(self) -> bool:
        return not self._waiting
