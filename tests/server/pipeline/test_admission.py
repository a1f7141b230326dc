"""Admission: who pays for a call, when it is refused, and what a repeated question gets."""

import dataclasses

import pytest

from om_server.account.keys.key import KeyRevoked, KeyWish
from om_server.core.errors import IdempotencyKeyReused, NotFound
from om_server.core.event import Attribution
from om_server.core.page import PageRequest
from om_server.pipeline.admission import Decision, FundingMode
from om_server.wallet.leases.edge import EdgeEpochStale, EdgeNotResynced
from om_server.wallet.leases.lease import EdgeIdentity, Lease, LeaseReport
from om_server.wallet.operations import WalletChange
from om_server.wallet.wallet import Owner, OwnerKind, WalletMode
from tests.server.pipeline.harness import CREDIT, EDGE, INPUT_CHARGE, OUTPUT_CHARGE, Tenant, World, rows_of

GRANTED = 1_000 * CREDIT
WHO = Attribution(user_id="ada", customer_id="acme")

LATER = dataclasses.replace(EDGE, edge_epoch=2, instance="process-two")
OTHER = EdgeIdentity("edg_" + "1" * 26, 1, "process-three")


@pytest.fixture(autouse=True)
def _resynced(world: World) -> None:
    world.resync()


def leases_of(world: World, tenant: Tenant) -> list[Lease]:
    wallet = world.wallet.get_wallet(tenant.organization_id)
    page = world.wallet.list_leases(tenant.organization_id, wallet.wallet_id, page=PageRequest.of())
    return list(page.leases)


def change(world: World, tenant: Tenant, **changes: object) -> None:
    owner = Owner.of(tenant.organization_id, OwnerKind.ORGANIZATION)
    wanted = WalletChange(**changes)  # type: ignore[arg-type] # A table's row.
    world.wallet.update_wallet(tenant.organization_id, owner, change=wanted)


def refusal_of(decision: Decision) -> tuple[str, int, int | None, int | None]:
    assert decision.refusal is not None
    assert (decision.lease, decision.available) == (None, None)
    refusal = decision.refusal
    return refusal.error.reason, refusal.needed, refusal.available, refusal.output_tokens_max


def test_a_call_that_can_be_paid_gets_a_lease(world: World, tenant: Tenant) -> None:
    decision = world.admit(tenant)

    wallet = world.wallet.get_wallet(tenant.organization_id)
    assert decision.refusal is None
    assert decision.lease is not None
    assert (decision.lease.amount, decision.lease.max_intents) == (CREDIT, 1)
    assert (decision.organization_id, decision.wallet_id) == (tenant.organization_id, wallet.wallet_id)
    assert decision.funding_mode is FundingMode.STRICT
    assert decision.available == wallet.available == GRANTED - CREDIT
    assert wallet.held == CREDIT


def test_the_wallet_nearest_to_the_user_pays(world: World, tenant: Tenant) -> None:
    payers = [
        (OwnerKind.ORGANIZATION, ""),
        (OwnerKind.TEAM, tenant.team_id),
        (OwnerKind.CUSTOMER, "acme"),
        (OwnerKind.USER, "ada"),
    ]
    for number, (kind, owner_id) in enumerate(payers):
        wallet = world.grant(tenant.organization_id, GRANTED, kind=kind, owner_id=owner_id)

        decision = world.admit(tenant, admit_key=f"evt_{number}", attribution=WHO)

        assert decision.wallet_id == wallet.wallet_id


def test_the_team_is_the_keys_and_not_the_callers(world: World, tenant: Tenant) -> None:
    other = world.account.create_team(tenant.organization_id, "Hats")
    world.grant(tenant.organization_id, GRANTED, kind=OwnerKind.TEAM, owner_id=other.team_id)

    decision = world.admit(tenant, attribution=Attribution(team_id=other.team_id))

    assert decision.wallet_id == world.wallet.get_wallet(tenant.organization_id).wallet_id


def test_the_organization_is_not_its_own_customer(world: World, tenant: Tenant) -> None:
    who = Attribution(customer_id=tenant.organization_id)

    decision = world.admit(tenant, attribution=who)

    assert decision.wallet_id == world.wallet.get_wallet(tenant.organization_id).wallet_id


