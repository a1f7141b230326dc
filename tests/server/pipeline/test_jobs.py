"""Deferred work: a call and the end of its job, whichever comes first, are one charged event."""

import dataclasses
from collections.abc import Callable, Sequence

import pytest
from structlog.testing import capture_logs

from om_server.analytics.counters import Counters, QuantitySum
from om_server.analytics.query import Dimension, EventFilter, UsageQuery
from om_server.analytics.settled import SettledEvent, SettledState
from om_server.analytics.table import EventRow
from om_server.core.errors import DependencyUnavailable
from om_server.core.event import Attribution, Event, Funding, Outcome, UsageLine
from om_server.core.page import PageRequest
from om_server.core.usage import Certainty, Quantity, Usage
from om_server.ingestion.job import JobKey, JobState
from om_server.ingestion.job_store import JobStore
from om_server.ingestion.standing import EventState
from om_server.pipeline.job_meeting import JobEventMissing
from om_server.pipeline.rerating import UnratedRater
from om_server.pipeline.settled_standing import SettledStanding
from om_server.pipeline.worker import drain
from om_server.rating.operations import RatingOperations
from om_server.rating.rate import Rating
from om_server.wallet.holds.suspense import Decision
from om_server.wallet.leases.lease import Lease, LeaseState
from om_server.wallet.limits.limit import CREDITS
from om_server.wallet.wallet import OwnerKind
from tests.server.pipeline.edge_scene import leased, outcome
from tests.server.pipeline.harness import CREDIT, EDGE, INPUT_CHARGE, INPUT_COST, Tenant, World, tokens
from tests.server.pipeline.job_scene import (
    DAY_S,
    HOUR_S,
    JOB,
    STARTED,
    deferred,
    job_of,
    suspense_of,
    terminal,
    wait,
)
from tests.server.pipeline.test_dead_letter import kill, the_lease
from tests.server.pipeline.test_limits import limited, reserved
from tests.server.pipeline.test_limits import used as used_of
from tests.server.pipeline.test_rerating import counters

GRANTED = 1_000 * CREDIT
USED = 200 * INPUT_CHARGE
OWNER = Decision("mem_1", "asked the provider")
UNPRICED = (tokens(200, model="a-model-nobody-knows"),)

Batches = Callable[[Event, Event], Sequence[Sequence[Event]]]

ORDERS: dict[str, Batches] = {
    "the call first": lambda call, end: [[call], [end]],
    "its end first": lambda call, end: [[end], [call]],
    "in one batch": lambda call, end: [[call, end]],
    "in one batch, the end first": lambda call, end: [[end, call]],
    "all of it twice": lambda call, end: [[end], [end, call], [call], [call, end]],
}


@pytest.fixture(params=ORDERS)
def order(request: pytest.FixtureRequest) -> Batches:
    """Which of the two settles when."""
    return ORDERS[request.param]


def settle(world: World, batches: Sequence[Sequence[Event]]) -> None:
    for batch in batches:
        world.settler.settle(batch)
        world.clock.advance(HOUR_S)


def events_of(world: World, tenant: Tenant) -> list[SettledEvent]:
    return list(
        world.analytics.list_events(tenant.organization_id, EventFilter(), page=PageRequest.of()).events
    )


def verified(world: World, tenant: Tenant) -> bool:
    return world.wallet.verify(tenant.organization_id).first is None


