"""Idle leases are asked for when a wallet is short: its own, those behind it, and those in front of it."""

import pytest

from om_server.core.event import Attribution
from om_server.pipeline.admission import Decision
from om_server.wallet.leases.lease import Lease, LeaseReport
from om_server.wallet.operations import WalletChange
from om_server.wallet.wallet import OwnerKind, Wallet
from tests.server.pipeline.harness import CREDIT, EDGE, Tenant, World

GRANTED = 1_000 * CREDIT


@pytest.fixture(autouse=True)
def _resynced(world: World) -> None:
    world.resync()


def wallet_of(world: World, tenant: Tenant, user_id: str, amount: int = CREDIT) -> Wallet:
    """A user's wallet, behind which the organization's stands."""
    wallet = world.grant(tenant.organization_id, amount, kind=OwnerKind.USER, owner_id=user_id)
    behind = WalletChange(overflow_wallet_id=world.wallet.get_wallet(tenant.organization_id).wallet_id)
    world.wallet.update_wallet(tenant.organization_id, wallet.owner, change=behind)
    return wallet


def leased(world: World, tenant: Tenant, amount: int, key: str, *, user_id: str = "") -> Lease:
    """A lease for any number of calls, which may lie idle."""
    lease = ask(world, tenant, amount, key, user_id=user_id).lease
    assert lease is not None
    assert lease.amount == amount
    return lease


def ask(world: World, tenant: Tenant, amount: int, key: str, *, user_id: str = "") -> Decision:
    return world.admit(
        tenant,
        admit_key=key,
        attribution=Attribution(user_id=user_id),
        min_nanos=amount,
        want_nanos=amount,
        max_intents=0,
    )


def recalled(world: World) -> set[str]:
    return {lease.lease_id for lease in world.wallet.recalled_leases(EDGE.edge_id, since=0)}


def test_a_shortfall_of_a_user_asks_for_the_leases_of_the_wallet_behind(world: World, tenant: Tenant) -> None:
    wallet_of(world, tenant, "ada")
    idle = leased(world, tenant, GRANTED, "evt_1")

    assert ask(world, tenant, 2 * CREDIT, "evt_2", user_id="ada").refusal is not None

    assert recalled(world) == {idle.lease_id}


def test_a_shortfall_asks_for_what_wallets_in_front_have_leased_of_the_money(
    world: World, tenant: Tenant
) -> None:
    """The lease is a user's, but the money in it is the organization's, which is short of it."""
    wallet_of(world, tenant, "ada")
    wallet_of(world, tenant, "bob")
    spanning = leased(world, tenant, GRANTED, "evt_1", user_id="ada")
    leased(world, tenant, CREDIT, "evt_2", user_id="bob")

    assert ask(world, tenant, 2 * CREDIT, "evt_3").refusal is not None

    # What lies on the other user's wallet alone would not help.
    assert recalled(world) == {spanning.lease_id}
    world.wallet.close_lease(EDGE, LeaseReport(spanning.lease_id, 0, 0))
    assert ask(world, tenant, 2 * CREDIT, "evt_3").lease is not None