def test_where_no_wallet_pays_the_decision_may_be_kept_under_its_version(world: World) -> None:
    tenant = world.tenant()

    before = world.admit(tenant)
    world.grant(tenant.organization_id, GRANTED, kind=OwnerKind.USER, owner_id="ada")
    after = world.admit(tenant)

    assert before == Decision(tenant.organization_id, FundingMode.NO_WALLET)
    assert after == Decision(
        tenant.organization_id, FundingMode.NO_WALLET, resolution_version=after.resolution_version
    )
    assert after.resolution_version > before.resolution_version


def test_where_no_wallet_pays_an_unknown_price_is_no_obstacle(world: World) -> None:
    assert world.admit(world.tenant(), priced=False).refusal is None


def test_a_refusal_says_what_is_needed_and_what_is_there(world: World) -> None:
    tenant = world.tenant(granted=CREDIT - 1)

    decision = world.admit(tenant)

    assert refusal_of(decision) == ("INSUFFICIENT_FUNDS", CREDIT, CREDIT - 1, None)
    assert decision.wallet_id == world.wallet.get_wallet(tenant.organization_id).wallet_id
    assert world.money(tenant) == (CREDIT - 1, 0, 0)


def test_a_refusal_names_the_largest_answer_that_the_wallet_affords(world: World) -> None:
    """400 tokens go in, which is 1 credit; an output token is a hundredth of one."""
    tenant = world.tenant(granted=3 * CREDIT)
    bound = 400 * INPUT_CHARGE + 1_000 * OUTPUT_CHARGE

    decision = world.admit(
        tenant,
        bound={"input_tokens": 400, "output_tokens": 1_000},
        bound_nanos=bound,
        min_nanos=bound,
        want_nanos=bound,
    )

    assert refusal_of(decision) == ("INSUFFICIENT_FUNDS", 11 * CREDIT, 3 * CREDIT, 200)


@pytest.mark.parametrize(
    ("model", "granted"),
    [("a-model-nobody-knows", 3 * CREDIT), ("gpt-4o", CREDIT), ("gpt-4o", CREDIT + OUTPUT_CHARGE - 1)],
)
def test_no_cap_is_named_where_none_would_help(world: World, model: str, granted: int) -> None:
    tenant = world.tenant(granted=granted)
    bound = 400 * INPUT_CHARGE + 1_000 * OUTPUT_CHARGE

    decision = world.admit(
        tenant,
        model=model,
        bound={"input_tokens": 400, "output_tokens": 1_000},
        bound_nanos=bound,
        min_nanos=bound,
        want_nanos=bound,
    )

    assert refusal_of(decision) == ("INSUFFICIENT_FUNDS", bound, granted, None)


def test_the_cap_is_never_larger_than_what_was_asked_for(world: World) -> None:
    """An edge may ask for more than its bound; the cap is for the bound."""
    tenant = world.tenant(granted=2 * CREDIT)

    decision = world.admit(
        tenant,
        bound={"output_tokens": 100},
        bound_nanos=CREDIT,
        min_nanos=5 * CREDIT,
        want_nanos=5 * CREDIT,
    )

    assert refusal_of(decision) == ("INSUFFICIENT_FUNDS", 5 * CREDIT, 2 * CREDIT, 100)


def test_a_blocked_wallet_starts_nothing(world: World, tenant: Tenant) -> None:
    change(world, tenant, blocked=True)

    assert refusal_of(world.admit(tenant)) == ("WALLET_BLOCKED", 0, None, None)
    assert refusal_of(world.admit(tenant, want_nanos=0)) == ("WALLET_BLOCKED", 0, None, None)


def test_a_strict_wallet_refuses_what_has_no_price(world: World, tenant: Tenant) -> None:
    for want in (CREDIT, 0):
        decision = world.admit(tenant, model="a-model-nobody-knows", priced=False, want_nanos=want)

        assert refusal_of(decision) == ("PRICE_UNKNOWN", 0, None, None)
        assert decision.funding_mode is FundingMode.STRICT
    assert leases_of(world, tenant) == []


def test_a_soft_wallet_admits_what_has_no_price(world: World, tenant: Tenant) -> None:
    change(world, tenant, mode=WalletMode.SOFT)

    decision = world.admit(tenant, priced=False, bound_nanos=0, min_nanos=0)

    assert (decision.refusal, decision.funding_mode) == (None, FundingMode.SOFT)


