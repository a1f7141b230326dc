"""What an edge has on its disk: records in order, of which a loss of power may take the newest."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from om_server.wallet.leases.lease import LeaseReport

if TYPE_CHECKING:
    from om_server.core.event import Outcome, UsageLine
    from tests.server.pipeline.harness import Tenant


@dataclass(frozen=True, slots=True)
class Subject:
    """On whose behalf a call is made."""

    tenant: Tenant
    user_id: str
    key_id: str

    @property
    def person(self) -> tuple[str, str]:
        """Who decides which wallet pays."""
        return self.tenant.organization_id, self.user_id


@dataclass(frozen=True, slots=True)
class Granted:
    """A lease that the server gave."""

    lease_id: str
    wallet_id: str
    amount: int
    one: bool
    #: It was given for one call alone, because of a limit.
    limited: bool
    epoch: int


@dataclass(frozen=True, slots=True)
class Intended:
    """A call that is about to be forwarded, and the leases that bound it: (lease id, bound)."""

    event_id: str
    subject: Subject
    model: str
    wallet_id: str
    parts: tuple[tuple[str, int], ...]
    epoch: int
    sequence: int
    time: int
    tokens_in: int
    tokens_out: int
    #: Of the card that bounded it, in nano-credits for a million tokens in and out.
    rates: tuple[int, int]

    def cost(self, tokens_in: int, tokens_out: int) -> int:
        """What so many tokens cost at most, as its edge knows it."""
        return -(-(self.rates[0] * tokens_in + self.rates[1] * tokens_out) // 1_000_000)


@dataclass(frozen=True, slots=True)
class Finished:
    """How a call ended, and what each of its leases keeps for it."""

    event_id: str
    outcome: Outcome
    lines: tuple[UsageLine, ...]
    retained: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Closed:
    """From now on nothing is spent from the lease."""

    lease_id: str


@dataclass(frozen=True, slots=True)
class Polled:
    """The end of a job that a poll saw. It has no call of its own, and is written at once."""

    intent: Intended
    ending: Finished


Record = Granted | Intended | Finished | Closed | Polled


@dataclass
class Journal:
    """The records, and what they add up to."""

    edge_id: str
    epoch: int = 0
    records: list[Record] = field(default_factory=list)
    synced: int = 0
    #: Something was lost, and the server has not confirmed that it knows.
    doubted: bool = False
    leases: dict[str, Granted] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)
    intents: dict[str, Intended] = field(default_factory=dict)
    endings: dict[str, Finished] = field(default_factory=dict)
    of_lease: dict[str, list[str]] = field(default_factory=dict)
    #: Which life of the store was heard of last. A process that forgets it over a restart takes for
    #: settled what only the life before knew.
    incarnation: str = ""
    #: Events that the store has named as settled, and that are sent no more.
    forgotten: set[str] = field(default_factory=set)

    def write(self, record: Record) -> None:
        self.records.append(record)
        self._add(record)

    def _add(self, record: Record) -> None:
        match record:
            case Granted():
                self.leases[record.lease_id] = record
                self.of_lease[record.lease_id] = []
            case Intended():
                self.intents[record.event_id] = record
                for lease_id, _ in record.parts:
                    self.of_lease[lease_id].append(record.event_id)
            case Finished():
                self.endings[record.event_id] = record
            case Polled():
                self.intents[record.intent.event_id] = record.intent
                self.endings[record.intent.event_id] = record.ending
            case Closed():
                self.closed.add(record.lease_id)

    def sync(self) -> None:
        self.synced = len(self.records)

    def cut(self, length: int) -> None:
        """Lose what is beyond; what was synced stays."""
        self.doubted = True
        kept = self.records[: max(length, self.synced)]
        for view in (self.leases, self.closed, self.intents, self.endings, self.of_lease):
            view.clear()
        self.records = []
        self.forgotten.clear()
        for record in kept:
            self.write(record)
        self.sync()

    def keep(self, lease_id: str) -> int:
        """What the events of a lease keep of it: the bound of one that has no end yet."""
        total = 0
        for event_id in self.of_lease[lease_id]:
            intent, ending = self.intents[event_id], self.endings.get(event_id)
            kept = ending.retained if ending else tuple(bound for _, bound in intent.parts)
            named = zip(intent.parts, kept, strict=True)
            total += sum(amount for (name, _), amount in named if name == lease_id)
        return total

    def left(self, lease_id: str) -> int:
        return self.leases[lease_id].amount - self.keep(lease_id)

    def report(self, lease_id: str) -> LeaseReport:
        return LeaseReport(lease_id, len(self.of_lease[lease_id]), self.keep(lease_id))

    @property
    def unfinished(self) -> list[Intended]:
        return [intent for name, intent in self.intents.items() if name not in self.endings]

    def started(self) -> None:
        """Begin a new epoch; its number is on the disk before anything else."""
        self.epoch += 1
