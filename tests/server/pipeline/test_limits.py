"""Limits in admission and settlement: what is reserved, used and given back, whatever happens in between."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest

from om_server.account.organization import OrganizationChange
from om_server.core.event import SOURCE_PROXY, Attribution, EdgePosition, Event, Funding, Outcome
from om_server.pipeline.admission import Decision, FundingMode
from om_server.wallet.charging import Charge
from om_server.wallet.leases.closing import Past
from om_server.wallet.leases.lease import Lease, LeaseReport, LeaseState
from om_server.wallet.limits.limit import COST, CREDITS, EVENTS, Limit, LimitMode, Selector, Terms
from om_server.wallet.limits.operations import LimitWish
from om_server.wallet.limits.record import CounterRow, ReservationRow
from om_server.wallet.limits.window import Window, WindowKind
from om_server.wallet.wallet import OwnerKind
from tests.server.pipeline.harness import (
    CREDIT,
    EDGE,
    INPUT_CHARGE,
    INPUT_COST,
    SECOND,
    Tenant,
    World,
    rows_of,
    tokens,
)

DAY = Window(WindowKind.DAY)
NOTICE_S = 60
ADA = Attribution(user_id="ada", customer_id="acme", feature_id="chat", tags=("beta",))


@pytest.fixture(autouse=True)
def _resynced(world: World) -> Iterator[None]:
    world.resync()
    yield
    counters_match(world)


def counters_match(world: World) -> None:
    """Every counter is the sum of its parts, at the end of every test."""

    def read() -> None:
        for counter in CounterRow.select():
            parts = ReservationRow.select().where(
                ReservationRow.limit_id == counter.limit_id, ReservationRow.user_id == counter.user_id
            )
            assert counter.reserved == sum(part.amount for part in parts)

    world.database.read(read)


def limited(
    world: World,
    tenant: Tenant,
    amount: int | None,
    *,
    unit: str = EVENTS,
    mode: LimitMode = LimitMode.HARD,
    window: Window = DAY,
    holds: bool = True,
    **selector: object,
) -> Limit:
    """A limit that holds by now."""
    wish = LimitWish(
        Selector(**selector),  # type: ignore[arg-type] # A table's row.
        unit,
        Terms(mode, amount, window),
    )
    limit = world.limits.create(tenant.organization_id, wish, idempotency_key=world.ids.new("key"))
    if holds:
        world.clock.advance(NOTICE_S)
    return limit


def reserved(world: World, limit: Limit) -> int:
    def read() -> int:
        return sum(row.reserved for row in CounterRow.select().where(CounterRow.limit_id == limit.limit_id))

    return world.database.read(read)


def used(world: World, tenant: Tenant, limit: Limit) -> int:
    return world.limits.used(tenant.organization_id, limit)


def reason_of(decision: Decision) -> str:
    return decision.refusal.error.reason if decision.refusal else ""


def admitted(world: World, tenant: Tenant, number: int = 1, **changes: object) -> Lease:
    decision = world.admit(tenant, admit_key=f"evt_{number}", **changes)
    assert decision.refusal is None
    assert decision.lease is not None
    return decision.lease


def outcome(world: World, tenant: Tenant, lease: Lease, **changes: object) -> Event:
    """What the edge reports of the one call of a lease: 400 tokens, which are one credit."""
    event = world.event(
        tenant,
        lease.admit_key,
        source=SOURCE_PROXY,
        edge=EdgePosition(EDGE.edge_id, EDGE.edge_epoch, 1),
        wallet_id=lease.wallet_id,
        funding=(Funding(lease.lease_id, lease.amount, lease.amount),),
        lines=(tokens(400),),
    )
    return dataclasses.replace(event, **changes)  # type: ignore[arg-type] # A table's row.


@pytest.mark.parametrize("granted", [0, 1_000 * CREDIT])
def test_exactly_the_limit_is_admitted_with_and_without_a_wallet(world: World, granted: int) -> None:
    tenant = world.tenant(granted=granted)
    limited(world, tenant, 3)

    decisions = [world.admit(tenant, admit_key=f"evt_{number}") for number in range(5)]

    assert [reason_of(decision) for decision in decisions] == ["", "", "", "LIMIT_REACHED", "LIMIT_REACHED"]


def test_where_nobody_pays_the_lease_carries_no_money(world: World) -> None:
    tenant = world.tenant()
    limit = limited(world, tenant, 3)

    decision = world.admit(tenant)

    assert decision.funding_mode is FundingMode.NO_WALLET
    assert decision.lease is not None
    assert (decision.lease.wallet_id, decision.lease.amount, decision.lease.max_intents) == ("", 0, 1)
    assert decision.available is None
    assert reserved(world, limit) == 1


def test_a_repeated_admission_reserves_once(world: World, tenant: Tenant) -> None:
    limit = limited(world, tenant, 1)
    first = world.admit(tenant)

    assert world.admit(tenant) == first
    assert reserved(world, limit) == 1


def test_without_a_wallet_too_a_repeated_admission_gets_its_own_lease(world: World) -> None:
    tenant = world.tenant()
    limit = limited(world, tenant, 1)
    first = world.admit(tenant)
    world.grant(tenant.organization_id, CREDIT)

    again = world.admit(tenant)

    assert again.lease == first.lease
    assert (again.funding_mode, again.wallet_id) == (FundingMode.NO_WALLET, "")
    assert reserved(world, limit) == 1


@pytest.mark.parametrize("granted", [0, 1_000 * CREDIT])
def test_what_is_reserved_becomes_used_in_the_settling_transaction(world: World, granted: int) -> None:
    tenant = world.tenant(granted=granted)
    limit = limited(world, tenant, 10 * CREDIT, unit=CREDITS)
    lease = admitted(world, tenant, bound_nanos=4 * CREDIT, min_nanos=4 * CREDIT, want_nanos=4 * CREDIT)
    assert (used(world, tenant, limit), reserved(world, limit)) == (0, 4 * CREDIT)

    world.settler.settle([outcome(world, tenant, lease)])

    assert (used(world, tenant, limit), reserved(world, limit)) == (CREDIT, 0)


def test_an_event_that_comes_again_gives_nothing_back_again(world: World, tenant: Tenant) -> None:
    limit = limited(world, tenant, 10)
    first, second = admitted(world, tenant, 1), admitted(world, tenant, 2)
    event = outcome(world, tenant, first)
    world.settler.settle([event])

    world.settler.settle([event])
    world.settler.settle([dataclasses.replace(event, lines=(tokens(1),), payload_hash="other")])

    assert (used(world, tenant, limit), reserved(world, limit)) == (1, 1)
    world.settler.settle([outcome(world, tenant, second)])
    assert (used(world, tenant, limit), reserved(world, limit)) == (2, 0)


def test_a_settlement_that_fails_leaves_everything_reserved(world: World, tenant: Tenant) -> None:
    """A crash before the commit; after it, the redelivery finds the identity taken."""
    limit = limited(world, tenant, 10)
    event = outcome(world, tenant, admitted(world, tenant))

    def crash() -> None:
        world.settler.settle([event])
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        world.database.write(crash)
    assert (used(world, tenant, limit), reserved(world, limit)) == (0, 1)

    world.settler.settle([event])
    assert (used(world, tenant, limit), reserved(world, limit)) == (1, 0)


def test_an_admission_that_fails_reserves_nothing(world: World, tenant: Tenant) -> None:
    limit = limited(world, tenant, 10)

    def crash() -> None:
        world.admit(tenant)
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        world.database.write(crash)

    assert reserved(world, limit) == 0


@pytest.mark.parametrize("granted", [0, 1_000 * CREDIT])
def test_a_lease_that_was_not_used_gives_back_when_it_is_closed(world: World, granted: int) -> None:
    tenant = world.tenant(granted=granted)
    limit = limited(world, tenant, 1)
    lease = admitted(world, tenant)

    for _ in range(2):
        closed = world.wallet.close_lease(EDGE, LeaseReport(lease.lease_id, 0, 0))
        assert closed.lease.state is LeaseState.CLOSED

    assert reserved(world, limit) == 0
    assert world.admit(tenant, admit_key="evt_2").refusal is None


def test_a_close_before_its_queued_event_keeps_the_reservation(world: World, tenant: Tenant) -> None:
    limit = limited(world, tenant, 1)
    lease = admitted(world, tenant)

    world.wallet.close_lease(EDGE, LeaseReport(lease.lease_id, 1, CREDIT))
    assert reserved(world, limit) == 1
    world.settler.settle([outcome(world, tenant, lease)])

    assert (used(world, tenant, limit), reserved(world, limit)) == (1, 0)


def test_a_lease_whose_answer_was_lost_gives_back_at_the_resync(world: World) -> None:
    tenant = world.tenant()
    limit = limited(world, tenant, 1)
    admitted(world, tenant)

    world.wallet.resync(dataclasses.replace(EDGE, edge_epoch=2, instance="process-two"), Past("boot"))

    assert reserved(world, limit) == 0


def test_a_lease_of_an_unclean_past_keeps_its_reservation_until_its_event_comes(world: World) -> None:
    tenant = world.tenant()
    limit = limited(world, tenant, 1)
    lease = admitted(world, tenant)

    later = dataclasses.replace(EDGE, edge_epoch=2, instance="process-two")
    world.wallet.resync(later, Past("other", clean=False))
    assert reserved(world, limit) == 1
    world.settler.settle([outcome(world, tenant, lease)])

    assert (used(world, tenant, limit), reserved(world, limit)) == (1, 0)


def test_a_call_that_used_nothing_gives_back_all_but_the_event(world: World, tenant: Tenant) -> None:
    spent, counted = limited(world, tenant, CREDIT, unit=CREDITS), limited(world, tenant, 5)
    lease = admitted(world, tenant)

    world.settler.settle([outcome(world, tenant, lease, outcome=Outcome.ZERO, lines=())])

    assert (used(world, tenant, spent), reserved(world, spent)) == (0, 0)
    assert (used(world, tenant, counted), reserved(world, counted)) == (1, 0)


def test_what_nobody_can_price_stays_reserved_until_it_is_rated(world: World, tenant: Tenant) -> None:
    spent, counted = limited(world, tenant, 10 * CREDIT, unit=CREDITS), limited(world, tenant, 5)
    lease = admitted(world, tenant)
    event = outcome(world, tenant, lease, lines=(tokens(400, model="a-model-nobody-knows"),))

    world.settler.settle([event])
    assert (used(world, tenant, spent), reserved(world, spent)) == (0, CREDIT)
    assert (used(world, tenant, counted), reserved(world, counted)) == (1, 0)

    for _ in range(2):
        world.limits.release_events(tenant.organization_id, [(event.source, event.event_id)])
    assert reserved(world, spent) == 0


def test_the_rating_of_a_late_event_gives_back_what_waited_for_it(world: World, tenant: Tenant) -> None:
    spent = limited(world, tenant, 10 * CREDIT, unit=CREDITS)
    lease = admitted(world, tenant)
    event = outcome(world, tenant, lease, lines=(tokens(400, model="a-model-nobody-knows"),))
    world.settler.settle([event])

    charge = Charge(
        event.source,
        event.event_id,
        CREDIT,
        wallet_id=event.wallet_id,
        funding=event.funding,
        edge_id=EDGE.edge_id,
    )
    world.wallet.settle_charges(tenant.organization_id, [charge])

    assert reserved(world, spent) == 0


def test_usage_that_applications_report_counts_at_once(world: World, tenant: Tenant) -> None:
    limited(world, tenant, 2)
    world.settler.settle([world.event(tenant, "a"), world.event(tenant, "b")])

    assert reason_of(world.admit(tenant)) == "LIMIT_REACHED"


def test_sandbox_usage_does_not_count(world: World, tenant: Tenant) -> None:
    limit = limited(world, tenant, 1)
    world.settler.settle([world.event(tenant, sandbox=True)])

    assert used(world, tenant, limit) == 0


@pytest.mark.parametrize(
    "selector",
    [
        {"feature_id": "chat"},
        {"user_id": "ada"},
        {"customer_id": "acme"},
        {"tag": "beta"},
        {"each_user": True},
        {"feature_id": "chat", "tag": "beta"},
    ],
)
def test_a_limit_counts_and_refuses_what_it_selects(
    world: World, tenant: Tenant, selector: dict[str, Any]
) -> None:
    limit = limited(world, tenant, 1, **selector)
    lease = admitted(world, tenant, attribution=ADA)
    assert reason_of(world.admit(tenant, admit_key="evt_2", attribution=ADA)) == "LIMIT_REACHED"
    world.settler.settle([outcome(world, tenant, lease, attribution=ADA)])

    assert used(world, tenant, limit) == 1
    assert reason_of(world.admit(tenant, admit_key="evt_2", attribution=ADA)) == "LIMIT_REACHED"
    assert reason_of(world.admit(tenant, admit_key="evt_3")) == ""


def test_a_limit_of_a_key_or_team_is_theirs_alone(world: World, tenant: Tenant) -> None:
    limited(world, tenant, 0, key_id=tenant.key_id)
    limited(world, tenant, 0, team_id="team_other")

    assert reason_of(world.admit(tenant)) == "LIMIT_REACHED"
    other = world.tenant("Milliner", granted=CREDIT)
    assert reason_of(world.admit(other)) == ""


def test_each_user_has_the_limit_alone(world: World, tenant: Tenant) -> None:
    limit = limited(world, tenant, 1, each_user=True)
    users = [dataclasses.replace(ADA, user_id=name) for name in ("ada", "bob", "cleo")]

    leases = [
        admitted(world, tenant, number, attribution=attribution) for number, attribution in enumerate(users)
    ]
    world.settler.settle(
        [outcome(world, tenant, lease, attribution=who) for lease, who in zip(leases, users, strict=True)]
    )

    assert (used(world, tenant, limit), reserved(world, limit)) == (3, 0)
    again = world.admit(tenant, admit_key="evt_9", attribution=users[1])
    assert reason_of(again) == "LIMIT_REACHED"
    assert again.refusal is not None
    assert again.refusal.error.metadata["used"] == "1"


@pytest.mark.parametrize(
    ("unit", "allowed", "needed"),
    [
        (CREDITS, 2 * CREDIT, CREDIT),
        (COST, 2 * 400 * INPUT_COST, 400 * INPUT_COST),
        ("input_tokens", 800, 400),
        (EVENTS, 2, 1),
    ],
)
def test_a_refusal_names_the_limit_and_its_figures(
    world: World, tenant: Tenant, unit: str, allowed: int, needed: int
) -> None:
    limit = limited(world, tenant, allowed, unit=unit)
    first = admitted(world, tenant, 1)
    admitted(world, tenant, 2)
    world.settler.settle([outcome(world, tenant, first)])

    refusal = world.admit(tenant, admit_key="evt_3").refusal

    assert refusal is not None
    assert refusal.error.metadata == {
        "limit_id": limit.limit_id,
        "window": "day",
        "unit": unit,
        "needed": str(needed),
        "available": "0",
        "used": str(allowed // 2) if unit != COST else refusal.error.metadata["used"],
        "reserved": str(allowed - int(refusal.error.metadata["used"])),
        "window_end": str(DAY.span(world.clock.now).end_time),
    }
    assert (refusal.needed, refusal.available) == (CREDIT, 0 if unit == CREDITS else None)


def test_usage_leaves_the_window_with_time(world: World, tenant: Tenant) -> None:
    limit = limited(world, tenant, 1, window=Window(WindowKind.ROLLING, 2))
    world.settler.settle([outcome(world, tenant, admitted(world, tenant))])
    assert reason_of(world.admit(tenant, admit_key="evt_2")) == "LIMIT_REACHED"

    world.clock.advance(2 * 3600)

    assert used(world, tenant, limit) == 0
    assert reason_of(world.admit(tenant, admit_key="evt_2")) == ""


def test_what_is_reserved_counts_in_every_window(world: World, tenant: Tenant) -> None:
    """A stream that runs over midnight may end in either day's sum; until then it is in both."""
    limited(world, tenant, 1)
    admitted(world, tenant)

    world.clock.advance(24 * 3600)

    assert reason_of(world.admit(tenant, admit_key="evt_2")) == "LIMIT_REACHED"