def test_a_call_and_the_end_of_its_job_are_one_event_charged_to_the_call(
    world: World, tenant: Tenant, order: Batches
) -> None:
    """Attribution, wallet, key and price time are the call's, whatever the edge says that saw the end."""
    who = Attribution(customer_id="acme", user_id="ada", team_id=tenant.team_id, feature_id="chat")
    call = deferred(world, tenant, leased(world, tenant), attribution=who, job_id=JOB)
    world.clock.advance(HOUR_S)
    end = terminal(world, tenant, attribution=Attribution(customer_id="other"), key_id="key_other")

    settle(world, order(call, end))

    [settled] = events_of(world, tenant)
    assert settled.event.identity == call.identity
    assert (settled.event.attribution, settled.event.key_id) == (who, tenant.key_id)
    assert (settled.event.event_time, settled.event.edge) == (call.event_time, call.edge)
    assert settled.event.outcome is Outcome.CHARGED
    assert (settled.state, settled.cost, settled.charge) == (SettledState.RATED, 200 * INPUT_COST, USED)
    assert (settled.wallet_id, settled.receivable, settled.flags) == (call.wallet_id, 0, ())
    assert world.money(tenant) == (GRANTED - USED, 0, 0)
    assert the_lease(world, tenant).state is LeaseState.CLOSED
    assert counters(world, tenant).event_count == 1
    assert counters(world, tenant).charge == USED
    assert verified(world, tenant)


def test_every_order_leaves_the_sums_of_a_call_without_a_job(world: World, order: Batches) -> None:
    """Also where another model served than was asked for: what the call said of itself is gone."""
    tenant, plain = world.tenant("Jobs", granted=GRANTED), world.tenant("Plain", granted=GRANTED)
    estimate = UsageLine("openai", "o3", Usage((Quantity("input_tokens", 5, Certainty.ESTIMATED),)))
    call = deferred(world, tenant, leased(world, tenant), lines=(estimate, *STARTED))
    charged = outcome(world, plain, leased(world, plain, admit_key="other"))

    settle(world, order(call, terminal(world, tenant)))
    world.settler.settle([charged])

    assert sums(world, tenant) == sums(world, plain)
    assert [line.line for line in world.settled(call).lines] == [
        line.line for line in world.settled(charged).lines
    ]


def sums(world: World, tenant: Tenant) -> list[object]:
    """What analytics shows by model; a model that has nothing any more is not shown."""
    query = UsageQuery(
        filter=EventFilter(start_time=0, end_time=world.clock.now + 1), group_by=(Dimension.MODEL,)
    )
    rows = world.analytics.query_usage(tenant.organization_id, query).rows
    return [
        row
        for row in rows
        if row.counters != Counters() or any(amount != QuantitySum() for amount in row.quantities.values())
    ]


def test_a_call_without_its_end_is_held_and_costs_nothing_yet(world: World, tenant: Tenant) -> None:
    call = deferred(world, tenant, leased(world, tenant))

    world.settler.settle([call])

    assert world.money(tenant) == (GRANTED - CREDIT, CREDIT, 0)
    assert (world.settled(call).state, world.settled(call).charge) == (SettledState.UNRATED, None)
    job = job_of(world, tenant)
    assert job is not None
    assert (job.state, job.identity) == (JobState.DEFERRED, ("proxy", "evt_1"))


def test_an_end_without_its_call_is_no_event_and_costs_nothing_yet(world: World, tenant: Tenant) -> None:
    world.settler.settle([terminal(world, tenant)])

    assert events_of(world, tenant) == []
    assert world.money(tenant) == (GRANTED, 0, 0)
    assert counters(world, tenant).event_count == 0
    assert world.changes.settled([terminal(world, tenant).edge.edge_id])  # type: ignore[union-attr]


@pytest.mark.parametrize("spelling", ["job:OpenAI:batch_1", "job:openai:batch_1"])
def test_a_job_meets_under_any_spelling_of_its_provider(world: World, tenant: Tenant, spelling: str) -> None:
    world.settler.settle([deferred(world, tenant, leased(world, tenant))])

    world.settler.settle([terminal(world, tenant, event_id=spelling)])

    assert world.money(tenant) == (GRANTED - USED, 0, 0)


def test_a_second_end_of_one_job_charges_nothing(world: World, tenant: Tenant, order: Batches) -> None:
    call = deferred(world, tenant, leased(world, tenant))
    again = terminal(world, tenant, event_id="job:OPENAI:batch_1", lines=(tokens(900),))

    settle(world, [*order(call, terminal(world, tenant)), [again], [again]])

    assert world.money(tenant) == (GRANTED - USED, 0, 0)
    assert counters(world, tenant).event_count == 1


