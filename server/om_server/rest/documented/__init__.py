"""The operations whose exact shapes were published before this API: one module for each family.

A request mapper, one or a few RPCs, a pure presenter. Unknown keys are ignored here, because published
clients send them.
"""

from collections.abc import Mapping

from om_server.core.clock import Clock
from om_server.rest.channel import Server
from om_server.rest.documented import (
    admin,
    aggregations,
    analytics,
    burn_tables,
    credits,  # noqa: A004 - its published name; the builtin is a licence text
    customers,
    entitlements,
    events,
    health,
    rating,
    sandbox,
    users,
)
from om_server.rest.request import Endpoint


def documented_operations(
    server: Server,
    *,
    clock: Clock,
    version: str,
    environment: str,
    admin_access: admin.AdminAccess | None = None,
) -> Mapping[str, Endpoint]:
    """Every documented operation by the operationId that documented/openapi gives it."""
    return {
        **admin.operations(server, admin_access),
        **aggregations.operations(server, clock=clock),
        **analytics.operations(server, clock=clock),
        **burn_tables.operations(server, clock=clock),
        **credits.operations(server),
        **customers.operations(server),
        **entitlements.operations(server),
        **events.operations(server),
        **health.operations(server, clock=clock, version=version, environment=environment),
        **rating.operations(server, clock=clock),
        **sandbox.operations(server, clock=clock, environment=environment),
        **users.operations(server),
    }
