"""Charged events that are rated again: what moves, what stays, and that it moves once."""

import dataclasses
import threading

import pytest

from om_server.account.record import OrganizationRow
from om_server.analytics.counters import Counters
from om_server.analytics.settled import SettledState
from om_server.analytics.table import RevisionRow
from om_server.core.errors import DependencyUnavailable, IdempotencyKeyReused, InvalidArgument, NotFound
from om_server.core.event import Attribution, Outcome
from om_server.pipeline.settle import Settler
from om_server.rating.burn_table import BurnRule
from om_server.rating.comparison import Compared, Difference
from om_server.rating.operations import RatingOperations
from om_server.rating.past import Range
from om_server.rating.rerate_store import RerateRow
from om_server.rating.unit_rate import Rate
from om_server.storage.database import Database
from om_server.wallet.change import WalletChange
from om_server.wallet.entry import Account, EntryKind
from om_server.wallet.wallet import Owner, OwnerKind, WalletMode
from tests.server.pipeline.edge_scene import leased, outcome
from tests.server.pipeline.harness import CREDIT, SECOND, Tenant, World, rows_of
from tests.server.pipeline.job_scene import deferred, terminal
from tests.server.pipeline.past_scene import CHARGE, DOUBLE, HALF, LINES, Past
from tests.server.rating.desk import CATALOGUE, Desk, used

GRANTED = 10_000 * CREDIT


@pytest.fixture(name="desk")
def make_desk(database: Database) -> Desk:
    return Desk(database)


@pytest.fixture(name="rating")
def make_rating(desk: Desk) -> RatingOperations:
    """Stored tariffs, where other tests have the catalogue alone."""
    return desk.rating


@pytest.fixture(name="tenant")
def make_tenant(world: World) -> Tenant:
    return world.tenant(granted=GRANTED)


@pytest.fixture
def past(world: World, desk: Desk, tenant: Tenant) -> Past:
    return Past(world, desk, tenant)


def money(past: Past) -> tuple[int, int, int]:
    return past.world.money(past.tenant)


