"""Deferred work: jobs that calls leave behind, and which edges see end before or long after the call."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from om_server.core.event import Outcome, UsageLine
from om_server.core.usage import Certainty, Quantity, Usage
from om_server.ingestion.job import JOB_WAIT
from tests.simulation.facts import ended_job
from tests.simulation.journal import Finished, Intended, Polled, Subject
from tests.simulation.oracle import Oracle, require

if TYPE_CHECKING:
    from om_server.core.event import Event
    from tests.server.pipeline.harness import Tenant
    from tests.simulation.edge import Edge
    from tests.simulation.scenario import Scenario

_PREFIX = "job-"
#: So often a seed waits for a day at most: sums of a month stay those of one month.
_DAYS_MAX = 2
_ENDS = {Outcome.CHARGED: 80, Outcome.ESTIMATED: 5, Outcome.ZERO: 15}
#: Some write a provider's name in another way: that is another event of the same job.
_SPELLINGS = ("openai", "openai", "openai", "OpenAI")
#: What an arriving event meets, by what was seen of its job until then.
_ENDED = {
    "": "end of a job before its call",
    "deferred": "end of a job behind its call",
    "suspended": "end of a job whose money is in suspense",
    "complete": "end of a job again",
    "alone": "end of a job again",
}
_BEGUN = {"parked": "call of a job that has ended", "alone": "call of a job that was charged alone"}


class Begun(NamedTuple):
    """A job as its provider has it; it ends in one way, whoever looks."""

    intent: Intended
    outcome: Outcome
    lines: tuple[UsageLine, ...]


class Jobs:
    """The providers' side of deferred work, and edges that poll it."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._chance = scenario.chance
        self._begun: dict[str, Begun] = {}
        self._days = 0

    def begin(self, intent: Intended, used: tuple[int, int]) -> tuple[UsageLine, ...]:
        """Leave a job behind; return what its call says of it, which is not how much it will use."""
        [outcome] = self._chance.choices(list(_ENDS), list(_ENDS.values()))
        usage = Usage.measured(input_tokens=used[0], output_tokens=used[1])
        lines = () if outcome is Outcome.ZERO else (UsageLine("openai", intent.model, usage),)
        self._begun[intent.event_id] = Begun(intent, outcome, lines)
        unknown = Usage((Quantity("input_tokens", None, Certainty.UNKNOWN),))
        return (UsageLine("openai", intent.model, unknown),)

    def poll(self) -> str:
        """Let any edge see the end of a job, for anybody of its organization."""
        if not self._begun:
            return "nothing"
        edge = self._chance.choice(self._scenario.edges)
        event_id = self._chance.choice(list(self._begun))
        provider = self._chance.choice(_SPELLINGS)
        name = f"job:{provider}:{_PREFIX}{event_id}"
        if name in edge.journal.intents:
            return f"{edge.name} has seen {name}"
        self._write(edge, name, self._begun[event_id])
        return f"{edge.name} sees {name}"

    def _write(self, edge: Edge, name: str, begun: Begun) -> None:
        tenant: Tenant = begun.intent.subject.tenant
        intent = Intended(
            event_id=name,
            subject=Subject(tenant, "", tenant.key_id),
            model=begun.intent.model,
            wallet_id="",
            parts=(),
            epoch=edge.identity.edge_epoch,
            sequence=next(edge.sequence),
            time=self._scenario.world.clock.now + edge.skew,
            tokens_in=0,
            tokens_out=0,
            rates=begun.intent.rates,
        )
        edge.journal.write(Polled(intent, Finished(name, begun.outcome, begun.lines, ())))

    def wait(self) -> str:
        """Let a day pass, after which nobody waits for the other event of a job, and owners may decide."""
        before = self._states()
        parked = before["parked"] or (before["deferred"] and self._chance.random() < 0.3)
        if self._days == _DAYS_MAX or not parked:
            return "nothing"
        self._days += 1
        self._scenario.world.clock.now += JOB_WAIT
        self._scenario.world.job_deadlines.advance()
        after = self._states()
        meetings = self._scenario.meetings
        meetings["job that nobody saw end in a day"] += after["suspended"] > before["suspended"]
        meetings["end of a job without a call in a day"] += after["alone"] > before["alone"]
        if after["suspended"] and self._chance.random() < 0.4:
            for organization_id in self._scenario.keys:
                self._scenario.owner.release_all(organization_id, quarters=self._chance.randint(0, 4))
        return f"{after}"

    def _states(self) -> Counter[str]:
        return Counter(str(state) for (state,) in self._scenario.oracle.rows("SELECT state FROM jobs"))


def count_meeting(oracle: Oracle, event: Event) -> None:
    """Count what an event that arrives finds of its job."""
    job, meant = ended_job(event), _ENDED
    if job is None:
        if event.outcome is not Outcome.DEFERRED:
            return
        job, meant = (event.organization_id, event.job_id), _BEGUN
    states = oracle.rows("SELECT state FROM jobs WHERE organization_id = ? AND job_id = ?", *job)
    state = str(states[0][0]) if states else ""
    if state in meant:
        oracle.meetings[meant[state]] += 1
    call = (event.organization_id, event.source, job[1].removeprefix(_PREFIX))
    oracle.meetings["end of a job of which an owner had decided"] += (
        state == "suspended" and call in oracle.facts.ruled
    )


def check_jobs(oracle: Oracle) -> None:
    """No job is charged by two events, whatever they are called.

    An edge that lost its power may estimate a call of which it does not know that its job goes on.
    """
    for organization_id in oracle.facts.funded:
        charged = Counter(
            row.event_id.rpartition(":")[2].removeprefix(_PREFIX)
            for row in oracle.settled(organization_id)
            if row.charge and row.source == "proxy" and row.edge_id not in oracle.doubted
        )
        twice = [name for name, count in charged.items() if count > 1]
        require(not twice, f"jobs were charged twice: {twice}")


def require_ended(oracle: Oracle) -> None:
    """Every call whose job was seen to end has its charge."""
    gone = oracle.gap | oracle.facts.discarded
    calls = {
        (organization_id, row.event_id): row
        for organization_id in oracle.facts.funded
        for row in oracle.settled(organization_id)
        if row.source == "proxy"
    }
    for organization_id, job_id in oracle.ends:
        names = [job_id.removeprefix(_PREFIX), *(f"job:{spelled}:{job_id}" for spelled in _SPELLINGS)]
        lost = any((organization_id, "proxy", name) in gone for name in names)
        call = calls.get((organization_id, names[0]))
        if call is not None and not lost:
            require(call.state != "UNRATED", f"{call.event_id} waits, and its job has ended")