def test_a_soft_wallet_goes_down_to_its_limit_and_no_further(world: World) -> None:
    tenant = world.tenant(granted=1)
    change(world, tenant, mode=WalletMode.SOFT, credit_limit=CREDIT)

    assert world.admit(tenant).refusal is None
    assert refusal_of(world.admit(tenant, admit_key="evt_2")) == ("INSUFFICIENT_FUNDS", CREDIT, 1, None)


def test_asking_takes_nothing_and_stores_nothing(world: World, tenant: Tenant) -> None:
    before = rows_of(world.database)

    decision = world.admit(tenant, want_nanos=0)

    assert (decision.refusal, decision.lease, decision.available) == (None, None, GRANTED)
    assert refusal_of(world.admit(tenant, want_nanos=0, min_nanos=2 * GRANTED))[0] == "INSUFFICIENT_FUNDS"
    assert rows_of(world.database) == before


def test_a_shortfall_asks_for_idle_leases_and_the_next_try_finds_what_they_gave_back(world: World) -> None:
    tenant = world.tenant(granted=2 * CREDIT)
    world.resync()
    idle = world.admit(tenant, max_intents=0).lease
    assert idle is not None
    assert world.admit(tenant, admit_key="evt_2", want_nanos=0, min_nanos=2 * CREDIT).refusal is not None
    assert world.wallet.recalled_leases(EDGE.edge_id, since=0) == []

    short = world.admit(tenant, admit_key="evt_3", min_nanos=2 * CREDIT, want_nanos=2 * CREDIT)

    assert refusal_of(short)[0] == "INSUFFICIENT_FUNDS"
    [recalled] = world.wallet.recalled_leases(EDGE.edge_id, since=world.clock.now)
    assert recalled.lease_id == idle.lease_id
    world.wallet.close_lease(EDGE, LeaseReport(idle.lease_id, 0, 0))
    again = world.admit(tenant, admit_key="evt_3", min_nanos=2 * CREDIT, want_nanos=2 * CREDIT)
    assert again.lease is not None
    assert again.lease.amount == 2 * CREDIT


def test_the_wallet_behind_the_payer_pays_what_it_lacks(world: World, tenant: Tenant) -> None:
    world.resync()
    ada = world.grant(tenant.organization_id, CREDIT // 4, kind=OwnerKind.USER, owner_id="ada")
    behind = world.wallet.get_wallet(tenant.organization_id).wallet_id
    world.wallet.update_wallet(
        tenant.organization_id, ada.owner, change=WalletChange(overflow_wallet_id=behind)
    )

    decision = world.admit(tenant, attribution=Attribution(user_id="ada"))

    assert (decision.wallet_id, decision.available) == (ada.wallet_id, 0)
    assert world.money(tenant) == (GRANTED - CREDIT * 3 // 4, CREDIT * 3 // 4, 0)


def test_a_refusal_is_not_stored_and_the_same_key_may_succeed_later(world: World) -> None:
    tenant = world.tenant(granted=1)
    before = rows_of(world.database)
    assert world.admit(tenant).refusal is not None
    assert rows_of(world.database) == before

    world.grant(tenant.organization_id, CREDIT)

    assert world.admit(tenant).lease is not None


def test_a_granted_answer_is_repeated_whole_and_takes_nothing_more(world: World, tenant: Tenant) -> None:
    first = world.admit(tenant)
    before = rows_of(world.database)
    world.clock.advance(1)

    assert world.admit(tenant) == first
    assert rows_of(world.database) == before


def test_a_granted_answer_names_its_own_wallet_whoever_would_pay_now(world: World, tenant: Tenant) -> None:
    first = world.admit(tenant, attribution=WHO)
    world.grant(tenant.organization_id, 7, kind=OwnerKind.USER, owner_id="ada")
    owner = Owner.of(tenant.organization_id, OwnerKind.USER, owner_id="ada")
    world.wallet.update_wallet(tenant.organization_id, owner, change=WalletChange(mode=WalletMode.SOFT))

    again = world.admit(tenant, attribution=WHO)

    assert again == dataclasses.replace(first, resolution_version=again.resolution_version)
    assert again.resolution_version > first.resolution_version


def test_a_granted_answer_is_repeated_although_the_wallet_is_empty_by_now(world: World) -> None:
    tenant = world.tenant(granted=CREDIT)
    first = world.admit(tenant)

    assert world.admit(tenant) == first


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "gpt-4o-mini"},
        {"provider": "azure"},
        {"attribution": Attribution(user_id="bob")},
        {"attribution": Attribution(customer_id="acme")},
        {"attribution": Attribution(feature_id="chat")},
        {"attribution": Attribution(tags=("a",))},
        {"bound": {"input_tokens": 401}},
        {"bound_nanos": 1},
        {"min_nanos": 1},
        {"want_nanos": 2 * CREDIT},
        {"max_intents": 0},
    ],
)
def test_other_content_under_a_key_conflicts(
    world: World, tenant: Tenant, changes: dict[str, object]
) -> None:
    world.admit(tenant)

    with pytest.raises(IdempotencyKeyReused):
        world.admit(tenant, **changes)


