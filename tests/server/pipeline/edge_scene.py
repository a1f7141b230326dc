"""What an edge reports about a lease, for tests of settlement."""

import dataclasses

from om_server.core.event import SOURCE_PROXY, EdgePosition, Event, Funding
from om_server.wallet.leases.lease import Lease
from tests.server.pipeline.harness import EDGE, Tenant, World, tokens


def leased(world: World, tenant: Tenant, **changes: object) -> Lease:
    """One credit for one call, unless changed."""
    world.resync()
    lease = world.admit(tenant, **changes).lease
    assert lease is not None
    return lease


def outcome(world: World, tenant: Tenant, lease: Lease, event_id: str = "evt_1", **changes: object) -> Event:
    """The outcome of a call that used 200 tokens and kept its whole lease."""
    retained = int(str(changes.pop("retained", lease.amount)))
    event = world.event(
        tenant,
        event_id,
        source=SOURCE_PROXY,
        lines=(tokens(200),),
        edge=EdgePosition(EDGE.edge_id, EDGE.edge_epoch, 1),
        wallet_id=lease.wallet_id,
        funding=(Funding(lease.lease_id, bound=lease.amount, retained=retained),),
    )
    return dataclasses.replace(event, **changes)  # type: ignore[arg-type] # A table's row.