def test_a_new_limit_reserves_at_once_and_refuses_after_the_notice(world: World, tenant: Tenant) -> None:
    limit = limited(world, tenant, 1, holds=False)
    assert limit.latest.effective_time == world.clock.now + NOTICE_S * SECOND
    admitted(world, tenant, 1)
    admitted(world, tenant, 2)
    assert reserved(world, limit) == 2

    world.clock.advance(NOTICE_S)

    assert reason_of(world.admit(tenant, admit_key="evt_3")) == "LIMIT_REACHED"


def test_a_soft_limit_allows_and_says_so(world: World, tenant: Tenant) -> None:
    limit = limited(world, tenant, 1, mode=LimitMode.SOFT, holds=False)
    world.settler.settle([world.event(tenant)])

    decision = world.admit(tenant)

    assert decision.refusal is None
    assert [passed.demand.limit for passed in decision.warnings] == [limit]
    assert reserved(world, limit) == 0


def test_a_limit_that_only_reports_says_nothing(world: World, tenant: Tenant) -> None:
    limited(world, tenant, 0, mode=LimitMode.NONE, holds=False)
    limited(world, tenant, None, holds=False)

    decision = world.admit(tenant)

    assert (decision.refusal, decision.warnings) == (None, ())


def test_a_lease_under_a_limit_is_for_one_call_and_its_bound(world: World, tenant: Tenant) -> None:
    limited(world, tenant, 100)

    lease = admitted(world, tenant, max_intents=0, want_nanos=50 * CREDIT)

    assert (lease.max_intents, lease.amount) == (1, CREDIT)


