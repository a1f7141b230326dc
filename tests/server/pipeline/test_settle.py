"""Settlement of events over real slices and databases: what is charged, to whom, and how often."""

import dataclasses

import pytest

from om_server.analytics.settled import SettledState
from om_server.core.event import (
    SOURCE_PROXY,
    Attribution,
    EdgePosition,
    Event,
    Funding,
    Outcome,
    UsageLine,
)
from om_server.core.money import Money
from om_server.core.page import PageRequest
from om_server.core.usage import Certainty, Quantity, Usage
from om_server.pipeline.settle import Settler
from om_server.rating.burn_table import BurnRule, burn_table
from om_server.rating.catalogue import Catalogue
from om_server.rating.operations import RatingOperations
from om_server.rating.price import Price
from om_server.rating.rate import Rating, rate
from om_server.rating.unit_rate import Rate
from om_server.wallet.leases.lease import Lease
from om_server.wallet.wallet import OwnerKind
from tests.server.pipeline.harness import (
    CREDIT,
    EDGE,
    INPUT_CHARGE,
    INPUT_COST,
    OUTPUT_CHARGE,
    Tenant,
    World,
    rows_of,
    tokens,
)

GRANTED = 1_000 * CREDIT
CHARGE = 1_000 * INPUT_CHARGE

EURO = Price("eur-1", "leclerc", "mistigri", (Rate("input_tokens", "2", 1),), currency="EUR")


def of_edge(world: World, tenant: Tenant, lease: Lease, **changes: object) -> Event:
    """The outcome of a call that the lease pays for: it used 200 tokens and kept the whole bound."""
    event = world.event(tenant, "evt_1", source=SOURCE_PROXY, lines=(tokens(200),))
    event = dataclasses.replace(
        event,
        edge=EdgePosition(EDGE.edge_id, EDGE.edge_epoch, 1),
        wallet_id=lease.wallet_id,
        funding=(Funding(lease.lease_id, bound=lease.amount, retained=lease.amount),),
    )
    return dataclasses.replace(event, **changes)  # type: ignore[arg-type] # A table's row.


@pytest.fixture(name="lease")
def take_lease(world: World, tenant: Tenant) -> Lease:
    """One credit for one call."""
    world.resync()
    lease = world.admit(tenant).lease
    assert lease is not None
    return lease


def test_an_event_is_stored_rated_charged_and_summed(world: World, tenant: Tenant) -> None:
    event = world.event(tenant)

    assert world.settler.settle([event]) == 1

    settled = world.settled(event)
    assert (settled.state, settled.cost, settled.charge) == (SettledState.RATED, 1_000 * INPUT_COST, CHARGE)
    assert settled.wallet_id == world.wallet.get_wallet(tenant.organization_id).wallet_id
    assert settled.settle_time == world.clock.now
    assert (settled.lines[0].priced_model, settled.burn_table_version) == ("gpt-4o", "default")
    assert world.money(tenant) == (GRANTED - CHARGE, 0, 0)


def test_settling_nothing_does_nothing(world: World) -> None:
    assert world.settler.settle([]) == 0


def test_an_edge_that_repeats_an_outcome_changes_no_byte_but_is_told_again(
    world: World, tenant: Tenant, lease: Lease
) -> None:
    event = of_edge(world, tenant, lease)
    world.settler.settle([event])
    before = rows_of(world.database)

    assert world.settler.settle([event]) == 0

    after = rows_of(world.database)
    assert len(after.pop("changes")) == len(before.pop("changes")) + 1
    assert after == before


