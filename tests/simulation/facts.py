"""What the server was told and has answered; only an older copy of the store may know less."""

from __future__ import annotations

import copy
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from om_server.core.event import Outcome
from tests.simulation.tariff import Tariff

if TYPE_CHECKING:
    from om_server.core.event import Event, UsageLine

#: An organization, a source and an id.
Identity = tuple[str, str, str]


class Report(NamedTuple):
    """One report of an event as it reached the server."""

    outcome: Outcome
    lines: tuple[UsageLine, ...]
    #: When it was, as far as the server believes it.
    time: int
    retained: int
    #: Who pays, where that was decided before the call; None where settlement decides.
    wallet_id: str | None
    #: The job that goes on behind the call.
    job_id: str = ""


def report_of(event: Event, now: int) -> Report:
    kept = sum(part.retained for part in event.funding)
    undecided = event.edge is None or event.outcome is Outcome.ZERO or ended_job(event) is not None
    payer = None if undecided else event.wallet_id
    return Report(event.outcome, event.lines, min(event.event_time, now), kept, payer, event.job_id)


def ended_job(event: Event) -> tuple[str, str] | None:
    """Name the job, with its organization, that a poll saw end."""
    if event.edge is None or not event.event_id.startswith("job:"):
        return None
    return event.organization_id, event.event_id.split(":", 2)[2]


class Term(NamedTuple):
    """What a limit allows from a time on; None where it only reports, or is gone."""

    since: int
    amount: int | None


class Stint(NamedTuple):
    """A limit of an organization, or of one user of it, with its terms in their order."""

    organization_id: str
    user_id: str
    unit: str
    written: int
    terms: tuple[Term, ...]


class Passed(NamedTuple):
    """A lease that was given while limits were looked at, and what its call may use."""

    organization_id: str
    user_id: str
    time: int
    bound: dict[str, int]


class Held(NamedTuple):
    """A hold that a key made. Without an end it waits, and frees itself at its time."""

    organization_id: str
    amount: int
    expire_time: int
    #: How somebody ended it: captured, or released before its time.
    end: str = ""
    captured: int = 0


@dataclass
class Facts:
    """Sums and decisions by organization, by event, by lease."""

    funded: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    #: What was charged by hand: out of suspense, as a deduction, or with a hold.
    decided: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    #: What they charged out of suspense for an event whose end they did not know.
    ruled: dict[Identity, int] = field(default_factory=lambda: defaultdict(int))
    refunded: dict[Identity, int] = field(default_factory=lambda: defaultdict(int))
    tariffs: dict[str, Tariff] = field(default_factory=lambda: defaultdict(Tariff))
    limits: dict[str, Stint] = field(default_factory=dict)
    passed: dict[str, Passed] = field(default_factory=dict)
    holds: dict[str, Held] = field(default_factory=dict)
    blocked: set[str] = field(default_factory=set)
    revoked: set[str] = field(default_factory=set)
    #: Letters that an owner dropped: their events may come again, or never.
    discarded: set[Identity] = field(default_factory=set)
    #: By lease, the events of such letters.
    dropped: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    #: The epoch of each edge that resynced last: no older one may take a lease.
    epochs: dict[str, int] = field(default_factory=dict)
    #: Leases that were given, each once.
    given: set[str] = field(default_factory=set)

    def copy(self) -> Facts:
        return copy.deepcopy(self)