def test_a_call_without_a_price_is_refused_where_money_is_limited(world: World) -> None:
    tenant = world.tenant()
    limited(world, tenant, 100 * CREDIT, unit=CREDITS)

    assert reason_of(world.admit(tenant, priced=False)) == "PRICE_UNKNOWN"


def test_a_call_whose_cost_is_unknown_is_refused_where_cost_is_limited(world: World) -> None:
    tenant = world.tenant()
    limited(world, tenant, 100 * CREDIT, unit=COST)

    assert reason_of(world.admit(tenant, model="a-model-nobody-knows")) == "PRICE_UNKNOWN"
    assert reason_of(world.admit(tenant, bound={"pages": 1})) == "PRICE_UNKNOWN"


def test_a_call_without_a_bound_is_refused_where_a_unit_is_limited(world: World) -> None:
    tenant = world.tenant()
    limited(world, tenant, 100, unit="output_tokens")

    assert reason_of(world.admit(tenant, bound={})) == "BOUND_UNKNOWN"
    assert reason_of(world.admit(tenant, bound={"output_tokens": 101})) == "LIMIT_REACHED"
    assert reason_of(world.admit(tenant, bound={"output_tokens": 100})) == ""


def test_reasoning_is_bounded_by_the_output_that_it_is_counted_in(world: World, tenant: Tenant) -> None:
    limited(world, tenant, 100, unit="reasoning_tokens")

    assert reason_of(world.admit(tenant, bound={"output_tokens": 101})) == "LIMIT_REACHED"


