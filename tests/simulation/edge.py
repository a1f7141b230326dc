"""An edge as the contract describes it: a journal, a clock of its own, and a process that may die."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from om_server.core.event import SOURCE_PROXY, Attribution, EdgePosition, Event, EventType, Funding
from om_server.wallet.leases.closing import Past
from om_server.wallet.leases.lease import EdgeIdentity
from tests.simulation.journal import Closed, Granted, Intended, Journal, Subject

if TYPE_CHECKING:
    from om_server.pipeline.admission import AdmissionRequest
    from om_server.wallet.leases.lease import Lease, LeaseReport
    from tests.server.pipeline.harness import Tenant
    from tests.simulation.watch import Stream

SECOND = 1_000_000
GUARD = 5 * SECOND
PAYER_LIFE = 30 * SECOND


@dataclass(frozen=True, slots=True)
class CallShape:
    """A call and its bound in tokens."""

    event_id: str
    model: str
    tokens_in: int
    tokens_out: int


@dataclass(frozen=True, slots=True)
class Asked:
    """A call that waits for a lease."""

    subject: Subject
    shape: CallShape
    request: AdmissionRequest


@dataclass(frozen=True, slots=True)
class Card:
    """The dearest rates in nano-credits for a million tokens in and out, and whom limits concern."""

    rates: dict[str, tuple[int, int]]
    scopes: frozenset[tuple[str, str]]
    until: int

    def bound(self, model: str, tokens_in: int, tokens_out: int) -> int:
        rate_in, rate_out = self.rates[model]
        return -(-(rate_in * tokens_in + rate_out * tokens_out) // 1_000_000)

    def limits(self, subject: Subject) -> bool:
        """Whether each call of a subject has to be admitted by itself."""
        return not self.scopes.isdisjoint({("organization", ""), ("user", subject.user_id)})


@dataclass
class Edge:
    """One process over a journal. Its memory dies with it; the journal does not."""

    name: str
    journal: Journal
    #: How far its clock is from the server's.
    skew: int
    alive: bool = True
    resynced: bool = False
    #: Until when a lease may be spent, by the edge's own clock.
    spendable: dict[str, int] = field(default_factory=dict)
    #: Who pays for whom and until when that is believed; an empty id is nobody.
    payers: dict[tuple[str, str], tuple[str, int]] = field(default_factory=dict)
    #: The newest rates of an organization, and until when they may be used.
    cards: dict[str, Card] = field(default_factory=dict)
    stream: Stream | None = None
    #: Where it resumes to watch.
    cursor: str = ""
    asked: dict[str, Asked] = field(default_factory=dict)
    closing: set[str] = field(default_factory=set)
    accepted: set[str] = field(default_factory=set)
    sequence: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        self.journal.started()
        self.identity = EdgeIdentity(
            self.journal.edge_id, self.journal.epoch, f"{self.name}-{self.journal.epoch}"
        )

    @property
    def past(self) -> Past:
        """What it says at start: every lease of its journal, unless the journal lost something."""
        clean = not self.journal.doubted
        reports = tuple(self.journal.report(lease_id) for lease_id in self.journal.leases) if clean else ()
        return Past("boot", clean, reports)

    def granted(self, lease: Lease, *, life: int, now: int, limited: bool) -> bool:
        """Take a lease in, once, and never one of an earlier life; tell whether it was new."""
        if lease.lease_id in self.journal.leases or lease.edge_epoch != self.identity.edge_epoch:
            return False
        one = lease.max_intents == 1
        self.journal.write(
            Granted(lease.lease_id, lease.wallet_id, lease.amount, one, limited, lease.edge_epoch)
        )
        self.spendable[lease.lease_id] = now + life - GUARD
        return True

    def payer(self, subject: Subject, now: int) -> str | None:
        """Who pays as far as is known; None if the server has to be asked."""
        wallet_id, until = self.payers.get(subject.person, ("", 0))
        return wallet_id if now < until else None

    def cover(self, wallet_id: str, bound: int, now: int) -> tuple[tuple[str, int], ...]:
        """Divide a bound over one or two leases; empty if they do not carry it."""
        parts: list[tuple[str, int]] = []
        journal = self.journal
        for lease_id, until in self.spendable.items():
            granted = journal.leases[lease_id]
            used = granted.one and journal.of_lease[lease_id]
            if granted.wallet_id != wallet_id or now >= until or used or granted.limited:
                continue
            part = min(bound, journal.left(lease_id))
            if part > 0 and len(parts) < 2:
                parts.append((lease_id, part))
                bound -= part
            if not bound:
                return tuple(parts)
        return ()

    def close(self, lease_id: str) -> LeaseReport:
        """Stop spending a lease, in the journal first, and say what it paid for."""
        self.stop(lease_id)
        self.closing.add(lease_id)
        return self.journal.report(lease_id)

    def stop(self, lease_id: str) -> None:
        """Spend nothing more from a lease."""
        if lease_id not in self.journal.closed:
            self.journal.write(Closed(lease_id))
        self.spendable.pop(lease_id, None)

    def hears(self, incarnation: str) -> bool:
        """Tell whether an answer is of the life of the store that is known.

        Another life may know nothing of the leases and of what was settled: neither counts any more.
        """
        known, self.journal.incarnation = self.journal.incarnation, incarnation
        if known in ("", incarnation):
            return True
        for lease_id in list(self.spendable):
            self.stop(lease_id)
        self.closing.update(
            lease_id
            for lease_id, granted in self.journal.leases.items()
            if granted.epoch == self.identity.edge_epoch
        )
        self.payers.clear()
        self.cards.clear()
        self.accepted.clear()
        self.journal.forgotten.clear()
        self.resynced = False
        return False

    @property
    def closable(self) -> list[str]:
        """Leases of this life that are not closed yet."""
        return [
            lease_id
            for lease_id, granted in self.journal.leases.items()
            if granted.epoch == self.identity.edge_epoch and lease_id not in self.journal.closed
        ]

    @property
    def unshipped(self) -> list[Event]:
        """The outcomes that the server has not taken, as far as this process knows."""
        journal = self.journal
        known = self.accepted | journal.forgotten
        return [self.event(event_id) for event_id in journal.endings if event_id not in known]

    def event(self, event_id: str, *, received: int = 0) -> Event:
        """The outcome as the journal has it."""
        intent, ending = self.journal.intents[event_id], self.journal.endings[event_id]
        tenant: Tenant = intent.subject.tenant
        return Event(
            organization_id=tenant.organization_id,
            source=SOURCE_PROXY,
            event_id=event_id,
            event_type=EventType.TOKEN_USAGE,
            event_time=intent.time,
            receive_time=received,
            attribution=Attribution(user_id=intent.subject.user_id, team_id=tenant.team_id),
            lines=ending.lines,
            outcome=ending.outcome,
            key_id=intent.subject.key_id,
            edge=EdgePosition(self.journal.edge_id, intent.epoch, intent.sequence),
            funding=tuple(
                Funding(lease_id, bound, kept)
                for (lease_id, bound), kept in zip(intent.parts, ending.retained, strict=True)
            ),
            wallet_id=intent.wallet_id,
            job_id=f"job-{event_id}" if ending.outcome.value == "DEFERRED" else "",
        )

    def intend(
        self,
        subject: Subject,
        wallet_id: str,
        parts: tuple[tuple[str, int], ...],
        *,
        call: CallShape,
        now: int,
        rates: tuple[int, int],
    ) -> Intended:
        """Write the call down before it is forwarded, with the rates that bound it."""
        intent = Intended(
            event_id=call.event_id,
            subject=subject,
            model=call.model,
            wallet_id=wallet_id,
            parts=parts,
            epoch=self.identity.edge_epoch,
            sequence=next(self.sequence),
            time=now,
            tokens_in=call.tokens_in,
            tokens_out=call.tokens_out,
            rates=rates,
        )
        self.journal.write(intent)
        return intent
