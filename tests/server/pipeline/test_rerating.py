"""Events that settled without a price, when one arrives."""

import dataclasses
import threading
from collections.abc import Sequence

import pytest
from structlog.testing import capture_logs

from om_server.account.record import OrganizationRow
from om_server.analytics.counters import Counters
from om_server.analytics.query import EventFilter, UsageQuery
from om_server.analytics.settled import SettledState
from om_server.core.errors import DependencyUnavailable
from om_server.core.event import Event, Outcome
from om_server.pipeline.rerating import UnratedRater
from om_server.pipeline.settle import Settler
from om_server.pipeline.worker import drain
from om_server.rating.operations import RatingOperations
from om_server.rating.unit_rate import Rate
from om_server.storage.database import Database
from om_server.wallet.charging import Charge, ChargeResult
from om_server.wallet.leases.lease import LeaseState
from om_server.wallet.limits.limit import CREDITS
from tests.server.pipeline.edge_scene import leased, outcome
from tests.server.pipeline.harness import CREDIT, SECOND, Tenant, World, rows_of
from tests.server.pipeline.test_dead_letter import the_lease
from tests.server.pipeline.test_limits import limited, reserved
from tests.server.pipeline.test_limits import used as used_of
from tests.server.rating.desk import CATALOGUE, Desk, used

GRANTED = 1_000 * CREDIT

#: 1,000 tokens at a dollar a million, and 1,000 credits a dollar.
COST = 10**6
CHARGE = CREDIT
DOLLAR = Rate("input_tokens", "1")
LINES = (used("brand-new", input_tokens=1_000),)


@pytest.fixture(name="desk")
def make_desk(database: Database) -> Desk:
    return Desk(database)


@pytest.fixture(name="rating")
def make_rating(desk: Desk) -> RatingOperations:
    """Stored tariffs, where other tests have the catalogue alone."""
    return desk.rating


@pytest.fixture(name="rater")
def make_rater(world: World, desk: Desk) -> UnratedRater:
    return new_rater(world, desk)


def new_rater(world: World, desk: Desk) -> UnratedRater:
    return UnratedRater(
        world.database, world.slices, limits=world.limits, versions=desk.store.versions, clock=world.clock
    )


def price(desk: Desk, tenant: Tenant, *, since: int | None = None, model: str = "brand-new") -> str:
    return desk.price([DOLLAR], model=model, org=tenant.organization_id, since=since).version


def unrated(world: World, tenant: Tenant, count: int = 1, **changes: object) -> list[Event]:
    events = [world.event(tenant, f"e{number}", **{"lines": LINES, **changes}) for number in range(count)]
    world.settler.settle(events)
    return events


def counters(world: World, tenant: Tenant) -> Counters:
    wanted = EventFilter(start_time=0, end_time=world.clock.now + SECOND)
    report = world.analytics.query_usage(tenant.organization_id, UsageQuery(filter=wanted))
    return sum((row.counters for row in report.rows), Counters())


def test_a_price_rates_and_charges_what_waited_for_it(
    world: World, tenant: Tenant, desk: Desk, rater: UnratedRater
) -> None:
    [event] = unrated(world, tenant)
    assert counters(world, tenant) == Counters(event_count=1, unrated_count=1)
    version = price(desk, tenant)
    world.clock.advance(5)

    assert rater.rate(tenant.organization_id) == 1

    settled = world.settled(event)
    assert (settled.state, settled.cost, settled.charge) == (SettledState.RATED, COST, CHARGE)
    assert (settled.unrated_reason, settled.settle_time) == ("", world.clock.now)
    [line] = settled.lines
    assert (line.price_version, line.cost, line.charge) == (version, COST, CHARGE)
    assert world.money(tenant) == (GRANTED - CHARGE, 0, 0)
    assert counters(world, tenant) == Counters(event_count=1, cost=COST, charge=CHARGE)
    assert world.analytics.count_unrated(tenant.organization_id) == 0


def test_what_is_stored_is_what_settlement_would_have_stored(
    world: World, tenant: Tenant, desk: Desk, rater: UnratedRater
) -> None:
    tables = ("usage_events", "usage_lines", "rollups", "rollup_quantities")
    unrated(world, tenant, attribution=world.event(tenant).attribution)
    price(desk, tenant)
    rater.rate(tenant.organization_id)
    late = {name: rows_of(world.database)[name] for name in tables}
    other = world.tenant("Ironmonger", granted=GRANTED)
    price(desk, other)
    unrated(world, other)

    prompt = {name: rows_of(world.database)[name] for name in tables}

    for name in tables:
        assert len(prompt[name]) == 2 * len(late[name])
    mine, theirs = counters(world, tenant), counters(world, other)
    assert mine == theirs


def test_a_second_run_changes_nothing(world: World, tenant: Tenant, desk: Desk, rater: UnratedRater) -> None:
    unrated(world, tenant, 3)
    price(desk, tenant)
    rater.rate(tenant.organization_id)
    before = rows_of(world.database)

    assert rater.rate(tenant.organization_id) == 0
    assert new_rater(world, desk).rate(tenant.organization_id) == 0

    assert rows_of(world.database) == before