def test_another_key_of_the_organization_conflicts(world: World, tenant: Tenant) -> None:
    world.admit(tenant)
    other = world.account.create_key(tenant.organization_id, KeyWish(tenant.team_id)).key

    with pytest.raises(IdempotencyKeyReused):
        world.admit(tenant, key_id=other.key_id)


def test_a_lease_is_never_given_to_another_edge_or_a_later_life_of_its_edge(
    world: World, tenant: Tenant
) -> None:
    world.admit(tenant)
    world.resync(OTHER)
    with pytest.raises(IdempotencyKeyReused):
        world.admit(tenant, edge=OTHER)

    world.resync(LATER)
    with pytest.raises(IdempotencyKeyReused):
        world.admit(tenant, edge=LATER)


def test_the_key_of_an_admission_is_one_organizations_own(world: World, tenant: Tenant) -> None:
    other = world.tenant("Milliner", granted=GRANTED)

    first, second = world.admit(tenant).lease, world.admit(other).lease

    assert first is not None
    assert second is not None
    assert first.organization_id != second.organization_id


@pytest.mark.parametrize("want", [CREDIT, 0])
def test_only_the_process_that_resynced_last_may_ask(world: World, tenant: Tenant, want: int) -> None:
    twin = dataclasses.replace(EDGE, instance="its-twin")

    with pytest.raises(EdgeNotResynced):
        world.admit(tenant, edge=OTHER, want_nanos=want)
    with pytest.raises(EdgeNotResynced):
        world.admit(tenant, edge=LATER, want_nanos=want)
    with pytest.raises(EdgeEpochStale):
        world.admit(tenant, edge=twin, want_nanos=want)

    world.resync(LATER)
    with pytest.raises(EdgeEpochStale):
        world.admit(tenant, want_nanos=want)
    assert leases_of(world, tenant) == []


@pytest.mark.parametrize("want", [CREDIT, 0])
def test_a_revoked_key_starts_nothing(world: World, tenant: Tenant, want: int) -> None:
    world.account.revoke_key(tenant.organization_id, tenant.key_id)

    with pytest.raises(KeyRevoked):
        world.admit(tenant, want_nanos=want)
    with pytest.raises(KeyRevoked):
        world.admission.rate_card(tenant.key_id, "", provider="openai", models=["gpt-4o"])
    assert world.money(tenant) == (GRANTED, 0, 0)


def test_an_expired_key_starts_nothing(world: World, tenant: Tenant) -> None:
    wish = KeyWish(tenant.team_id, expire_time=world.clock.now + 1)
    key = world.account.create_key(tenant.organization_id, wish).key
    world.clock.advance(1)

    with pytest.raises(KeyRevoked):
        world.admit(tenant, key_id=key.key_id)


def test_an_unknown_key_is_not_found(world: World, tenant: Tenant) -> None:
    with pytest.raises(NotFound):
        world.admit(tenant, key_id="key_" + "0" * 26)


def test_a_rate_card_is_for_the_keys_organization(world: World, tenant: Tenant) -> None:
    card = world.admission.rate_card(tenant.key_id, "", provider="openai", models=["gpt-4o"])

    [model] = card.models
    assert (model.model, model.rates["input_tokens"]) == ("gpt-4o", INPUT_CHARGE * 1_000_000)
