"""Events for tests of intake, and intake over a database at a time that the test sets."""

import dataclasses
import itertools
from dataclasses import dataclass, field

from om_server.core.event import (
    SOURCE_API,
    SOURCE_PROXY,
    Attribution,
    EdgePosition,
    Event,
    EventType,
    UsageLine,
)
from om_server.core.ids import IdSource
from om_server.core.usage import Usage
from om_server.ingestion import envelope
from om_server.ingestion.operations import IngestionOperations, IntakeResult, Reported
from om_server.ingestion.quota_desk import QuotaDesk
from om_server.ingestion.store import IngestionStore
from om_server.storage.database import Database
from om_server.storage.inbox import Inbox, SqlInbox

START = 1_790_000_000_000_000
SECOND = 1_000_000

ORGANIZATION = "org_test"
POSITION = EdgePosition("edg_" + "0" * 26, 3, 17)


def event(event_id: str = "e1", /, **changes: object) -> Event:
    """An event as an application reports it."""
    made = Event(
        organization_id=ORGANIZATION,
        source=SOURCE_API,
        event_id=event_id,
        event_type=EventType.TOKEN_USAGE,
        event_time=START - SECOND,
        receive_time=START,
        attribution=Attribution(customer_id="acme", team_id="team_test", tags=("a", "b")),
        lines=(UsageLine("openai", "gpt-4o", Usage.measured(input_tokens=2, output_tokens=3)),),
        key_id="key_test",
    )
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type] # A table's row.


def edge_event(event_id: str = "evt_1", /, **changes: object) -> Event:
    """An event as an edge reports it."""
    return dataclasses.replace(event(event_id, source=SOURCE_PROXY, edge=POSITION), **changes)  # type: ignore[arg-type] # A table's row.


@dataclass
class SetClock:
    """A clock that stands still until it is moved."""

    now: int = START

    def __call__(self) -> int:
        return self.now


@dataclass
class Intake:
    """Intake with its store and queue."""

    database: Database
    clock: SetClock = field(default_factory=SetClock)

    def __post_init__(self) -> None:
        numbers = itertools.count(1)
        self.ids = IdSource(lambda: self.clock.now // 1000, lambda count: next(numbers).to_bytes(count))
        self.store = IngestionStore(self.database)
        self.inbox = SqlInbox(self.database, self.clock)
        self.limit(None)

    def limit(self, quotas: QuotaDesk | None) -> None:
        """Take events in within quotas, or without any."""
        self.operations = IngestionOperations(
            self.database, self.store, self.inbox, ids=self.ids, clock=self.clock, quotas=quotas
        )

    def ingest(self, *events: Event, organization_id: str = ORGANIZATION) -> tuple[str, list[IntakeResult]]:
        """Take events that have times of their own; as an edge's where the first one is."""
        reports = [Reported(one, time_supplied=True) for one in events]
        from_edge = events[0].edge is not None
        return self.operations.ingest(organization_id, reports, from_edge=from_edge)

    def answers(self, *events: Event) -> list[tuple[str, str]]:
        """State and reason for each event."""
        return [
            (result.state.value, result.error.reason if result.error else "")
            for result in self.ingest(*events)[1]
        ]

    def settle(self, *events: Event) -> None:
        """Claim identities and keys, as settlement does, and empty the queue."""
        keyed = [one for one in events if one.idempotency_key]
        self.database.write(lambda: self.store.claim_identities(events))
        self.database.write(lambda: self.store.claim_keys(keyed))
        self.database.write(lambda: Inbox.delete().execute())

    def queued(self) -> list[list[Event]]:
        """The events of every batch that waits."""
        rows = self.database.read(lambda: list(Inbox.select().order_by(Inbox.batch_id)))
        assert all(row.event_count == len(envelope.unpack(row.envelope)) for row in rows)
        return [envelope.unpack(row.envelope) for row in rows]
