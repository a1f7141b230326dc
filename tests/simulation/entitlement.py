"""Limits that owners set, lower, lift and take away, and what they may have let through."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from om_server.core.event import Outcome
from om_server.core.usage import Usage
from om_server.wallet.limits.limit import CREDITS, EVENTS, LimitMode, Selector, Terms
from om_server.wallet.limits.operations import LimitWish
from om_server.wallet.limits.window import Window, WindowKind
from tests.server.pipeline.harness import CREDIT
from tests.simulation.facts import Passed, Stint, Term
from tests.simulation.oracle import Oracle, Settled, require

if TYPE_CHECKING:
    from collections.abc import Sequence

    from om_server.pipeline.admission import AdmissionRequest
    from tests.server.pipeline.harness import Tenant
    from tests.simulation.journal import Subject
    from tests.simulation.scenario import Scenario

#: For how long edges may know nothing of a limit: a rate card's life.
NOTICE = 60_000_000
_INPUT = "input_tokens"
_AMOUNTS = {
    EVENTS: (0, 1, 2, 3, 5),
    CREDITS: (0, CREDIT, 3 * CREDIT, 9 * CREDIT),
    _INPUT: (300, 1000, 3000),
}
_WINDOWS = (Window(), Window(WindowKind.ROLLING, rolling_hours=720))


class Entitlements:
    """What owners do with limits."""

    def __init__(self, scenario: Scenario, tenants: Sequence[Tenant]) -> None:
        self._scenario = scenario
        self._chance = scenario.chance
        self._tenants = tenants
        self._wishes: dict[str, LimitWish] = {}
        self._numbers = itertools.count(1)

    def limit(self) -> str:
        """Set a limit, or change one."""
        facts = self._scenario.oracle.facts
        living = [limit_id for limit_id in self._wishes if limit_id in facts.limits]
        if living and self._chance.random() < 0.5:
            return self._change(self._chance.choice(living))
        tenant = self._chance.choice(self._tenants)
        user, unit = self._chance.choice(("", "ann")), self._chance.choice(list(_AMOUNTS))
        return self._create(tenant, LimitWish(Selector(user_id=user), unit, self._terms(unit)))

    def begin(self) -> str:
        """Let the busiest organization have had a limit for a while."""
        unit = self._chance.choice(list(_AMOUNTS))
        terms = Terms(LimitMode.HARD, self._chance.choice(_AMOUNTS[unit]), Window())
        made = self._create(self._tenants[0], LimitWish(Selector(), unit, terms))
        self._scenario.world.clock.now += NOTICE
        return made

    def _create(self, tenant: Tenant, wish: LimitWish) -> str:
        facts, now = self._scenario.oracle.facts, self._scenario.world.clock.now
        limit = self._scenario.world.limits.create(
            tenant.organization_id, wish, idempotency_key=f"limit-{next(self._numbers)}"
        )
        self._scenario.meetings["limit set with calls in flight"] += self._scenario.in_flight(tenant)
        self._wishes[limit.limit_id] = wish
        since = now + NOTICE if wish.terms.refuses else now
        terms = (Term(since, _amount(wish.terms)),)
        user = wish.selector.user_id
        facts.limits[limit.limit_id] = Stint(tenant.organization_id, user, wish.unit, now, terms)
        return f"{wish.terms.mode} {wish.terms.amount} {wish.unit} {user}"

    def _terms(self, unit: str) -> Terms:
        mode = self._chance.choice((LimitMode.HARD, LimitMode.HARD, LimitMode.SOFT, LimitMode.NONE))
        return Terms(mode, self._chance.choice(_AMOUNTS[unit]), self._chance.choice(_WINDOWS))

    def _change(self, limit_id: str) -> str:
        facts, world = self._scenario.oracle.facts, self._scenario.world
        stint = facts.limits[limit_id]
        if self._chance.random() < 0.25:
            world.limits.delete(stint.organization_id, limit_id)
            # What was still to come with notice never came.
            held = tuple(term for term in stint.terms if term.since <= world.clock.now)
            facts.limits[limit_id] = stint._replace(terms=(*held, Term(world.clock.now, None)))
            del self._wishes[limit_id]
            return "gone"
        old = self._wishes[limit_id]
        wish = LimitWish(old.selector, old.unit, self._terms(old.unit))
        revised = world.limits.update(stint.organization_id, limit_id, wish)
        self._wishes[limit_id] = wish
        # The server says from when; that it is soon enough for edges is what the sums show.
        later = tuple(
            Term(revision.effective_time, _amount(revision.terms)) for revision in revised.revisions
        )
        earlier = tuple(term for term in stint.terms if term.since < later[0].since)
        facts.limits[limit_id] = stint._replace(terms=(*earlier, *later))
        self._scenario.meetings["limit changed"] += 1
        return f"{wish.terms.mode} {wish.terms.amount} {wish.unit}"


def _amount(terms: Terms) -> int | None:
    return terms.amount if terms.refuses else None


def passed(subject: Subject, request: AdmissionRequest, now: int) -> Passed:
    """Remember what a call that was admitted may use."""
    bound = {**request.bound, CREDITS: request.bound_nanos, EVENTS: 1}
    return Passed(subject.tenant.organization_id, subject.user_id, now, bound)


def check_limits(oracle: Oracle) -> None:
    """No limit is passed by more than what had been let through before it held."""
    for limit_id, stint in oracle.facts.limits.items():
        rows = [
            row
            for row in oracle.settled(stint.organization_id)
            if stint.user_id in ("", row.user_id) and row.charge is not None
        ]
        for term, end in zip(stint.terms, [*(one.since for one in stint.terms[1:]), None], strict=True):
            if term.amount is not None:
                _check_term(oracle, limit_id, stint, term=term, end=end, rows=rows)


def _check_term(
    oracle: Oracle, limit_id: str, stint: Stint, *, term: Term, end: int | None, rows: list[Settled]
) -> None:
    """What was settled when the term began, and what was admitted in its time, are within it together."""
    admitted = {
        lease_id: one
        for lease_id, one in oracle.facts.passed.items()
        if one.organization_id == stint.organization_id
        and stint.user_id in ("", one.user_id)
        and term.since <= one.time
        and (end is None or one.time < end)
    }
    before = within = 0
    for row in rows:
        lease = next((one for one in admitted if one in row.funding), None)
        used = _used(oracle, stint, row)
        identity = (stint.organization_id, row.source, row.event_id)
        if "lease_resolved" in row.flags or identity in oracle.facts.discarded:
            # Its owner gave it up, and with it what was reserved; what comes late is recorded all the same.
            continue
        if lease is not None:
            within += min(used, admitted[lease].bound.get(stint.unit, 0))
        elif row.settle_time < term.since:
            before += used
    assert term.amount is not None
    oracle.meetings["limit used up exactly"] += bool(within) and before + within == term.amount
    require(
        not within or before + within <= term.amount,
        f"{limit_id} allows {term.amount} {stint.unit}: {before} were used, and {within} admitted",
    )


def _used(oracle: Oracle, stint: Stint, row: Settled) -> int:
    if stint.unit == EVENTS:
        return 1
    if stint.unit == CREDITS:
        return row.charge or 0
    if row.state == "ZERO":
        return 0
    found = oracle.reports[stint.organization_id, row.source, row.event_id]
    usages: list[Usage] = [
        line.usage for report in found if report.outcome is not Outcome.ZERO for line in report.lines
    ]
    return min((usage.amount(stint.unit) or 0 for usage in usages), default=0)