def test_a_call_that_uses_none_of_a_unit_passes_its_limit(world: World, tenant: Tenant) -> None:
    limited(world, tenant, 0, unit="images")

    assert reason_of(world.admit(tenant)) == ""
    assert reason_of(world.admit(tenant, admit_key="evt_2", bound={"images": 1})) == "LIMIT_REACHED"


def test_asking_refuses_like_taking_and_stores_nothing(world: World, tenant: Tenant) -> None:
    limited(world, tenant, 1, each_user=True)
    before = rows_of(world.database)
    assert reason_of(world.admit(tenant, want_nanos=0, attribution=ADA)) == ""
    assert rows_of(world.database) == before
    admitted(world, tenant, attribution=ADA)
    before = rows_of(world.database)

    decision = world.admit(tenant, want_nanos=0, admit_key="evt_2", attribution=ADA)

    assert reason_of(decision) == "LIMIT_REACHED"
    assert rows_of(world.database) == before


def test_a_wallet_that_cannot_pay_reserves_nothing(world: World) -> None:
    tenant = world.tenant(granted=CREDIT - 1)
    limit = limited(world, tenant, 5)

    assert reason_of(world.admit(tenant)) == "INSUFFICIENT_FUNDS"
    assert reserved(world, limit) == 0


def test_a_limit_that_refuses_takes_no_money(world: World, tenant: Tenant) -> None:
    limited(world, tenant, 0)
    before = world.money(tenant)

    assert reason_of(world.admit(tenant)) == "LIMIT_REACHED"
    assert world.money(tenant) == before


