"""How many statements the way before a call takes. Each is a round trip, and a lock is held meanwhile."""

from collections.abc import Callable

import pytest

from om_server.account.operations import AccountOperations
from om_server.core.event import Attribution
from om_server.pipeline.entitlement import EntitlementCheck
from om_server.pipeline.estimate import Asker
from om_server.wallet.leases.lease import LeaseReport
from tests.server.pipeline.harness import CREDIT, EDGE, Tenant, World, tokens


@pytest.fixture(name="counted")
def make_counted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Callable[[], object]], list[str]]:
    """Run something and return its statements, without those that write rows in SQLite."""
    seen: list[str] = []
    execute: Callable[..., object] = world.database.engine.execute_sql

    def spy(sql: str, *arguments: object) -> object:
        seen.append(sql)
        return execute(sql, *arguments)

    monkeypatch.setattr(world.database.engine, "execute_sql", spy)

    def run(act: Callable[[], object]) -> list[str]:
        seen.clear()
        act()
        return list(seen)

    return run


@pytest.fixture(name="tenant")
def make_tenant(world: World) -> Tenant:
    tenant = world.tenant(granted=100 * CREDIT)
    world.resync()
    assert world.admit(tenant, admit_key="warm").lease is not None
    return tenant


def test_a_lease_is_opened_and_closed_in_few_statements(
    world: World, tenant: Tenant, counted: Callable[[Callable[[], object]], list[str]]
) -> None:
    opened = counted(lambda: world.admit(tenant, admit_key="second"))
    lease = world.admit(tenant, admit_key="second").lease
    assert lease is not None
    closed = counted(lambda: world.wallet.close_lease(EDGE, LeaseReport(lease.lease_id, 0, 0)))
    # Writes that nobody waits for are not among them.
    assert len(opened) <= 8, opened
    assert len(closed) <= 7, closed


def test_a_check_reads_few_times(
    world: World, tenant: Tenant, counted: Callable[[Callable[[], object]], list[str]]
) -> None:
    check = EntitlementCheck(world.database, world.admission, rating=world.rating, wallet=world.wallet)
    asker = Asker(tenant.organization_id, tenant.team_id)
    found = counted(
        lambda: check.check(asker, tenant.key_id, attribution=Attribution(), lines=[tokens(1_000)])
    )
    assert len(found) <= 5, found


def test_whose_a_key_is_is_looked_up_once(
    world: World, tenant: Tenant, counted: Callable[[Callable[[], object]], list[str]]
) -> None:
    account: AccountOperations = world.account
    assert len(counted(lambda: account.keys_by_id([tenant.key_id]))) == 1
    other = world.tenant("Other")
    assert len(counted(lambda: account.keys_by_id([tenant.key_id, other.key_id, "key_unknown"]))) == 3
    account.revoke_key(tenant.organization_id, tenant.key_id)
    assert account.keys_by_id([tenant.key_id])[tenant.key_id].ended(world.clock.now)