def test_two_ends_of_a_job_that_wait_are_one(world: World, tenant: Tenant) -> None:
    again = terminal(world, tenant, event_id="job:OPENAI:batch_1", lines=(tokens(900),))

    settle(world, [[terminal(world, tenant), again], [deferred(world, tenant, leased(world, tenant))]])

    assert world.money(tenant) == (GRANTED - USED, 0, 0)


def test_a_second_call_of_one_job_frees_its_money_and_is_zero(
    world: World, tenant: Tenant, order: Batches
) -> None:
    """A provider answers a repeated request with the job that it has."""
    call = deferred(world, tenant, leased(world, tenant))
    second = deferred(world, tenant, leased(world, tenant, admit_key="evt_2"), "evt_2")

    settle(world, [*order(call, terminal(world, tenant)), [second]])

    repeated = world.settled(second)
    assert (repeated.state, repeated.charge, repeated.flags) == (SettledState.ZERO, 0, ("job_repeated",))
    assert world.money(tenant) == (GRANTED - USED, 0, 0)
    assert counters(world, tenant).charge == USED


def test_a_second_call_before_the_end_frees_its_money_and_the_first_pays(
    world: World, tenant: Tenant
) -> None:
    call = deferred(world, tenant, leased(world, tenant))
    second = deferred(world, tenant, leased(world, tenant, admit_key="evt_2"), "evt_2")

    world.settler.settle([call, second])
    assert world.money(tenant) == (GRANTED - CREDIT, CREDIT, 0)
    world.settler.settle([terminal(world, tenant)])

    assert world.settled(call).charge == USED
    assert world.money(tenant) == (GRANTED - USED, 0, 0)


@pytest.mark.parametrize("lines", [(), (tokens(200),)])
def test_a_job_that_failed_costs_nothing_and_frees_all(
    world: World, tenant: Tenant, order: Batches, lines: tuple[UsageLine, ...]
) -> None:
    call = deferred(world, tenant, leased(world, tenant))

    settle(world, order(call, terminal(world, tenant, outcome=Outcome.ZERO, lines=lines)))

    settled = world.settled(call)
    assert (settled.state, settled.cost, settled.charge) == (SettledState.ZERO, 0, 0)
    assert world.money(tenant) == (GRANTED, 0, 0)
    assert counters(world, tenant).unknown_count == 0
    assert counters(world, tenant).unrated_count == 0


def test_a_job_that_was_cancelled_costs_what_it_used(world: World, tenant: Tenant, order: Batches) -> None:
    call = deferred(world, tenant, leased(world, tenant))

    settle(world, order(call, terminal(world, tenant, lines=(tokens(7),))))

    assert world.money(tenant) == (GRANTED - 7 * INPUT_CHARGE, 0, 0)


