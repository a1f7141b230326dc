"""The operations whose exact shapes were published before this API: one module for each family.

A request mapper, one or a few RPCs, a pure presenter. Unknown keys are ignored here, because published
clients send them.
"""

from collections.abc import Mapping

from om_server.core.clock import Clock
from om_server.rest.channel import Server
from om_server.rest.documented.analytics import GetUsage
from om_server.rest.documented.credits import GetBalance, GetUserCredits
from om_server.rest.documented.endpoint import Documented, Wording
from om_server.rest.documented.events import ListEvents
from om_server.rest.documented.health import GetHealth, GetInfo, GetReadiness
from om_server.rest.documented.ingest import IngestEvents
from om_server.rest.request import Endpoint


def documented_operations(
    server: Server, *, clock: Clock, version: str, environment: str
) -> Mapping[str, Endpoint]:
    """Every documented operation by the operationId that documented/openapi.yaml gives it."""
    health, readiness = GetHealth(clock), GetReadiness(server, clock=clock)
    credits_failure = Wording("Failed to fetch credit balance")
    return {
        "ingestEvents": Documented(
            IngestEvents(server), server, wording=Wording("Failed to ingest events", plain_bad_request=True)
        ),
        "listEvents": Documented(ListEvents(server), server, wording=Wording("Failed to fetch events")),
        "getCreditBalance": Documented(GetBalance(server), server, wording=credits_failure),
        "getUserCredits": Documented(GetUserCredits(server), server, wording=credits_failure),
        "getUsageAnalytics": Documented(
            GetUsage(server), server, wording=Wording("Failed to fetch usage analytics")
        ),
        "getHealth": health,
        "postHealth": health,
        "getLiveness": health,
        "getReadiness": readiness,
        "getHealthReadiness": readiness,
        "getInfo": GetInfo(version, environment),
    }