def test_all_limits_must_agree_and_one_that_refuses_leaves_the_others_alone(
    world: World, tenant: Tenant
) -> None:
    month = limited(world, tenant, 5, window=Window(WindowKind.MONTH))
    limited(world, tenant, 0, feature_id="chat")

    assert reason_of(world.admit(tenant, attribution=ADA)) == "LIMIT_REACHED"
    assert reserved(world, month) == 0


def test_a_deleted_limit_refuses_nothing_and_its_calls_settle(world: World, tenant: Tenant) -> None:
    limit = limited(world, tenant, 1)
    lease = admitted(world, tenant)

    world.limits.delete(tenant.organization_id, limit.limit_id)

    assert reason_of(world.admit(tenant, admit_key="evt_2")) == ""
    world.settler.settle([outcome(world, tenant, lease)])
    assert world.money(tenant)[0] == 1_000 * CREDIT - CREDIT - 400 * INPUT_CHARGE


def test_users_need_a_wallet_of_their_own_where_the_organization_says_so(
    world: World, tenant: Tenant
) -> None:
    version = world.wallet.resolution_version(tenant.organization_id)
    change = OrganizationChange(user_wallet_required=True)
    world.account.update_organization(tenant.organization_id, change)

    # Edges forget who pays: some may have learned that nobody does.
    assert world.wallet.resolution_version(tenant.organization_id) == version + 1
    assert reason_of(world.admit(tenant, attribution=ADA)) == "USER_WALLET_REQUIRED"
    assert reason_of(world.admit(tenant, want_nanos=0)) == "USER_WALLET_REQUIRED"
    world.grant(tenant.organization_id, CREDIT, kind=OwnerKind.USER, owner_id="ada")
    assert reason_of(world.admit(tenant, attribution=ADA)) == ""


def test_a_rate_card_names_what_must_be_admitted_one_by_one(world: World, tenant: Tenant) -> None:
    limited(world, tenant, 1, holds=False, feature_id="chat")
    limited(world, tenant, 1, holds=False, each_user=True)
    limited(world, tenant, 1, holds=False, customer_id="acme", user_id="bob")
    limited(world, tenant, 1, holds=False, customer_id="other", tag="t")
    limited(world, tenant, 1, holds=False, mode=LimitMode.SOFT, tag="u")

    assert world.admission.hard_scopes(tenant.key_id, "acme") == (
        ("feature", "chat"),
        ("user", ""),
        ("user", "bob"),
    )
    assert world.admission.hard_scopes(tenant.key_id, "") == (("feature", "chat"), ("user", ""))


def test_the_organization_as_its_own_customer_is_no_customer(world: World, tenant: Tenant) -> None:
    limited(world, tenant, 1, customer_id="acme")
    who = dataclasses.replace(ADA, customer_id=tenant.organization_id)

    assert world.limits.hard_scopes(tenant.organization_id, tenant.organization_id) == ()
    for number in range(3):
        admitted(world, tenant, number, attribution=who)