def test_a_job_that_used_more_than_was_kept_charges_the_wallet_for_the_rest(
    world: World, tenant: Tenant, order: Batches
) -> None:
    call = deferred(world, tenant, leased(world, tenant), retained=CREDIT // 4)

    settle(world, order(call, terminal(world, tenant, lines=(tokens(1_000),))))

    assert world.money(tenant) == (GRANTED - 1_000 * INPUT_CHARGE, 0, 0)
    assert world.settled(call).flags == ("over_bound",)


def test_an_end_without_a_price_keeps_the_money_until_there_is_one(
    world: World, tenant: Tenant, order: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = deferred(world, tenant, leased(world, tenant))

    settle(world, order(call, terminal(world, tenant, lines=UNPRICED)))

    settled = world.settled(call)
    assert (settled.state, settled.charge, settled.event.outcome) == (
        SettledState.UNRATED,
        None,
        Outcome.CHARGED,
    )
    assert world.money(tenant) == (GRANTED - CREDIT, CREDIT, 0)
    assert not wait(world)
    _rate_as_gpt(world, monkeypatch)
    assert world.money(tenant) == (GRANTED - USED, 0, 0)
    assert world.settled(call).charge == USED


def _rate_as_gpt(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every model have a price, and charge what waited for it."""
    known = world.rating.rate_event

    def rate(_: RatingOperations, event: Event) -> Rating:
        lines = tuple(dataclasses.replace(line, model="gpt-4o") for line in event.lines)
        return known(dataclasses.replace(event, lines=lines))

    monkeypatch.setattr(RatingOperations, "rate_event", rate)
    rater = UnratedRater(world.database, world.slices, limits=world.limits, versions=dict, clock=world.clock)
    while rater.advance():
        pass


def test_a_limit_waits_for_the_end_of_the_job(world: World, tenant: Tenant) -> None:
    limit = limited(world, tenant, GRANTED, unit=CREDITS)
    world.settler.settle([deferred(world, tenant, leased(world, tenant))])
    assert (reserved(world, limit), used_of(world, tenant, limit)) == (CREDIT, 0)

    world.settler.settle([terminal(world, tenant)])

    assert (reserved(world, limit), used_of(world, tenant, limit)) == (0, USED)


def test_a_sandbox_job_is_recorded_and_costs_nothing(world: World, tenant: Tenant, order: Batches) -> None:
    call = deferred(world, tenant, leased(world, tenant), sandbox=True)

    settle(world, order(call, terminal(world, tenant)))

    settled = world.settled(call)
    assert (settled.state, settled.charge, len(settled.lines)) == (SettledState.ZERO, 0, 1)
    assert world.money(tenant) == (GRANTED, 0, 0)
    assert not wait(world)


def test_a_job_of_a_call_that_nobody_pays_for_is_tracked(world: World, order: Batches) -> None:
    poor = world.tenant()
    call = _without_lease(world, poor)

    settle(world, order(call, terminal(world, poor)))

    settled = world.settled(call)
    assert (settled.cost, settled.charge, settled.wallet_id) == (200 * INPUT_COST, USED, "")
    assert (settled.receivable, settled.flags) == (0, ("unfunded",))


def test_a_job_of_an_unfunded_call_is_charged_to_the_wallet_of_its_admission(
    world: World, tenant: Tenant, order: Batches
) -> None:
    wallet_id = world.wallet.get_wallet(tenant.organization_id).wallet_id
    call = dataclasses.replace(_without_lease(world, tenant), wallet_id=wallet_id)

    settle(world, order(call, terminal(world, tenant)))

    assert world.money(tenant) == (GRANTED - USED, 0, 0)
    assert world.settled(call).flags == ("unfunded",)


def _without_lease(world: World, tenant: Tenant) -> Event:
    lease = Lease(tenant.organization_id, "", "", EDGE.edge_id, 1, "", "", 0, 0, 1, 0, 0)
    return dataclasses.replace(deferred(world, tenant, lease), funding=(), unfunded=True)


def test_jobs_of_two_organizations_with_one_id_never_meet(world: World, tenant: Tenant) -> None:
    other = world.tenant("Ironmonger", granted=GRANTED)
    world.settler.settle([deferred(world, tenant, leased(world, tenant))])

    world.settler.settle([terminal(world, other)])

    assert world.money(tenant) == (GRANTED - CREDIT, CREDIT, 0)
    assert world.money(other) == (GRANTED, 0, 0)
    assert wait(world)
    assert world.money(tenant) == (GRANTED - CREDIT, 0, 0)
    assert world.money(other) == (GRANTED - USED, 0, 0)


def test_jobs_of_two_providers_with_one_id_never_meet(world: World, tenant: Tenant) -> None:
    world.settler.settle([deferred(world, tenant, leased(world, tenant))])

    world.settler.settle([terminal(world, tenant, event_id=f"job:anthropic:{JOB}")])

    assert world.money(tenant) == (GRANTED - CREDIT, CREDIT, 0)


@pytest.mark.parametrize("changes", [{"job_id": ""}, {"lines": ()}])
def test_a_call_that_names_no_job_or_no_provider_is_ended_by_nobody(
    world: World, tenant: Tenant, changes: dict[str, object]
) -> None:
    """Two of them do not take one another for the same job either."""
    calls = [
        deferred(world, tenant, leased(world, tenant, admit_key=name), name, **changes)
        for name in ("evt_1", "evt_2")
    ]

    settle(world, [calls, [terminal(world, tenant)]])

    assert world.money(tenant) == (GRANTED - 2 * CREDIT, 2 * CREDIT, 0)
    assert wait(world)
    assert len(suspense_of(world, tenant)) == 2


def test_an_application_cannot_end_a_job(world: World, tenant: Tenant) -> None:
    world.settler.settle([deferred(world, tenant, leased(world, tenant))])

    world.settler.settle([world.event(tenant, f"job:openai:{JOB}")])

    assert world.money(tenant) == (GRANTED - CREDIT - 1_000 * INPUT_CHARGE, CREDIT, 0)


def test_a_poll_that_did_have_a_lease_gives_it_back(world: World, tenant: Tenant, order: Batches) -> None:
    call = deferred(world, tenant, leased(world, tenant))
    polled = leased(world, tenant, admit_key="poll")
    end = terminal(world, tenant, edge=call.edge, funding=(Funding(polled.lease_id, CREDIT, CREDIT),))

    settle(world, order(call, end))

    assert world.money(tenant) == (GRANTED - USED, 0, 0)


def test_a_poll_with_a_lease_that_stays_alone_is_counted_once(world: World, tenant: Tenant) -> None:
    lease = leased(world, tenant)
    end = terminal(
        world,
        tenant,
        edge=deferred(world, tenant, lease).edge,
        funding=(Funding(lease.lease_id, CREDIT, CREDIT),),
    )
    world.settler.settle([end])
    assert world.money(tenant) == (GRANTED, 0, 0)

    wait(world)

    assert world.money(tenant) == (GRANTED - USED, 0, 0)
    assert (the_lease(world, tenant).settled_count, world.settled(end).flags) == (1, ("job_alone",))


def test_a_job_that_is_not_due_any_more_when_it_is_locked_stays_as_it_is(
    world: World, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its end, or another worker, came between the look at the clock and the lock."""
    settle(world, [[terminal(world, tenant)], [deferred(world, tenant, leased(world, tenant))]])
    key = JobKey(tenant.organization_id, "openai", JOB)
    monkeypatch.setattr(JobStore, "due", lambda *_, **__: [key])

    wait(world)

    job = job_of(world, tenant)
    assert job is not None
    assert job.state is JobState.COMPLETE
    assert world.money(tenant) == (GRANTED - USED, 0, 0)


def test_an_end_alone_is_charged_after_a_day_to_whom_it_names_itself(world: World, tenant: Tenant) -> None:
    world.grant(tenant.organization_id, GRANTED, kind=OwnerKind.USER, owner_id="ada")
    end = terminal(world, tenant, attribution=Attribution(user_id="ada"))
    world.settler.settle([end])
    assert not wait(world, DAY_S - 1)

    assert wait(world, 1)

    settled = world.settled(end)
    assert (settled.charge, settled.event.event_time) == (USED, end.event_time)
    assert settled.flags == ("job_alone",)
    assert world.money(tenant) == (GRANTED, 0, 0)
    wallets = world.wallet.list_wallets(tenant.organization_id, page=PageRequest.of()).wallets
    assert sorted(wallet.available for wallet in wallets) == [GRANTED - USED, GRANTED]
    assert not wait(world)
    assert counters(world, tenant).event_count == 1


def test_a_call_after_its_end_was_charged_only_frees_its_money(world: World, tenant: Tenant) -> None:
    world.settler.settle([terminal(world, tenant)])
    wait(world)
    call = deferred(world, tenant, leased(world, tenant))

    settle(world, [[call], [call], [terminal(world, tenant)]])

    repeated = world.settled(call)
    assert (repeated.state, repeated.charge, repeated.flags) == (SettledState.ZERO, 0, ("job_repeated",))
    assert world.money(tenant) == (GRANTED - USED, 0, 0)
    assert counters(world, tenant).charge == USED
    assert counters(world, tenant).unknown_count == 0
    assert not wait(world)


def test_an_end_alone_without_a_price_waits_for_one(
    world: World, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.settler.settle([terminal(world, tenant, lines=UNPRICED)])
    wait(world)
    assert world.money(tenant) == (GRANTED, 0, 0)

    _rate_as_gpt(world, monkeypatch)

    assert world.money(tenant) == (GRANTED - USED, 0, 0)


def test_the_money_of_a_call_alone_goes_to_suspense_after_a_day(world: World, tenant: Tenant) -> None:
    call = deferred(world, tenant, leased(world, tenant))
    world.settler.settle([call])
    assert not wait(world, DAY_S - 1)

    assert wait(world, 1)

    assert world.money(tenant) == (GRANTED - CREDIT, 0, 0)
    [suspense] = suspense_of(world, tenant)
    assert (suspense.cause_id, suspense.remaining) == ("evt_1", CREDIT)
    assert suspense.escrow_id.startswith("sus_")
    assert world.settled(call).flags == ("suspended",)
    assert verified(world, tenant)
    assert not wait(world)


def test_a_call_alone_without_money_is_charged_when_its_end_comes(world: World, tenant: Tenant) -> None:
    wallet_id = world.wallet.get_wallet(tenant.organization_id).wallet_id
    call = dataclasses.replace(_without_lease(world, tenant), wallet_id=wallet_id)
    world.settler.settle([call])

    assert wait(world)
    assert (world.settled(call).flags, suspense_of(world, tenant)) == (("unfunded",), [])
    world.settler.settle([terminal(world, tenant)])

    assert world.money(tenant) == (GRANTED - USED, 0, 0)


def test_an_end_after_that_settles_from_suspense_and_frees_the_rest(world: World, tenant: Tenant) -> None:
    call = deferred(world, tenant, leased(world, tenant))
    world.settler.settle([call])
    wait(world)

    settle(world, [[terminal(world, tenant)], [terminal(world, tenant), call]])

    assert world.money(tenant) == (GRANTED - USED, 0, 0)
    assert (world.settled(call).charge, world.settled(call).flags) == (USED, ())
    assert suspense_of(world, tenant) == []
    assert verified(world, tenant)


def test_an_end_after_that_without_a_price_is_charged_from_suspense_when_there_is_one(
    world: World, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.settler.settle([deferred(world, tenant, leased(world, tenant))])
    wait(world)
    world.settler.settle([terminal(world, tenant, lines=UNPRICED)])
    assert world.money(tenant) == (GRANTED - CREDIT, 0, 0)

    _rate_as_gpt(world, monkeypatch)

    assert world.money(tenant) == (GRANTED - USED, 0, 0)
    assert suspense_of(world, tenant) == []


@pytest.mark.parametrize("decided", [0, USED // 2, USED, CREDIT])
def test_what_an_owner_charged_meanwhile_is_not_charged_again(
    world: World, tenant: Tenant, decided: int
) -> None:
    call = deferred(world, tenant, leased(world, tenant))
    world.settler.settle([call])
    wait(world)
    [suspense] = suspense_of(world, tenant)
    world.wallet.release_suspense(tenant.organization_id, suspense.escrow_id, charge=decided, decision=OWNER)

    world.settler.settle([terminal(world, tenant)])

    assert world.money(tenant) == (GRANTED - max(USED, decided), 0, 0)
    assert world.settled(call).charge == USED


@pytest.mark.parametrize("first", ["the call", "its end"])
def test_a_call_whose_lease_an_owner_resolved_settles_from_that_leases_suspense(
    world: World, tenant: Tenant, first: str
) -> None:
    lease = leased(world, tenant)
    call = deferred(world, tenant, lease, retained=CREDIT * 3 // 4)
    wait(world, 2 * DAY_S)
    world.wallet.resolve_lease(tenant.organization_id, lease.lease_id, decision=OWNER)
    assert world.money(tenant) == (GRANTED - CREDIT, 0, 0)
    batches = [[call], [terminal(world, tenant)]]

    settle(world, batches if first == "the call" else batches[::-1])

    [suspense] = suspense_of(world, tenant)
    assert suspense.remaining == CREDIT - USED
    assert world.money(tenant) == (GRANTED - CREDIT, 0, 0)
    assert world.settled(call).flags == ("lease_resolved",)


def test_a_call_whose_lease_nobody_knows_is_charged_directly(
    world: World, tenant: Tenant, order: Batches
) -> None:
    lease = leased(world, tenant)
    gone = (Funding("lse_" + "7" * 26, CREDIT, CREDIT),)
    call = dataclasses.replace(deferred(world, tenant, lease), funding=gone)

    settle(world, order(call, terminal(world, tenant)))

    assert world.money(tenant) == (GRANTED - CREDIT - USED, CREDIT, 0)
    assert world.settled(call).flags == ("lease_unknown",)


def test_a_call_that_was_set_aside_meets_its_end_when_it_is_replayed(world: World, tenant: Tenant) -> None:
    call = deferred(world, tenant, leased(world, tenant))
    kill(world, call)
    world.settler.settle([terminal(world, tenant)])
    assert world.money(tenant) == (GRANTED - CREDIT, CREDIT, 0)

    world.replay.replay(tenant.organization_id, (), actor="mem_1")

    assert world.settled(call).charge == USED
    assert world.money(tenant) == (GRANTED - USED, 0, 0)


def test_a_call_that_is_replayed_before_its_end_comes_keeps_its_hold(world: World, tenant: Tenant) -> None:
    kill(world, deferred(world, tenant, leased(world, tenant)))

    world.replay.replay(tenant.organization_id, (), actor="mem_1")
    assert world.money(tenant) == (GRANTED - CREDIT, CREDIT, 0)
    wait(world)
    assert len(suspense_of(world, tenant)) == 1
    world.settler.settle([terminal(world, tenant)])

    assert world.money(tenant) == (GRANTED - USED, 0, 0)


def test_an_end_whose_call_is_not_kept_any_more_is_set_aside(world: World, tenant: Tenant) -> None:
    """Its money is in suspense, where an owner finds it."""
    world.settler.settle([deferred(world, tenant, leased(world, tenant))])
    wait(world)
    world.database.write(lambda: EventRow.delete().execute())

    with pytest.raises(JobEventMissing):
        world.settler.settle([terminal(world, tenant)])

    assert len(suspense_of(world, tenant)) == 1


def test_a_job_that_cannot_be_ended_stops_no_other_and_is_tried_again(
    world: World, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(world, [[terminal(world, tenant, "poison"), terminal(world, tenant, "good")]])
    known = world.rating.rate_event

    def rate(_: RatingOperations, event: Event) -> Rating:
        if "poison" in event.event_id:
            raise ArithmeticError
        return known(event)

    with monkeypatch.context() as patched, capture_logs() as logs:
        patched.setattr(RatingOperations, "rate_event", rate)
        assert wait(world)
        assert not wait(world, HOUR_S - 1)
    assert [entry["event"] for entry in logs] == ["job_not_ended"]
    assert world.money(tenant) == (GRANTED - USED, 0, 0)

    assert wait(world, 1)
    assert world.money(tenant) == (GRANTED - 2 * USED, 0, 0)


def test_a_job_that_failed_and_is_ended_by_another_worker_is_not_tried_again(
    world: World, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.settler.settle([terminal(world, tenant)])

    def rate(*_: object) -> Rating:
        monkeypatch.setattr(JobStore, "lock", lambda *_: {})
        raise ArithmeticError

    monkeypatch.setattr(RatingOperations, "rate_event", rate)

    with capture_logs():
        assert wait(world)

    job = job_of(world, tenant)
    assert job is not None
    assert job.due_time == world.clock.now


def test_a_database_that_is_away_ends_no_waiting(
    world: World, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.settler.settle([terminal(world, tenant)])

    def away(*_: object) -> Rating:
        raise DependencyUnavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(RatingOperations, "rate_event", away)
        with pytest.raises(DependencyUnavailable):
            wait(world)

    assert wait(world, 1)
    assert world.money(tenant) == (GRANTED - USED, 0, 0)


def test_many_jobs_are_ended_in_bounded_steps(world: World, tenant: Tenant) -> None:
    world.settler.settle([terminal(world, tenant, f"job-{number}") for number in range(51)])

    assert wait(world)
    assert world.money(tenant) == (GRANTED - 50 * USED, 0, 0)
    assert world.job_deadlines.advance()
    assert world.money(tenant) == (GRANTED - 51 * USED, 0, 0)
    assert not world.job_deadlines.advance()


def test_a_worker_does_it_between_batches(world: World, tenant: Tenant) -> None:
    world.queue([terminal(world, tenant)])
    worker = world.worker(chores=(world.job_deadlines.advance,))
    drain(worker)
    world.clock.advance(DAY_S)

    drain(worker)

    assert world.money(tenant) == (GRANTED - USED, 0, 0)


def test_both_tell_where_the_job_stands(world: World, tenant: Tenant) -> None:
    standings, other = SettledStanding(world.analytics, world.ingestion.find_job), world.tenant("Ironmonger")

    def states() -> list[EventState | None]:
        found = [
            standings(tenant.organization_id, source="proxy", event_id=name)
            for name in (f"job:openai:{JOB}", "evt_1")
        ]
        return [one.state if one else None for one in found]

    assert states() == [None, None]
    world.settler.settle([terminal(world, tenant)])
    assert states() == [EventState.DEFERRED, None]
    assert standings(other.organization_id, source="proxy", event_id=f"job:openai:{JOB}") is None
    world.settler.settle([deferred(world, tenant, leased(world, tenant))])
    assert states() == [EventState.CHARGED, EventState.CHARGED]
    assert standings(other.organization_id, source="proxy", event_id=f"job:openai:{JOB}") is None
    assert standings(tenant.organization_id, source="api", event_id=f"job:openai:{JOB}") is None


def test_a_call_alone_waits_and_its_end_is_not_known(world: World, tenant: Tenant) -> None:
    standings = SettledStanding(world.analytics, world.ingestion.find_job)
    world.settler.settle([deferred(world, tenant, leased(world, tenant))])

    assert standings(tenant.organization_id, source="proxy", event_id=f"job:openai:{JOB}") is None
    found = standings(tenant.organization_id, source="proxy", event_id="evt_1")
    assert found is not None
    assert found.state is EventState.DEFERRED


def test_the_results_of_a_batch_are_charged_once_each_and_its_end_frees_what_was_held(
    world: World, tenant: Tenant
) -> None:
    """Whoever polls: every line of the results is an event of its own, to whom the poll named."""
    call = deferred(world, tenant, leased(world, tenant))
    results = [
        terminal(world, tenant, event_id=f"part:openai:{JOB}:{part}", lines=(tokens(100),)) for part in "ab"
    ]
    end = terminal(world, tenant, outcome=Outcome.ZERO, lines=())

    settle(world, [[call], [end, *results], [results[0], end], results])

    settled = {event.event.event_id: event for event in events_of(world, tenant)}
    assert settled.keys() == {"evt_1", f"part:openai:{JOB}:a", f"part:openai:{JOB}:b"}
    assert settled["evt_1"].state is SettledState.ZERO
    assert {settled[name].wallet_id for name in settled if name != "evt_1"} == {call.wallet_id}
    assert sum(event.charge or 0 for event in settled.values()) == USED
    assert world.money(tenant) == (GRANTED - USED, 0, 0)
    assert verified(world, tenant)


def test_a_result_that_is_seen_before_the_batch_ends_is_charged_without_waiting(
    world: World, tenant: Tenant
) -> None:
    world.settler.settle([terminal(world, tenant, event_id=f"part:openai:{JOB}:a")])

    assert world.money(tenant) == (GRANTED - USED, 0, 0)
