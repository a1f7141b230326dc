"""The operations whose exact shapes were published before this API: one module for each family.

A request mapper, one or a few RPCs, a pure presenter. Unknown keys are ignored here, because published
clients send them.
"""

from collections.abc import Mapping

from om_server.core.clock import Clock
from om_server.rest.channel import Server
from om_server.rest.documented import (
    analytics,
    credits,  # noqa: A004 - its published name; the builtin is a licence text
    events,
    health,
)
from om_server.rest.request import Endpoint


def documented_operations(
    server: Server, *, clock: Clock, version: str, environment: str
) -> Mapping[str, Endpoint]:
    """Every documented operation by the operationId that documented/openapi gives it."""
    return {
        **analytics.operations(server),
        **credits.operations(server),
        **events.operations(server),
        **health.operations(server, clock=clock, version=version, environment=environment),
    }
