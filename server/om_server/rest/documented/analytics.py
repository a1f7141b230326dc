"""GET /v1/analytics/usage: sums by feature, by model, by event type and over time; and its siblings."""

import asyncio
from collections.abc import Iterable, Mapping

from om.analytics.v1 import analytics_service_pb2 as analytics_pb
from om_server.core.clock import Clock
from om_server.rest.channel import Server
from om_server.rest.documented.activity_summary import GetSummary
from om_server.rest.documented.burn_rate import GetBurnForecast, GetBurnRate
from om_server.rest.documented.cost_breakdown import GetCostBreakdown
from om_server.rest.documented.costs import GetCosts
from om_server.rest.documented.endpoint import Answer, Documented, Handler, Wording
from om_server.rest.documented.figure import exact, exact_text, fixed_text, percentage
from om_server.rest.documented.moment import iso_text
from om_server.rest.documented.query import Query
from om_server.rest.documented.selection import read_filter
from om_server.rest.documented.usage_sum import NAMELESS, UsageSum, grouped, total
from om_server.rest.documented.usage_trends import GetUsageTrends
from om_server.rest.request import Endpoint, Request

_GRANULARITIES = {
    "day": analytics_pb.GRANULARITY_DAY,
    "week": analytics_pb.GRANULARITY_WEEK,
    "month": analytics_pb.GRANULARITY_MONTH,
}
_FEATURE = analytics_pb.DIMENSION_FEATURE
_PROVIDER = analytics_pb.DIMENSION_PROVIDER
_MODEL = analytics_pb.DIMENSION_MODEL
_EVENT_TYPE = analytics_pb.DIMENSION_EVENT_TYPE
_DATE_LENGTH = len("2026-01-31")
_COST_PLACES = 4


class GetUsage:
    """Two reads: the lists are parts of one, so that they add up to the summary, and the timeline."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def __call__(self, request: Request) -> Answer:
        query = Query(request.query)
        granularity = query.choice("groupBy", _GRANULARITIES, default=analytics_pb.GRANULARITY_DAY)
        chosen = await read_filter(query, self._server, context=request.context)
        parts = analytics_pb.QueryUsageRequest(
            filter=chosen, group_by=[_FEATURE, _PROVIDER, _MODEL, _EVENT_TYPE]
        )
        periods = analytics_pb.QueryUsageRequest(filter=chosen, granularity=granularity)
        read = self._server.analytics.QueryUsage
        by_part, by_period = await asyncio.gather(
            self._server.ask(read, parts, context=request.context),
            self._server.ask(read, periods, context=request.context),
        )
        return Answer(200, usage_body(by_part.rows, by_period.rows))


def usage_body(
    parts: Iterable[analytics_pb.UsageRow], periods: Iterable[analytics_pb.UsageRow]
) -> dict[str, object]:
    """The published body from sums by feature, provider, model and event type, and from sums by period.

    Beside `data` stand the keys that the TypeScript client names; its percentages are shares of the
    cost. Unrated events are in no amount, so their number is told.
    """
    rows = list(parts)
    everything = total(rows)
    by_feature = _ranked(rows, _FEATURE)
    by_provider, by_model = _ranked(rows, _PROVIDER), _ranked(rows, _MODEL)
    return {
        "data": {
            "summary": _summary(everything),
            "byFeature": [{"featureId": key[0]} | _amounts(sums) for key, sums in by_feature.items()],
            "byProvider": [
                _model_row(key, sums) for key, sums in _ranked(rows, _PROVIDER, _MODEL).items() if all(key)
            ],
            "byEventType": [
                {"eventType": key[0]} | _amounts(sums) for key, sums in _ranked(rows, _EVENT_TYPE).items()
            ],
            "timeline": [_period_row(row) for row in periods],
        },
        "totalCredits": exact(everything.charge),
        "totalCostUsd": exact(everything.cost),
        "byProvider": _shares({key[0].upper(): sums for key, sums in by_provider.items()}, everything),
        "byModel": _shares({key[0]: sums for key, sums in by_model.items()}, everything),
        "byFeature": _shares({key[0]: sums for key, sums in by_feature.items()}, everything),
        "unratedEvents": everything.unrated,
    }


def _ranked(
    rows: Iterable[analytics_pb.UsageRow], *dimensions: "analytics_pb.Dimension.ValueType"
) -> dict[tuple[str, ...], UsageSum]:
    found = grouped(rows, *dimensions)
    return dict(sorted(found.items(), key=lambda item: (-item[1].events, item[0])))


def _summary(whole: UsageSum) -> dict[str, object]:
    return {
        "totalEvents": whole.events,
        "totalInputTokens": str(whole.tokens_in),
        "totalOutputTokens": str(whole.tokens_out),
        "totalCreditsBurned": exact_text(whole.charge),
        "totalCostUsd": fixed_text(whole.cost, _COST_PLACES),
    }


def _amounts(sums: UsageSum) -> dict[str, object]:
    return {
        "eventCount": sums.events,
        "creditsBurned": exact_text(sums.charge),
        "costUsd": fixed_text(sums.cost, _COST_PLACES),
    }


def _model_row(key: tuple[str, ...], sums: UsageSum) -> dict[str, object]:
    provider, model = key
    return {
        "provider": provider.upper(),
        "model": model,
        "eventCount": sums.events,
        "inputTokens": str(sums.tokens_in),
        "outputTokens": str(sums.tokens_out),
    }


def _period_row(row: analytics_pb.UsageRow) -> dict[str, object]:
    return {
        "date": iso_text(row.period_start)[:_DATE_LENGTH],
        "events": row.event_count,
        "creditsBurned": exact_text(row.charge.amount_nanos),
    }


def _shares(groups: Mapping[str, UsageSum], whole: UsageSum) -> dict[str, object]:
    return {
        name or NAMELESS: {
            "credits": exact(sums.charge),
            "costUsd": exact(sums.cost),
            "percentage": percentage(sums.cost, whole.cost),
        }
        for name, sums in groups.items()
    }


def operations(server: Server, *, clock: Clock) -> Mapping[str, Endpoint]:
    """Name the operations of this family."""

    def documented(handler: Handler, failure: str, *, plain: bool = False) -> Documented:
        return Documented(handler, server, wording=Wording(f"Failed to {failure}", plain_bad_request=plain))

    rating = "proxy request to rating service"
    summary = documented(GetSummary(server), rating)
    return {
        "getUsageAnalytics": documented(GetUsage(server), "fetch usage analytics"),
        "getCostAnalytics": documented(GetCosts(server), "fetch cost analytics"),
        "getBurnRate": documented(GetBurnRate(server, clock=clock), "fetch burn rate analytics"),
        "getCostBreakdown": documented(GetCostBreakdown(server), rating, plain=True),
        "getUsageTrends": documented(GetUsageTrends(server), rating, plain=True),
        "getBurnForecast": documented(GetBurnForecast(server, clock=clock), rating, plain=True),
        "getAnalyticsSummary": summary,
        "getCustomerSummary": summary,
    }