def test_a_lease_is_captured_and_its_rest_released_at_once(
    world: World, tenant: Tenant, lease: Lease
) -> None:
    assert world.money(tenant) == (GRANTED - CREDIT, CREDIT, 0)

    world.settler.settle([of_edge(world, tenant, lease)])

    used = 200 * INPUT_CHARGE
    assert world.money(tenant) == (GRANTED - used, 0, 0)
    wallet_id = lease.wallet_id
    entries = world.wallet.list_entries(tenant.organization_id, wallet_id, page=PageRequest.of()).entries
    moved = {(entry.kind, entry.amount, entry.hold_id) for entry in entries[:2]}
    assert {amount for _, amount, hold in moved if hold == lease.lease_id} == {used, CREDIT - used}
    found = world.wallet.list_leases(tenant.organization_id, wallet_id, page=PageRequest.of()).leases
    assert [(one.state.value, one.remaining, one.settled_count) for one in found] == [("closed", 0, 1)]


def test_what_exceeds_a_lease_is_charged_and_flagged(world: World, tenant: Tenant, lease: Lease) -> None:
    event = of_edge(world, tenant, lease, lines=(tokens(1_000),))

    world.settler.settle([event])

    assert world.money(tenant) == (GRANTED - CHARGE, 0, 0)
    assert world.settled(event).flags == ("over_bound",)


def test_a_call_that_consumed_nothing_frees_its_whole_lease(
    world: World, tenant: Tenant, lease: Lease
) -> None:
    event = of_edge(world, tenant, lease, lines=(), outcome=Outcome.ZERO)

    world.settler.settle([event])

    settled = world.settled(event)
    assert world.money(tenant) == (GRANTED, 0, 0)
    assert (settled.state, settled.cost, settled.charge) == (SettledState.ZERO, 0, 0)
    assert settled.wallet_id == ""


@pytest.mark.parametrize("outcome", [Outcome.DEFERRED, Outcome.UNKNOWN])
def test_an_end_that_nobody_saw_is_unrated_and_not_zero(
    world: World, tenant: Tenant, lease: Lease, outcome: Outcome
) -> None:
    event = of_edge(world, tenant, lease, lines=(), outcome=outcome)

    world.settler.settle([event])

    settled = world.settled(event)
    assert (settled.state, settled.cost, settled.charge) == (SettledState.UNRATED, None, None)
    assert settled.unrated_reason == "USAGE_MISSING"


def test_a_model_without_a_price_is_unrated_and_not_zero(world: World, tenant: Tenant) -> None:
    event = world.event(tenant, lines=(tokens(5, model="a-model-nobody-knows"),))

    world.settler.settle([event])

    settled = world.settled(event)
    assert (settled.state, settled.cost, settled.charge) == (SettledState.UNRATED, None, None)
    assert (settled.lines[0].cost, settled.lines[0].charge) == (None, None)
    assert settled.unrated_reason == "PRICE_UNKNOWN"
    assert world.money(tenant) == (GRANTED, 0, 0)
    assert world.analytics.count_unrated(tenant.organization_id) == 1


def test_one_unpriced_line_leaves_the_whole_event_unrated(world: World, tenant: Tenant) -> None:
    event = world.event(tenant, lines=(tokens(5), tokens(5, model="a-model-nobody-knows")))

    world.settler.settle([event])

    assert world.settled(event).state is SettledState.UNRATED
    assert world.money(tenant) == (GRANTED, 0, 0)


class _FlatCredits(RatingOperations):
    """Charges by unit, whatever the cost."""

    def rate_event(self, event: Event) -> Rating:
        rules = (BurnRule(rates=(Rate("input_tokens", "1", 1),)),)
        return rate(event.lines, self._book, at=event.event_time, burn_table=burn_table("flat", rules))


def settler_with(world: World, rating: RatingOperations) -> Settler:
    return Settler(world.database, dataclasses.replace(world.slices, rating=rating), world.clock)


