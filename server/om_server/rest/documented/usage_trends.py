"""GET /v1/analytics/usage-trends: usage by day, week or month of UTC. Weeks begin on Sunday, as published."""

from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta

from om.analytics.v1 import analytics_service_pb2 as analytics_pb
from om_server.rest.channel import Server
from om_server.rest.documented.cost_breakdown import figures, period_body
from om_server.rest.documented.endpoint import Answer
from om_server.rest.documented.query import Query
from om_server.rest.documented.selection import read_filter
from om_server.rest.documented.usage_sum import UsageSum
from om_server.rest.request import Request

_DAYS_OF_WEEK = 7


def _week(day: date) -> str:
    return (day - timedelta(days=day.isoweekday() % _DAYS_OF_WEEK)).isoformat()


#: Names the period of a day.
_PERIODS: dict[str, Callable[[date], str]] = {
    "day": date.isoformat,
    "week": _week,
    "month": lambda day: f"{day:%Y-%m}",
}


class GetUsageTrends:
    """One read by day, which is what weeks and months are made of."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def __call__(self, request: Request) -> Answer:
        query = Query(request.query)
        word = query.choice("groupBy", {name: name for name in _PERIODS}, default="day")
        chosen = await read_filter(query, self._server, context=request.context)
        asked = analytics_pb.QueryUsageRequest(filter=chosen, granularity=analytics_pb.GRANULARITY_DAY)
        read = self._server.analytics.QueryUsage
        reply = await self._server.ask(read, asked, context=request.context)
        period = period_body(chosen, reply)
        del period["days"]
        return Answer(200, trends_body(reply.rows, word) | {"period": period | {"groupBy": word}})


def trends_body(rows: Iterable[analytics_pb.UsageRow], group_by: str) -> dict[str, object]:
    """Sums by period, the oldest first; a period without events is left out."""
    name = _PERIODS[group_by]
    found: dict[str, UsageSum] = {}
    for row in rows:
        day = datetime.fromtimestamp(row.period_start.seconds, UTC).date()
        found.setdefault(name(day), UsageSum()).add(row)
    return {
        "data": [
            {"period": period} | figures(sums) | {"eventCount": sums.events}
            for period, sums in sorted(found.items())
        ]
    }
