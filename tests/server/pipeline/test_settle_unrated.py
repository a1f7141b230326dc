"""An edge's event that cannot be rated keeps its money aside: not charged, and not spent by anybody else."""

import pytest

from om_server.account.organization import OrganizationChange
from om_server.analytics.settled import SettledState
from om_server.core.event import Event, Outcome, UsageLine
from om_server.core.page import PageRequest
from om_server.core.usage import Certainty, Quantity, Usage
from om_server.wallet.charging import Charge, ChargeResult
from om_server.wallet.holds.hold import HoldConflict
from om_server.wallet.holds.suspense import Decision
from om_server.wallet.leases.lease import Lease, LeaseReport, LeaseState
from om_server.wallet.record import EscrowRow
from tests.server.pipeline.edge_scene import leased, outcome
from tests.server.pipeline.harness import CREDIT, EDGE, INPUT_CHARGE, OUTPUT_CHARGE, Tenant, World, tokens

GRANTED = 1_000 * CREDIT
UNPRICED = (tokens(200, model="a-model-nobody-knows"),)
ESTIMATE = (UsageLine("openai", "gpt-4o", Usage((Quantity("output_tokens", 10, Certainty.ESTIMATED),))),)
OWNER = Decision("mem_1", "asked the provider")


def suspend_unknown(world: World) -> None:
    organization_id = world.account.default_organization().organization_id
    world.account.update_organization(organization_id, OrganizationChange(unknown_outcome_policy="suspend"))


def lease_states(world: World, tenant: Tenant) -> list[LeaseState]:
    wallet_id = world.wallet.get_wallet(tenant.organization_id).wallet_id
    page = world.wallet.list_leases(tenant.organization_id, wallet_id, page=PageRequest.of())
    return [lease.state for lease in page.leases]