@pytest.mark.parametrize("rating_class", [RatingOperations, _FlatCredits])
def test_a_cost_in_another_currency_is_never_read_as_dollars(
    world: World, tenant: Tenant, rating_class: type[RatingOperations]
) -> None:
    rating = rating_class(Catalogue("test", (EURO,), (), {}), clock=world.clock)
    event = world.event(tenant, lines=(tokens(5, provider="leclerc", model="mistigri"),))
    assert rating.rate_event(event).cost == Money("EUR", 10 * CREDIT)

    settler_with(world, rating).settle([event])

    settled = world.settled(event)
    assert (settled.state, settled.cost, settled.charge) == (SettledState.UNRATED, None, None)
    assert settled.lines[0].cost is None
    assert settled.unrated_reason == "CURRENCY_MISMATCH"
    assert world.money(tenant) == (GRANTED, 0, 0)


def test_nothing_costs_nothing_in_every_currency(world: World, tenant: Tenant) -> None:
    rating = RatingOperations(Catalogue("test", (EURO,), (), {}), clock=world.clock)
    event = world.event(tenant, lines=(tokens(0, provider="leclerc", model="mistigri"),))

    settler_with(world, rating).settle([event])

    assert (world.settled(event).state, world.settled(event).cost) == (SettledState.RATED, 0)


def test_the_sandbox_is_recorded_and_charged_nothing(world: World, tenant: Tenant) -> None:
    event = world.event(tenant, sandbox=True)

    world.settler.settle([event])

    settled = world.settled(event)
    assert (settled.state, settled.cost, settled.charge) == (SettledState.ZERO, 0, 0)
    assert settled.event.sandbox
    assert world.money(tenant) == (GRANTED, 0, 0)


def test_a_sandbox_call_frees_its_lease(world: World, tenant: Tenant, lease: Lease) -> None:
    world.settler.settle([of_edge(world, tenant, lease, sandbox=True)])

    assert world.money(tenant) == (GRANTED, 0, 0)


@pytest.mark.parametrize("sandbox", [False, True])
def test_provider_and_tier_are_stored_in_one_spelling(world: World, tenant: Tenant, *, sandbox: bool) -> None:
    line = UsageLine(" OpenAI", "gpt-4o", Usage.measured(input_tokens=1), tier="DEFAULT")
    event = world.event(tenant, lines=(line,), sandbox=sandbox)

    world.settler.settle([event])

    [stored] = world.settled(event).lines
    assert (stored.line.provider, stored.line.tier) == ("openai", "standard")
    assert (stored.line.model, stored.line.usage) == ("gpt-4o", line.usage)


def test_where_no_wallet_pays_the_cost_is_tracked_and_nothing_is_owed(world: World) -> None:
    tenant = world.tenant()
    event = world.event(tenant)

    world.settler.settle([event])

    settled = world.settled(event)
    assert (settled.state, settled.charge, settled.wallet_id) == (SettledState.RATED, CHARGE, "")
    assert not world.wallet.get_wallet(tenant.organization_id).exists


def test_settlement_asks_who_pays_only_where_admission_did_not(
    world: World, tenant: Tenant, lease: Lease
) -> None:
    """The user's wallet is made after admission, and does not pay for what was admitted before."""
    who = Attribution(user_id="ada", team_id=tenant.team_id)
    ada = world.grant(tenant.organization_id, GRANTED, kind=OwnerKind.USER, owner_id="ada")
    admitted = of_edge(world, tenant, lease, attribution=who)
    reported = world.event(tenant, attribution=who)

    world.settler.settle([admitted, reported])

    assert world.settled(admitted).wallet_id == lease.wallet_id
    assert world.settled(reported).wallet_id == ada.wallet_id
    assert world.money(tenant) == (GRANTED - 200 * INPUT_CHARGE, 0, 0)


def test_an_edges_event_that_nobody_was_to_pay_stays_unpaid(world: World, tenant: Tenant) -> None:
    event = world.event(tenant, source=SOURCE_PROXY, edge=EdgePosition(EDGE.edge_id, 1, 1), unfunded=True)

    world.settler.settle([event])

    assert (world.settled(event).wallet_id, world.settled(event).flags) == ("", ("unfunded",))
    assert world.money(tenant) == (GRANTED, 0, 0)