def test_what_still_has_no_price_stays(world: World, tenant: Tenant, desk: Desk, rater: UnratedRater) -> None:
    unrated(world, tenant)
    price(desk, tenant, model="another")
    before = rows_of(world.database)

    assert rater.rate(tenant.organization_id) == 0

    assert rows_of(world.database) == before


def test_an_event_before_the_price_begins_stays_unrated(
    world: World, tenant: Tenant, desk: Desk, rater: UnratedRater
) -> None:
    events = [
        world.event(tenant, f"e{seconds}", lines=LINES, event_time=world.clock.now + seconds * SECOND)
        for seconds in (-20, -10)
    ]
    world.settler.settle(events)
    price(desk, tenant, since=world.clock.now - 10 * SECOND)

    assert rater.rate(tenant.organization_id) == 1

    assert [world.settled(event).state for event in events] == [SettledState.UNRATED, SettledState.RATED]


@pytest.mark.parametrize("kept", [CHARGE // 2, CHARGE * 2])
def test_an_edges_event_is_charged_from_what_was_kept_and_the_rest_is_freed(
    world: World, tenant: Tenant, desk: Desk, rater: UnratedRater, kept: int
) -> None:
    lease = leased(world, tenant, bound_nanos=2 * CREDIT, min_nanos=2 * CREDIT, want_nanos=2 * CREDIT)
    event = outcome(world, tenant, lease, lines=LINES, retained=kept)
    world.settler.settle([event])
    assert world.money(tenant) == (GRANTED - kept, kept, 0)
    assert the_lease(world, tenant).state is LeaseState.CLOSED
    price(desk, tenant)

    assert rater.rate(tenant.organization_id) == 1

    assert world.money(tenant) == (GRANTED - CHARGE, 0, 0)
    assert the_lease(world, tenant).settled_count == 1
    assert world.settled(event).flags == (("over_bound",) if kept < CHARGE else ())
    assert world.settler.settle([event]) == 0


@pytest.mark.parametrize("end", [Outcome.DEFERRED, Outcome.UNKNOWN])
def test_what_waits_for_something_else_than_a_price_stays(
    world: World, tenant: Tenant, desk: Desk, rater: UnratedRater, end: Outcome
) -> None:
    """A job that is not at its end, and an end about which the owner decides."""
    world.database.write(lambda: OrganizationRow.update(unknown_outcome_policy="suspend").execute())
    event = outcome(world, tenant, leased(world, tenant), lines=LINES, outcome=end, retained=CREDIT // 2)
    world.settler.settle([event])
    price(desk, tenant)
    before = rows_of(world.database)

    assert rater.rate(tenant.organization_id) == 0

    assert rows_of(world.database) == before


def test_suspense_waits_for_its_owner_even_if_the_policy_changes(
    world: World, tenant: Tenant, desk: Desk, rater: UnratedRater
) -> None:
    world.database.write(lambda: OrganizationRow.update(unknown_outcome_policy="suspend").execute())
    event = outcome(world, tenant, leased(world, tenant), lines=LINES, outcome=Outcome.UNKNOWN)
    world.settler.settle([event])
    world.database.write(lambda: OrganizationRow.update(unknown_outcome_policy="estimate_release").execute())
    price(desk, tenant)

    assert rater.rate(tenant.organization_id) == 0
    assert world.settled(event).state is SettledState.UNRATED


def test_where_nobody_paid_then_nobody_pays_now(world: World, desk: Desk, rater: UnratedRater) -> None:
    """Who pays was decided when it settled."""
    poor = world.tenant("Ironmonger")
    [event] = unrated(world, poor)
    world.grant(poor.organization_id, CREDIT)
    price(desk, poor)

    rater.rate(poor.organization_id)

    assert world.settled(event).charge == CHARGE
    assert world.money(poor) == (CREDIT, 0, 0)


def test_one_that_fails_stops_no_other(
    world: World, tenant: Tenant, desk: Desk, rater: UnratedRater, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = unrated(world, tenant, 4)
    price(desk, tenant)
    settle = world.wallet.settle_charges

    def refuse(organization_id: str, charges: Sequence[Charge]) -> list[ChargeResult]:
        if any(charge.event_id == "e2" for charge in charges):
            raise RuntimeError("secret")
        return settle(organization_id, charges)

    monkeypatch.setattr(world.wallet, "settle_charges", refuse)
    with capture_logs() as logs:
        assert rater.rate(tenant.organization_id) == 3

    assert [(log["event"], log["event_id"], log["cause"]) for log in logs] == [
        ("event_not_rated", "e2", "RuntimeError")
    ]
    states = [world.settled(event).state.value for event in events]
    assert states == ["RATED", "RATED", "UNRATED", "RATED"]
    assert counters(world, tenant) == Counters(4, 1, cost=3 * COST, charge=3 * CHARGE)


def test_a_failure_leaves_everything_as_it_was_and_the_step_is_taken_again(
    world: World, tenant: Tenant, desk: Desk, rater: UnratedRater, monkeypatch: pytest.MonkeyPatch
) -> None:
    unrated(world, tenant)
    price(desk, tenant)
    before = rows_of(world.database)

    def away(*_: object) -> None:
        raise DependencyUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(world.analytics, "revise", away)
        with pytest.raises(DependencyUnavailable):
            rater.advance()
    assert rows_of(world.database) == before

    assert rater.advance()
    assert world.money(tenant) == (GRANTED - CHARGE, 0, 0)


def test_an_organization_that_cannot_be_rated_holds_up_no_other(
    world: World, tenant: Tenant, desk: Desk, rater: UnratedRater, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = world.tenant("Ironmonger", granted=GRANTED)
    for each in (tenant, other):
        unrated(world, each)
        price(desk, each)
    page = world.analytics.page_unrated

    def broken(organization_id: str, **arguments: object) -> object:
        if organization_id == tenant.organization_id:
            raise RuntimeError("broken")
        return page(organization_id, **arguments)  # type: ignore[arg-type] # Passed on.

    monkeypatch.setattr(world.analytics, "page_unrated", broken)
    with capture_logs() as logs:
        while rater.advance():
            pass

    assert [log["event"] for log in logs] == ["organization_not_rated"]
    assert (world.money(tenant)[0], world.money(other)[0]) == (GRANTED, GRANTED - CHARGE)


def test_a_worker_rates_what_waits_when_a_tariff_changes(
    world: World, tenant: Tenant, desk: Desk, rater: UnratedRater
) -> None:
    worker = world.worker(chores=(rater.advance,))
    drain(worker)
    unrated(world, tenant)
    price(desk, tenant)

    worker.settle_once()
    assert world.money(tenant) == (GRANTED, 0, 0)
    world.clock.advance(1)
    worker.settle_once()

    assert world.money(tenant) == (GRANTED - CHARGE, 0, 0)


def test_without_a_change_nothing_is_read_but_versions(
    world: World, tenant: Tenant, desk: Desk, rater: UnratedRater, monkeypatch: pytest.MonkeyPatch
) -> None:
    unrated(world, tenant)
    price(desk, tenant)
    while rater.advance():
        pass
    world.clock.advance(61)
    while rater.advance():
        pass
    monkeypatch.setattr(world.analytics, "page_unrated", lambda *_, **__: pytest.fail("nothing changed"))

    world.clock.advance(10)

    assert not rater.advance()


def test_what_settled_under_the_tariff_before_is_found_by_the_second_look(
    world: World, tenant: Tenant, desk: Desk, rater: UnratedRater
) -> None:
    """Its transaction read the version before the change and committed after the first look."""
    assert not rater.advance()
    price(desk, tenant)
    world.clock.advance(1)
    assert rater.advance()
    blind = dataclasses.replace(world.slices, rating=RatingOperations(CATALOGUE, clock=world.clock))
    Settler(world.database, blind, world.clock).settle([world.event(tenant, lines=LINES)])
    assert world.analytics.count_unrated(tenant.organization_id) == 1

    world.clock.advance(61)
    while rater.advance():
        pass

    assert world.analytics.count_unrated(tenant.organization_id) == 0
    assert world.money(tenant) == (GRANTED - CHARGE, 0, 0)


def test_a_step_is_bounded_and_the_next_one_goes_on(
    world: World, tenant: Tenant, desk: Desk, rater: UnratedRater
) -> None:
    unrated(world, tenant, 201)
    price(desk, tenant)
    left: list[int] = []

    while rater.advance():
        left.append(world.analytics.count_unrated(tenant.organization_id))

    assert left == [101, 1, 0]


def test_a_step_passes_over_what_stays(world: World, tenant: Tenant, desk: Desk, rater: UnratedRater) -> None:
    """Else the oldest events, which nobody can rate, would be looked at for ever."""
    stuck = [world.event(tenant, f"s{number}", lines=(used("nameless"),)) for number in range(100)]
    world.settler.settle(stuck)
    world.clock.advance(1)
    unrated(world, tenant)
    price(desk, tenant)

    assert rater.rate(tenant.organization_id) == 1


def test_many_raters_charge_once(world: World, tenant: Tenant, desk: Desk) -> None:
    unrated(world, tenant, 40)
    price(desk, tenant)
    counts: list[int] = []
    together = threading.Barrier(4)

    def run() -> None:
        rater = new_rater(world, desk)
        together.wait()
        counts.append(rater.rate(tenant.organization_id))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(counts) == 40
    assert world.money(tenant) == (GRANTED - 40 * CHARGE, 0, 0)
    assert counters(world, tenant) == Counters(40, 0, cost=40 * COST, charge=40 * CHARGE)


def test_what_limits_reserved_for_it_becomes_what_is_used(
    world: World, tenant: Tenant, desk: Desk, rater: UnratedRater
) -> None:
    limit = limited(world, tenant, 10 * CREDIT, unit=CREDITS)
    world.settler.settle([outcome(world, tenant, leased(world, tenant), lines=LINES)])
    assert (used_of(world, tenant, limit), reserved(world, limit)) == (0, CREDIT)
    price(desk, tenant)

    rater.rate(tenant.organization_id)

    assert (used_of(world, tenant, limit), reserved(world, limit)) == (CHARGE, 0)
