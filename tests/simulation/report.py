"""What applications report themselves: sometimes again, sometimes again with other numbers."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from om_server.core.event import SOURCE_API, Attribution, Event, EventType, UsageLine
from om_server.core.usage import Usage
from tests.simulation.call import USERS
from tests.simulation.tariff import UNPRICED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.server.pipeline.harness import Tenant
    from tests.simulation.scenario import Scenario


class Reports:
    """An application of each organization."""

    def __init__(self, scenario: Scenario, tenants: Sequence[Tenant]) -> None:
        self._scenario = scenario
        self._chance = scenario.chance
        self._tenants = tenants
        self._numbers = itertools.count(1)
        self._sent: list[Event] = []

    def report(self) -> str:
        """Report usage."""
        tenant, user = self._chance.choice(self._tenants), self._chance.choice(USERS)
        event_id = f"sdk_{next(self._numbers)}"
        if self._sent and self._chance.random() < 0.4:
            event = self._chance.choice(self._sent)
            if self._chance.random() < 0.5:
                return self._send(event, "again")
            tenant = next(one for one in self._tenants if one.organization_id == event.organization_id)
            event_id = event.event_id
        event = self._event(tenant, user, event_id)
        self._sent.append(event)
        return self._send(event, "anew")

    def _send(self, event: Event, how: str) -> str:
        front = self._scenario.front
        self._scenario.network.send(f"report of {event.event_id}", lambda: front.report(event))
        return f"{event.event_id} {how}"

    def _event(self, tenant: Tenant, user: str, event_id: str) -> Event:
        usage = Usage.measured(input_tokens=self._chance.randint(1, 300), output_tokens=50)
        model = self._chance.choice(("gpt-4o", "gpt-4o", "gpt-4o", UNPRICED))
        now = self._scenario.world.clock.now
        return Event(
            organization_id=tenant.organization_id,
            source=SOURCE_API,
            event_id=event_id,
            event_type=EventType.TOKEN_USAGE,
            event_time=now,
            receive_time=now,
            attribution=Attribution(user_id=user, team_id=tenant.team_id),
            lines=(UsageLine("openai", model, usage),),
            key_id=tenant.key_id,
        )