def test_a_wallet_that_is_made_while_a_call_runs_does_not_pay_for_it(world: World) -> None:
    tenant = world.tenant()
    world.resync()
    decision = world.admit(tenant)
    assert (decision.wallet_id, decision.lease) == ("", None)
    position = EdgePosition(EDGE.edge_id, 1, 1)
    event = world.event(tenant, source=SOURCE_PROXY, edge=position, wallet_id=decision.wallet_id)
    world.grant(tenant.organization_id, GRANTED)

    world.settler.settle([event])

    assert (world.settled(event).charge, world.settled(event).wallet_id) == (CHARGE, "")
    assert world.money(tenant) == (GRANTED, 0, 0)
    assert world.wallet.resolution_version(tenant.organization_id) > decision.resolution_version


def test_what_already_happened_is_owed_where_the_wallet_is_short(world: World) -> None:
    tenant = world.tenant(granted=CHARGE - 1)
    event = world.event(tenant)

    world.settler.settle([event])

    assert world.money(tenant) == (0, 0, 1)
    assert world.settled(event).receivable == 1


def test_an_estimate_is_flagged_beside_the_events_own_flags(world: World, tenant: Tenant) -> None:
    usage = Usage((Quantity("output_tokens", 10, Certainty.ESTIMATED),))
    event = world.event(tenant, lines=(UsageLine("openai", "gpt-4o", usage),), flags=("time_clamped",))

    world.settler.settle([event])

    assert world.settled(event).flags == ("time_clamped", "estimated")
    assert world.settled(event).charge == 10 * OUTPUT_CHARGE


def test_one_batch_settles_for_several_organizations(world: World, tenant: Tenant) -> None:
    other = world.tenant("Milliner", granted=GRANTED)
    events = [world.event(tenant), world.event(other), world.event(tenant, "e2")]

    assert world.settler.settle(events) == 3

    assert world.money(tenant)[0] == GRANTED - 2 * CHARGE
    assert world.money(other)[0] == GRANTED - CHARGE


def test_who_was_named_is_known_afterwards(world: World, tenant: Tenant) -> None:
    who = Attribution(customer_id="acme", user_id="ada", team_id=tenant.team_id)

    world.settler.settle([world.event(tenant, attribution=who), world.event(tenant, "e2")])

    customers = world.account.list_customers(tenant.organization_id, PageRequest.of())
    users = world.account.list_users(tenant.organization_id, PageRequest.of())
    assert [one.customer_id for one in customers.items] == ["acme"]
    assert [one.user_id for one in users.items] == ["ada"]


def test_a_failure_in_the_middle_leaves_nothing_behind(
    world: World, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first organization is settled whole when the second one fails at its last step."""
    other = world.tenant("Milliner", granted=GRANTED)
    last = max(tenant.organization_id, other.organization_id)
    note = world.account.note_sightings

    def failing(organization_id: str, **sightings: object) -> None:
        note(organization_id, **sightings)  # type: ignore[arg-type] # As they came.
        if organization_id == last:
            raise RuntimeError("power cut")

    monkeypatch.setattr(world.account, "note_sightings", failing)
    before = rows_of(world.database)
    events = [world.event(tenant, idempotency_key="k"), world.event(other)]

    with pytest.raises(RuntimeError, match="power cut"):
        world.settler.settle(events)
    assert rows_of(world.database) == before

    monkeypatch.undo()
    assert world.settler.settle(events) == 2


@pytest.mark.acceptance("B-218")
def test_a_settled_event_is_a_use_of_its_key(world: World, tenant: Tenant) -> None:
    first = world.event(tenant, "e1")
    world.settler.settle([first, dataclasses.replace(world.event(tenant, "e2"), event_time=1)])

    [key] = world.account.list_keys(tenant.organization_id, PageRequest.of()).items
    assert (key.key_id, key.last_use_time) == (tenant.key_id, first.event_time)
