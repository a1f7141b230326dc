"""GET /v1/analytics/cost-breakdown: tokens, credits and cost by model, in numbers."""

from collections.abc import Iterable

from om.analytics.v1 import analytics_service_pb2 as analytics_pb
from om_server.rest.channel import Server
from om_server.rest.documented.endpoint import Answer
from om_server.rest.documented.figure import exact, percentage
from om_server.rest.documented.moment import iso_text
from om_server.rest.documented.query import Query
from om_server.rest.documented.selection import read_filter
from om_server.rest.documented.usage_sum import NAMELESS, UsageSum, grouped, total
from om_server.rest.request import Request

_PROVIDER = analytics_pb.DIMENSION_PROVIDER
_MODEL = analytics_pb.DIMENSION_MODEL
_DAY_S = 86_400


class GetCostBreakdown:
    """One read by provider and model; without dates the last 30 days."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def __call__(self, request: Request) -> Answer:
        chosen = await read_filter(Query(request.query), self._server, context=request.context)
        asked = analytics_pb.QueryUsageRequest(filter=chosen, group_by=[_PROVIDER, _MODEL])
        read = self._server.analytics.QueryUsage
        reply = await self._server.ask(read, asked, context=request.context)
        return Answer(200, breakdown_body(reply.rows) | {"period": period_body(chosen, reply)})


def period_body(
    chosen: analytics_pb.EventFilter, reply: analytics_pb.QueryUsageResponse
) -> dict[str, object]:
    """The range as it was asked for; where it was not, as it was summed."""
    start = chosen.start_time if chosen.HasField("start_time") else reply.start_time
    end = chosen.end_time if chosen.HasField("end_time") else reply.end_time
    return {
        "startDate": iso_text(start),
        "endDate": iso_text(end),
        "days": max(0, -((start.seconds - end.seconds) // _DAY_S)),
    }


def breakdown_body(rows: Iterable[analytics_pb.UsageRow]) -> dict[str, object]:
    """The dearest model first; beside it what the TypeScript client names, with shares of the cost."""
    found = list(rows)
    models, everything = grouped(found, _PROVIDER, _MODEL), total(found)
    dearest = sorted(models.items(), key=lambda item: (-item[1].cost, item[0]))
    return {
        "data": [
            {"provider": provider.upper() or NAMELESS, "model": model or NAMELESS}
            | figures(sums)
            | {"eventCount": sums.events}
            for (provider, model), sums in dearest
        ],
        "totals": figures(everything) | {"totalEvents": everything.events},
        "totalCostUsd": exact(everything.cost),
        "byProvider": {
            key[0].upper() or NAMELESS: _share(sums, everything)
            for key, sums in grouped(found, _PROVIDER).items()
        },
        "byModel": {
            key[0] or NAMELESS: _share(sums, everything) for key, sums in grouped(found, _MODEL).items()
        },
        "unratedEvents": everything.unrated,
    }


def figures(sums: UsageSum) -> dict[str, object]:
    """What each row of these numbers has."""
    return {
        "totalInputTokens": sums.tokens_in,
        "totalOutputTokens": sums.tokens_out,
        "totalCreditsBurned": exact(sums.charge),
        "totalCostUsd": exact(sums.cost),
    }


def _share(sums: UsageSum, whole: UsageSum) -> dict[str, object]:
    return {"costUsd": exact(sums.cost), "percentage": percentage(sums.cost, whole.cost)}