@pytest.mark.parametrize(
    ("end", "lines"),
    [
        (Outcome.CHARGED, UNPRICED),
        (Outcome.DEFERRED, ()),
        (Outcome.DEFERRED, ESTIMATE),
        (Outcome.UNKNOWN, ()),
    ],
)
def test_what_it_kept_stays_aside_when_its_lease_ends(
    world: World, tenant: Tenant, end: Outcome, lines: tuple[UsageLine, ...]
) -> None:
    lease = leased(world, tenant)
    event = outcome(world, tenant, lease, outcome=end, lines=lines, retained=CREDIT // 4)

    world.settler.settle([event])

    assert world.settled(event).state is SettledState.UNRATED
    assert world.money(tenant) == (GRANTED - CREDIT // 4, CREDIT // 4, 0)
    assert lease_states(world, tenant) == [LeaseState.CLOSED]
    assert world.settler.settle([event]) == 0
    assert world.money(tenant) == (GRANTED - CREDIT // 4, CREDIT // 4, 0)


def test_a_lease_of_many_events_goes_on_without_the_unrated_one(world: World, tenant: Tenant) -> None:
    lease = leased(world, tenant, max_intents=0)
    world.wallet.close_lease(EDGE, LeaseReport(lease.lease_id, 2, CREDIT))
    unrated = outcome(world, tenant, lease, "e1", lines=UNPRICED, retained=CREDIT // 4)
    rated = outcome(world, tenant, lease, "e2", retained=CREDIT * 3 // 4)

    world.settler.settle([unrated, rated])

    used = 200 * INPUT_CHARGE
    assert world.money(tenant) == (GRANTED - CREDIT // 4 - used, CREDIT // 4, 0)
    assert lease_states(world, tenant) == [LeaseState.CLOSED]


@pytest.mark.parametrize("charge", [0, CREDIT // 4, CREDIT // 2])
def test_when_it_is_rated_it_settles_from_what_was_kept_and_frees_the_rest(
    world: World, tenant: Tenant, charge: int
) -> None:
    event = outcome(world, tenant, leased(world, tenant), lines=UNPRICED, retained=CREDIT // 4)
    world.settler.settle([event])

    later = Charge(event.source, event.event_id, charge, event.wallet_id, edge_id=EDGE.edge_id)
    [result] = world.wallet.settle_charges(tenant.organization_id, [later])

    assert result.captured == min(charge, CREDIT // 4)
    assert result.charged == charge - result.captured
    assert result.flags == (("over_bound",) if result.charged and later.funding else ())
    assert world.money(tenant) == (GRANTED - charge, 0, 0)


def test_an_end_that_was_not_seen_is_charged_as_estimated_by_default(world: World, tenant: Tenant) -> None:
    event = outcome(world, tenant, leased(world, tenant), outcome=Outcome.UNKNOWN, lines=ESTIMATE)

    world.settler.settle([event])

    assert world.money(tenant) == (GRANTED - 10 * OUTPUT_CHARGE, 0, 0)
    assert world.settled(event).flags == ("estimated",)


@pytest.mark.parametrize("lines", [ESTIMATE, ()])
def test_an_organization_may_decide_itself_about_an_end_that_was_not_seen(
    world: World, tenant: Tenant, lines: tuple[UsageLine, ...]
) -> None:
    suspend_unknown(world)
    lease = leased(world, tenant)
    event = outcome(world, tenant, lease, outcome=Outcome.UNKNOWN, lines=lines, retained=CREDIT // 4)

    world.settler.settle([event])

    settled = world.settled(event)
    assert (settled.state, settled.charge) == (SettledState.UNRATED, None)
    assert "suspended" in settled.flags
    assert world.money(tenant) == (GRANTED - CREDIT // 4, 0, 0)
    [suspense] = world.wallet.list_suspense(tenant.organization_id, page=PageRequest.of()).suspense
    assert (suspense.cause_id, suspense.remaining) == ("evt_1", CREDIT // 4)
    world.wallet.release_suspense(
        tenant.organization_id, suspense.escrow_id, charge=CREDIT // 8, decision=OWNER
    )
    assert world.money(tenant) == (GRANTED - CREDIT // 8, 0, 0)


def test_the_policy_is_about_no_other_end(world: World, tenant: Tenant) -> None:
    suspend_unknown(world)
    unknown = outcome(world, tenant, leased(world, tenant), outcome=Outcome.UNKNOWN, lines=ESTIMATE)
    rated = world.event(tenant, "e2", lines=ESTIMATE)

    world.settler.settle([unknown, rated])

    assert world.settled(rated).state is SettledState.RATED
    assert world.money(tenant) == (GRANTED - CREDIT - 10 * OUTPUT_CHARGE, 0, 0)


def test_what_is_kept_for_an_event_is_not_a_callers_hold(world: World, tenant: Tenant) -> None:
    event = outcome(world, tenant, leased(world, tenant), lines=UNPRICED)
    world.settler.settle([event])
    [kept] = world.database.read(lambda: list(EscrowRow.select()))

    for resolve in (world.wallet.capture_hold, world.wallet.release_hold):
        with pytest.raises(HoldConflict):
            resolve(tenant.organization_id, kept.escrow_id)

    assert world.money(tenant) == (GRANTED - CREDIT, CREDIT, 0)


def test_an_application_has_nothing_aside(world: World, tenant: Tenant) -> None:
    world.settler.settle([world.event(tenant, lines=UNPRICED)])

    assert world.money(tenant) == (GRANTED, 0, 0)


def resolved(world: World, tenant: Tenant, lease: Lease) -> None:
    """Let an owner give up the lease, a day after it lapsed."""
    world.clock.advance(2 * 24 * 3600)
    world.wallet.resolve_lease(tenant.organization_id, lease.lease_id, decision=OWNER)


def rate(world: World, event: Event, amount: int) -> ChargeResult:
    """Charge an event that waited for its price."""
    charge = Charge(
        event.source, event.event_id, amount, event.wallet_id, event.funding, edge_id=EDGE.edge_id
    )
    [result] = world.wallet.settle_charges(event.organization_id, [charge])
    return result


def in_suspense(world: World, tenant: Tenant) -> int:
    page = world.wallet.list_suspense(tenant.organization_id, page=PageRequest.of())
    return sum(suspense.remaining for suspense in page.suspense)


@pytest.mark.parametrize("amount", [0, CREDIT // 4, CREDIT, 2 * CREDIT])
def test_on_a_lease_that_an_owner_resolved_meanwhile_it_settles_from_that_leases_suspense(
    world: World, tenant: Tenant, amount: int
) -> None:
    """Its money is there: a charge of the wallet would be the second one."""
    lease = leased(world, tenant)
    event = outcome(world, tenant, lease, lines=UNPRICED)
    resolved(world, tenant, lease)
    world.settler.settle([event])

    result = rate(world, event, amount)

    paid = min(amount, CREDIT)
    assert (result.captured, result.charged) == (paid, amount - paid)
    assert result.flags == (("over_bound",) if amount > CREDIT else ())
    assert in_suspense(world, tenant) == CREDIT - paid
    assert world.money(tenant) == (GRANTED - CREDIT - (amount - paid), 0, 0)
    assert world.wallet.verify(tenant.organization_id).first is None


def test_it_takes_no_more_from_that_suspense_than_its_edge_kept(world: World, tenant: Tenant) -> None:
    lease = leased(world, tenant)
    event = outcome(world, tenant, lease, lines=UNPRICED, retained=CREDIT // 4)
    resolved(world, tenant, lease)
    world.settler.settle([event])

    result = rate(world, event, CREDIT)

    assert (result.captured, result.charged) == (CREDIT // 4, CREDIT * 3 // 4)
    assert in_suspense(world, tenant) == CREDIT * 3 // 4


def test_what_was_moved_before_the_lease_was_resolved_pays_alone(world: World, tenant: Tenant) -> None:
    """The suspense of the lease belongs to its other events then."""
    leased(world, tenant)
    lease = leased(world, tenant, admit_key="busy", want_nanos=4 * CREDIT, max_intents=0)
    event = outcome(world, tenant, lease, lines=UNPRICED, retained=CREDIT)
    world.settler.settle([event])
    resolved(world, tenant, lease)

    result = rate(world, event, 2 * CREDIT)

    assert (result.captured, result.charged, result.flags) == (CREDIT, CREDIT, ("over_bound",))
    assert in_suspense(world, tenant) == 3 * CREDIT