def test_a_reduction_returns_to_the_grant_that_paid_and_everything_shows_it(past: Past) -> None:
    [event] = past.settle()
    before = past.entries(event)

    report = past.to(HALF)

    assert (report.event_count, report.changed_count, report.wallet_difference) == (1, 1, -CHARGE // 2)
    assert report.differences == (Difference("api", event.event_id, CHARGE, CHARGE // 2),)
    assert money(past) == (GRANTED - CHARGE // 2, 0, 0)
    entries = past.entries(event)
    assert entries[: len(before)] == before
    [back] = entries[len(before) :]
    assert (back.kind, back.amount, back.grant_id) == (EntryKind.REFUND, CHARGE // 2, before[0].grant_id)
    assert past.counters() == Counters(1, cost=2 * 10**9, charge=CHARGE // 2)
    assert past.verified()


def test_the_explanation_has_the_new_table_and_the_settlement_keeps_its_time_and_payer(past: Past) -> None:
    [event] = past.settle()
    settled = past.settled(event)
    past.world.clock.advance(100)
    table_id = past.table(HALF)

    past.rerate(past.request(table_id))

    revised = past.settled(event)
    assert (revised.burn_table_version, revised.flags) == (table_id, ("rerated",))
    assert (revised.settle_time, revised.wallet_id) == (settled.settle_time, settled.wallet_id)
    explained = past.explain(event)
    assert explained.exact
    assert explained.rating.burn_table_version == table_id
    assert explained.rating.lines[0].credits_per_cost == "500"


@pytest.mark.parametrize("limit", [0, 500 * CREDIT])
def test_an_increase_takes_what_is_there_then_credit_then_is_receivable(past: Past, limit: int) -> None:
    owner = Owner.of(past.org, OwnerKind.ORGANIZATION)
    change = WalletChange(mode=WalletMode.SOFT if limit else WalletMode.STRICT, credit_limit=limit)
    past.world.wallet.update_wallet(past.org, owner, change=change)
    events = past.settle(4)

    report = past.to(BurnRule(credits_per_cost="3000"))

    short = 4 * 3 * CHARGE - 4 * CHARGE * 2 - GRANTED + 4 * CHARGE * 2 - limit
    assert report.wallet_difference == 8 * CHARGE
    assert money(past) == (-limit, 0, short)
    assert sum(past.settled(event).receivable for event in events) == short
    assert past.verified()


def test_what_was_receivable_comes_back_first(past: Past) -> None:
    [*_, last] = past.settle(6)
    assert past.settled(last).receivable == CHARGE

    past.to(HALF)

    assert past.settled(last).receivable == CHARGE // 2
    assert money(past) == (GRANTED - 3 * CHARGE, 0, 0)
    assert past.verified()


def test_the_entries_of_one_rating_are_one_group_named_by_event_and_version(past: Past) -> None:
    [event] = past.settle()
    past.to(DOUBLE)
    past.to(HALF)

    groups = list(dict.fromkeys(entry.group_id for entry in past.entries(event)))

    assert len(groups) == 3
    assert [name.startswith("rrt_") for name in groups] == [False, True, True]
    revisions = past.world.database.read(lambda: list(RevisionRow.select().order_by(RevisionRow.revision)))
    assert [(row.revision, row.charge_before, row.charge_after) for row in revisions] == [
        (1, CHARGE, 2 * CHARGE),
        (2, 2 * CHARGE, CHARGE // 2),
    ]
    assert [row.wallet_difference for row in revisions] == [CHARGE, -CHARGE * 3 // 2]


def test_a_second_run_changes_nothing_whatever_its_key(past: Past) -> None:
    past.settle(3)
    table_id = past.table(HALF)
    request = past.request(table_id)
    first = past.rerate(request)
    before = rows_of(past.world.database)

    assert past.rerate(request) == first
    assert rows_of(past.world.database) == before
    again = past.rerate(past.request(table_id))

    assert (again.event_count, again.changed_count, again.wallet_difference) == (3, 0, 0)
    after = rows_of(past.world.database)
    assert {name for name in after if after[name] != before[name]} == {"rerates", "audit_records"}


def test_going_there_and_back_moves_the_money_back(past: Past) -> None:
    events = past.settle(2)
    there, back = past.table(HALF), "default"

    for table_id in (there, back, there, back):
        past.rerate(past.request(table_id))

    assert [past.charge(event) for event in events] == [CHARGE, CHARGE]
    assert money(past) == (GRANTED - 2 * CHARGE, 0, 0)
    assert past.verified()


def test_without_a_table_the_tariff_of_each_events_own_time_decides(past: Past) -> None:
    """What settled under an older state of the tariff gets what is stored now."""
    now = past.world.clock.now
    past.desk.activate(past.table(HALF), org=past.org)
    blind = dataclasses.replace(past.world.slices, rating=RatingOperations(CATALOGUE, clock=past.world.clock))
    settler = Settler(past.world.database, blind, past.world.clock)
    early, late = (
        past.world.event(past.tenant, name, lines=LINES, event_time=time)
        for name, time in (("early", now - SECOND), ("late", now))
    )
    settler.settle([early, late])

    report = past.rerate(past.request())

    assert (report.event_count, report.changed_count) == (2, 1)
    assert (past.charge(early), past.charge(late)) == (CHARGE, CHARGE // 2)


def test_a_named_table_works_on_the_prices_of_each_events_own_time(past: Past) -> None:
    now = past.world.clock.now
    [early] = past.settle(event_time=now - SECOND)
    [late] = past.settle(event_time=now)
    # Half the price from now on; an event that has happened keeps its own.
    past.desk.price([Rate("input_tokens", "1")], since=now, org=past.org)

    past.to(HALF)

    assert (past.charge(early), past.charge(late)) == (CHARGE // 2, CHARGE // 4)
    assert past.settled(late).cost == 10**9


def test_deferred_work_that_has_ended_is_rated_again_as_the_call_that_began_it(past: Past) -> None:
    world = past.world
    call = deferred(world, past.tenant, leased(world, past.tenant))
    world.settler.settle([call])
    assert past.to(DOUBLE).event_count == 0
    world.settler.settle([terminal(world, past.tenant, lines=LINES)])
    assert past.charge(call) == CHARGE

    report = past.to(HALF)

    assert [found.event_id for found in report.differences] == [call.event_id]
    assert money(past) == (GRANTED - CHARGE // 2, 0, 0)
    assert past.verified()


def test_a_dry_run_says_what_applying_does_and_writes_nothing(past: Past) -> None:
    past.settle(3)
    request = past.request(past.table(HALF), difference_count=2)
    before = rows_of(past.world.database)

    told = past.rater.preview(past.org, request)

    assert rows_of(past.world.database) == before
    done = past.rerate(request)
    assert dataclasses.replace(done, wallet_difference=0) == told
    assert done.wallet_difference == done.charge_after - done.charge_before == -3 * CHARGE // 2
    assert len(told.differences) == 2


def test_the_sandbox_and_what_cost_nothing_by_its_outcome_are_not_looked_at(past: Past) -> None:
    past.settle(sandbox=True)
    past.settle(outcome=Outcome.ZERO)
    request = past.request(past.table(DOUBLE))
    before = rows_of(past.world.database)

    assert past.rerate(request).event_count == 0
    assert {name for name, rows in rows_of(past.world.database).items() if rows != before[name]} == {
        "rerates",
        "audit_records",
    }


def test_what_waits_for_a_price_or_an_owner_is_not_looked_at(past: Past) -> None:
    world = past.world
    [unrated] = past.settle(lines=(used("brand-new"),))
    world.database.write(lambda: OrganizationRow.update(unknown_outcome_policy="suspend").execute())
    lost = outcome(world, past.tenant, leased(world, past.tenant), lines=LINES, outcome=Outcome.UNKNOWN)
    world.settler.settle([lost])
    before = money(past)

    assert past.to(DOUBLE).event_count == 0

    assert money(past) == before
    assert {past.settled(event).state for event in (unrated, lost)} == {SettledState.UNRATED}


def test_what_was_estimated_and_charged_is_not_suspended_afterwards(past: Past) -> None:
    world = past.world
    event = outcome(world, past.tenant, leased(world, past.tenant), lines=LINES, outcome=Outcome.UNKNOWN)
    world.settler.settle([event])
    world.database.write(lambda: OrganizationRow.update(unknown_outcome_policy="suspend").execute())

    assert past.to(HALF).changed_count == 1

    assert past.charge(event) == CHARGE // 2
    assert past.verified()


def test_what_an_edge_paid_from_a_lease_returns_to_the_grant_behind_it(past: Past) -> None:
    event = outcome(past.world, past.tenant, leased(past.world, past.tenant), lines=LINES)
    past.world.settler.settle([event])
    assert {entry.kind for entry in past.entries(event)} == {EntryKind.CAPTURE, EntryKind.CHARGE}

    past.to(BurnRule(credits_per_cost="0"))

    assert money(past) == (GRANTED, 0, 0)
    assert past.verified()


def test_what_nobody_paid_for_changes_its_charge_alone(world: World, desk: Desk) -> None:
    past = Past(world, desk, world.tenant("Ironmonger"))
    [event] = past.settle()
    world.grant(past.org, GRANTED)

    report = past.to(DOUBLE)

    assert (report.charge_after - report.charge_before, report.wallet_difference) == (CHARGE, 0)
    assert (past.charge(event), past.entries(event), money(past)) == (2 * CHARGE, [], (GRANTED, 0, 0))


def test_what_would_have_no_charge_now_keeps_the_one_that_it_has(past: Past) -> None:
    [event] = past.settle()

    report = past.to(BurnRule(rates=(Rate("images", "1"),)))

    assert (report.event_count, report.unrated_count, report.changed_count) == (1, 1, 0)
    assert (past.charge(event), money(past)[0]) == (CHARGE, GRANTED - CHARGE)


def test_after_a_refund_by_hand_an_event_has_cost_its_charge_less_the_refund(past: Past) -> None:
    [event] = past.settle()
    past.refund(event, CHARGE // 4)
    net = []

    for rule in (HALF, BurnRule(credits_per_cost="100"), DOUBLE, BurnRule(credits_per_cost="1000")):
        past.to(rule)
        net.append(GRANTED - money(past)[0])

    quarter = CHARGE // 4
    assert net == [CHARGE // 2 - quarter, 0, 2 * CHARGE - quarter, CHARGE - quarter]
    past.refund(event)
    assert money(past) == (GRANTED, 0, 0)
    assert past.verified()


def test_only_events_of_the_range_provider_and_model_are_looked_at(past: Past) -> None:
    now = past.world.clock.now
    past.settle(event_time=now - 5 * SECOND)
    [here] = past.settle()
    past.settle(event_time=now + 5 * SECOND)
    table_id, span = past.table(HALF), Range(now, now + 5 * SECOND)

    for narrowed in ({"provider": "anthropic"}, {"model": "another"}):
        assert past.rerate(past.request(table_id, range=span, **narrowed)).event_count == 0
    report = past.rerate(past.request(table_id, range=span, provider="OpenAI", model="m"))

    assert [found.event_id for found in report.differences] == [here.event_id]
    with pytest.raises(InvalidArgument):
        Range(now, now)


def test_a_customers_table_is_for_its_events_and_the_organizations_for_the_others(past: Past) -> None:
    past.desk.activate(past.table(HALF, customer="own"), org=past.org)
    plain, named, own = (
        past.settle(attribution=Attribution(customer_id=customer))[0] for customer in ("", "acme", "own")
    )

    of_acme = past.rerate(past.request(past.table(DOUBLE, customer="acme")))
    assert [found.event_id for found in of_acme.differences] == [named.event_id]
    of_all = past.to(BurnRule(credits_per_cost="100"))

    assert of_all.event_count == 2
    assert [past.charge(event) for event in (plain, named, own)] == [
        CHARGE // 10,
        CHARGE // 10,
        CHARGE // 2,
    ]


def test_another_organizations_events_and_tables_are_not_touched(past: Past) -> None:
    other = Past(past.world, past.desk, past.world.tenant("Ironmonger", granted=GRANTED))
    [theirs] = other.settle()
    past.settle()

    past.to(HALF)

    assert (other.charge(theirs), money(other)[0]) == (CHARGE, GRANTED - CHARGE)
    with pytest.raises(NotFound):
        past.rerate(past.request(other.table(HALF)))


def test_a_key_that_was_another_requests_is_refused(past: Past) -> None:
    past.rerate(past.request(key="mine"))

    with pytest.raises(IdempotencyKeyReused):
        past.rerate(past.request(past.table(HALF), key="mine"))


def test_a_run_that_broke_goes_on_behind_its_last_step(past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    past.settle(250)
    request = past.request(past.table(HALF))
    revise, calls = past.world.analytics.revise, 0

    def breaking(*arguments: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise DependencyUnavailable
        revise(*arguments)  # type: ignore[arg-type] # Passed on.

    monkeypatch.setattr(past.world.analytics, "revise", breaking)
    with pytest.raises(DependencyUnavailable):
        past.rerate(request)
    assert past.counters().charge == 150 * CHARGE + 100 * CHARGE // 2
    assert past.verified()

    report = past.rerate(request)

    assert (report.event_count, report.changed_count, calls) == (250, 250, 4)
    assert past.counters().charge == 250 * CHARGE // 2
    assert past.verified()


def test_a_call_whose_time_is_over_stops_between_two_steps(past: Past) -> None:
    past.settle(150)
    request = past.request(past.table(HALF))
    left = iter([True, False])

    with pytest.raises(DependencyUnavailable):
        past.rerate(request, in_time=lambda: next(left))
    assert past.counters().charge == 50 * CHARGE + 100 * CHARGE // 2

    assert past.rerate(request).event_count == 150
    assert past.counters().charge == 150 * CHARGE // 2


def test_who_asked_and_what_is_kept(past: Past) -> None:
    past.settle()
    request = past.request(past.table(HALF), key="autumn")
    past.rerate(request, actor="key_7")

    [row] = past.world.database.read(lambda: list(RerateRow.select()))

    assert (row.actor, row.idempotency_key, row.finished) == ("key_7", "autumn", True)
    assert request.burn_table_id in row.request
    revision = past.world.database.read(RevisionRow.get)
    assert revision.rerate_id == row.rerate_id


@pytest.mark.parametrize("same", [True, False])
def test_many_at_once_move_the_money_once(past: Past, same: bool) -> None:  # noqa: FBT001 - a case
    past.settle(120)
    table_id = past.table(HALF)
    together = threading.Barrier(3)
    answers: list[Compared] = []

    def run(number: int) -> None:
        rater = past.new_rater()
        request = past.request(table_id, key="one" if same else f"key of {number}")
        together.wait()
        answers.append(rater.rerate(past.org, request, actor="key_1", in_time=lambda: True))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert money(past) == (0, 0, 120 * CHARGE // 2 - GRANTED)
    assert past.counters().charge == 120 * CHARGE // 2
    assert past.world.database.read(RevisionRow.select().count) == 120
    # Callers of one request share its steps and get one answer; others share the work between them.
    counts = [answer.changed_count for answer in answers]
    assert counts == [120] * 3 if same else sum(counts) == 120
    assert {answer.event_count for answer in answers} == {120}
    assert past.verified()


def test_revisions_never_change(past: Past) -> None:
    past.settle()
    past.to(HALF)

    with pytest.raises(Exception, match="never change"):
        past.world.database.write(lambda: RevisionRow.update(charge_after=0).execute())


def test_what_comes_back_pays_what_is_owed_and_not_a_grant_that_has_more_time(past: Past) -> None:
    events = past.settle(5)
    [owing] = past.settle()
    assert money(past) == (0, 0, CHARGE)

    past.rerate(past.request(past.table(BurnRule(credits_per_cost="500"))))

    assert money(past) == (GRANTED - 3 * CHARGE, 0, 0)
    accounts = {entry.credit_account for event in (*events, owing) for entry in past.entries(event)}
    assert Account.RECEIVABLE in accounts
