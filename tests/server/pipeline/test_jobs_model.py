"""Calls, ends of jobs, owners and the clock in any order, against a model of a few lines."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from om_server.pipeline.job_deadlines import JobDeadlines
from om_server.wallet.holds.suspense import Decision
from tests.server.analytics.rolled_back import rolled_back
from tests.server.pipeline.edge_scene import leased
from tests.server.pipeline.harness import CREDIT, INPUT_CHARGE, START, World, tokens
from tests.server.pipeline.job_scene import deferred, suspense_of, terminal
from tests.server.pipeline.test_rerating import counters

if TYPE_CHECKING:
    from om_server.core.event import Event

GRANTED = 1_000 * CREDIT
WAIT_H = 24
OWNER = Decision("mem_1", "asked the provider")
_JOBS = st.sampled_from(["a", "b"])


class Call(NamedTuple):
    """Some call leaves a job behind, and kept this much."""

    job: str
    retained: int


class End(NamedTuple):
    """The job ends with so many tokens; a second end has another name, or its event would be the same."""

    job: str
    used: int
    spelling: str


class Wait(NamedTuple):
    """Time passes, and a worker may do its chore."""

    hours: int
    chore: bool


class Again(NamedTuple):
    """All that was ever sent is sent once more."""


class Owner(NamedTuple):
    """An owner charges this many tenths of the oldest suspense."""

    tenths: int


Step = Call | End | Wait | Again | Owner

#: Steps in brackets are one batch.
_EVENTS = st.one_of(
    st.builds(Call, _JOBS, st.sampled_from([0, CREDIT // 2, CREDIT])),
    st.builds(End, _JOBS, st.sampled_from([0, 100, 300, 500]), st.sampled_from(["openai", "OpenAI"])),
)
_STEPS = st.lists(
    st.one_of(
        st.lists(_EVENTS, min_size=1, max_size=3),
        st.tuples(st.builds(Wait, st.sampled_from([12, 24]), st.sampled_from([True, True, False]))),
        st.tuples(st.one_of(st.builds(Owner, st.integers(0, 10)), st.just(Again()))),
    ),
    min_size=3,
    max_size=12,
)


@dataclass
class ModelJob:
    """What was seen, since when it waits, and where the money of its call is."""

    state: str
    since: int = 0
    held: int = 0
    suspended: int = 0
    used: int = 0
    decided: int = 0


@dataclass
class Model:
    """The rules as a person would tell them."""

    hour: int = 0
    paid: int = 0
    rows: int = 0
    charged: int = 0
    jobs: dict[str, ModelJob] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)

    def call(self, step: Call) -> None:
        self.rows += 1
        job = self.jobs.get(step.job)
        if job is None:
            self.jobs[step.job] = ModelJob("call", self.hour, held=step.retained)
        elif job.state == "end":
            job.state = "done"
            self._charge(job.used, paid=job.used)

    def end(self, step: End) -> None:
        name = f"{step.spelling}:{step.job}"
        if name in self.seen:
            return
        self.seen.add(name)
        job, charge = self.jobs.get(step.job), step.used * INPUT_CHARGE
        if job is None:
            self.jobs[step.job] = ModelJob("end", self.hour, used=charge)
        elif job.state in ("call", "late", "decided"):
            job.state, job.held, job.suspended = f"{job.state}, then its end", 0, 0
            self._charge(charge, paid=max(0, charge - job.decided))

    def chore(self) -> None:
        for job in self.jobs.values():
            if self.hour - job.since < WAIT_H:
                continue
            if job.state == "call":
                job.state, job.suspended, job.held = "late", job.held, 0
            elif job.state == "end":
                job.state = "done"
                self.rows += 1
                self._charge(job.used, paid=job.used)

    def owner(self, job: ModelJob, amount: int) -> None:
        job.state, job.decided, job.suspended = "decided", amount, 0
        self.paid += amount

    def _charge(self, charge: int, *, paid: int) -> None:
        self.charged += charge
        self.paid += paid


class Play:
    """The steps, done by the server and by the model."""

    def __init__(self, world: World) -> None:
        world.clock.now = START
        self.world, self.tenant, self.model = world, world.tenant(granted=GRANTED), Model()
        self.deadlines = JobDeadlines(world.database, world.slices, world.clock)
        self.sent: list[Event] = []
        self.numbers = itertools.count(1)

    def step(self, batch: list[Step] | tuple[Step]) -> None:
        events = [made for step in batch if (made := self._one(step)) is not None]
        self.world.settler.settle(events)
        self.sent += events

    def _one(self, step: Step) -> Event | None:
        world, model = self.world, self.model
        match step:
            case Call(job, retained):
                model.call(step)
                name = f"evt_{next(self.numbers)}"
                lease = leased(world, self.tenant, admit_key=name)
                return deferred(world, self.tenant, lease, name, job_id=job, retained=retained)
            case End(job, used, spelling):
                model.end(step)
                return terminal(world, self.tenant, event_id=f"job:{spelling}:{job}", lines=(tokens(used),))
            case Wait(hours, chore):
                world.clock.advance(hours * 3600)
                model.hour += hours
                if chore:
                    self.deadlines.advance()
                    model.chore()
            case Again():
                world.settler.settle(self.sent)
            case Owner(tenths):
                self._decide(tenths)
        return None

    def _decide(self, tenths: int) -> None:
        for suspense in suspense_of(self.world, self.tenant)[:1]:
            [job_id] = [one.job_id for one in self.sent if one.event_id == suspense.event_id]
            amount = suspense.remaining * tenths // 10
            self.model.owner(self.model.jobs[job_id], amount)
            self.world.wallet.release_suspense(
                self.tenant.organization_id, suspense.escrow_id, charge=amount, decision=OWNER
            )

    def check(self) -> None:
        world, tenant, model = self.world, self.tenant, self.model
        held = sum(job.held for job in model.jobs.values())
        suspended = sum(job.suspended for job in model.jobs.values())
        assert world.money(tenant) == (GRANTED - model.paid - held - suspended, held, 0)
        assert sum(one.remaining for one in suspense_of(world, tenant)) == suspended
        found = counters(world, tenant)
        assert (found.event_count, found.charge) == (model.rows, model.charged)
        assert world.wallet.verify(tenant.organization_id).first is None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(steps=_STEPS)
def test_whatever_the_order_the_money_is_where_the_model_has_it(
    world: World, steps: list[list[Step] | tuple[Step]]
) -> None:
    def play() -> None:
        game = Play(world)
        for batch in steps:
            game.step(batch)
            game.check()
        for job in game.model.jobs.values():
            event(f"a job ends as {job.state}")

    rolled_back(world.database, play)
