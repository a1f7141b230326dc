"""GET /v1/analytics/costs: what usage cost, what it was charged, and the margin."""

from collections.abc import Iterable

from om.analytics.v1 import analytics_service_pb2 as analytics_pb
from om_server.rest.channel import Server
from om_server.rest.documented.endpoint import Answer
from om_server.rest.documented.margin import Margin, fixed
from om_server.rest.documented.query import Query
from om_server.rest.documented.selection import read_filter
from om_server.rest.documented.usage_sum import NAMELESS, UsageSum, grouped, total
from om_server.rest.request import Request

_PROVIDER = analytics_pb.DIMENSION_PROVIDER
_MODEL = analytics_pb.DIMENSION_MODEL
_PLACES = 4


class GetCosts:
    """One read by provider and model; without dates the last 30 days."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def __call__(self, request: Request) -> Answer:
        chosen = await read_filter(Query(request.query), self._server, context=request.context)
        asked = analytics_pb.QueryUsageRequest(filter=chosen, group_by=[_PROVIDER, _MODEL])
        read = self._server.analytics.QueryUsage
        reply = await self._server.ask(read, asked, context=request.context)
        return Answer(200, costs_body(reply.rows))


def costs_body(rows: Iterable[analytics_pb.UsageRow]) -> dict[str, object]:
    """Dollars as text with four decimals; the dearest model first. Rows add up to the summary."""
    found = list(rows)
    parts, everything = grouped(found, _PROVIDER, _MODEL), total(found)
    margin = Margin(everything.charge, everything.cost)
    dearest = sorted(parts.items(), key=lambda item: (-item[1].cost, item[0]))
    return {
        "data": {
            "summary": {
                "totalRevenue": fixed(margin.revenue, _PLACES),
                "totalProviderCost": fixed(margin.cost_amount, _PLACES),
                "totalMargin": fixed(margin.amount, _PLACES),
                "marginPercent": margin.percent,
            },
            "byProvider": [_row(key, part) for key, part in dearest],
        },
        "unratedEvents": everything.unrated,
    }


def _row(key: tuple[str, ...], part: UsageSum) -> dict[str, object]:
    provider, model = key
    margin = Margin(part.charge, part.cost)
    return {
        "provider": provider.upper() or NAMELESS,
        "model": model or NAMELESS,
        "providerCost": fixed(margin.cost_amount, _PLACES),
        "revenue": fixed(margin.revenue, _PLACES),
        "margin": fixed(margin.amount, _PLACES),
    }
