"""GET /v1/analytics/usage: sums by feature, by model, by event type and over time."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from om.analytics.v1 import analytics_service_pb2 as analytics_pb
from om_server.rest.channel import Server
from om_server.rest.documented.consumption import input_tokens, output_tokens
from om_server.rest.documented.endpoint import Answer, Documented, Wording
from om_server.rest.documented.figure import exact, exact_text, fixed_text, percentage
from om_server.rest.documented.moment import iso_text
from om_server.rest.documented.query import Query
from om_server.rest.documented.selection import read_filter
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
#: Names the group of events that name none, in the maps of the TypeScript client.
_NAMELESS = "unknown"


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


@dataclass(slots=True)
class _Sum:
    """Running sums of a group; amounts in nano-units."""

    events: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    charge: int = 0
    cost: int = 0
    unrated: int = 0

    def add(self, row: analytics_pb.UsageRow) -> None:
        self.events += row.event_count
        self.tokens_in += input_tokens(row.quantities) or 0
        self.tokens_out += output_tokens(row.quantities) or 0
        self.charge += row.charge.amount_nanos
        self.cost += row.cost.amount_nanos
        self.unrated += row.unrated_count


def usage_body(
    parts: Iterable[analytics_pb.UsageRow], periods: Iterable[analytics_pb.UsageRow]
) -> dict[str, object]:
    """The published body from sums by feature, provider, model and event type, and from sums by period.

    Beside `data` stand the keys that the TypeScript client names; its percentages are shares of the
    cost. Unrated events are in no amount, so their number is told.
    """
    rows = list(parts)
    total = _Sum()
    for row in rows:
        total.add(row)
    by_feature = _grouped(rows, _FEATURE)
    by_provider, by_model = _grouped(rows, _PROVIDER), _grouped(rows, _MODEL)
    return {
        "data": {
            "summary": _summary(total),
            "byFeature": [{"featureId": key[0]} | _amounts(sums) for key, sums in by_feature.items()],
            "byProvider": [
                _model_row(key, sums) for key, sums in _grouped(rows, _PROVIDER, _MODEL).items() if all(key)
            ],
            "byEventType": [
                {"eventType": key[0]} | _amounts(sums) for key, sums in _grouped(rows, _EVENT_TYPE).items()
            ],
            "timeline": [_period_row(row) for row in periods],
        },
        "totalCredits": exact(total.charge),
        "totalCostUsd": exact(total.cost),
        "byProvider": _shares({key[0].upper(): sums for key, sums in by_provider.items()}, total),
        "byModel": _shares({key[0]: sums for key, sums in by_model.items()}, total),
        "byFeature": _shares({key[0]: sums for key, sums in by_feature.items()}, total),
        "unratedEvents": total.unrated,
    }


def _grouped(
    rows: Iterable[analytics_pb.UsageRow], *dimensions: "analytics_pb.Dimension.ValueType"
) -> dict[tuple[str, ...], _Sum]:
    """Sums by the values of some dimensions, the busiest group first."""
    found: dict[tuple[str, ...], _Sum] = {}
    for row in rows:
        values = {item.dimension: item.value for item in row.group}
        key = tuple(values.get(dimension, "") for dimension in dimensions)
        found.setdefault(key, _Sum()).add(row)
    return dict(sorted(found.items(), key=lambda item: (-item[1].events, item[0])))


def _summary(total: _Sum) -> dict[str, object]:
    return {
        "totalEvents": total.events,
        "totalInputTokens": str(total.tokens_in),
        "totalOutputTokens": str(total.tokens_out),
        "totalCreditsBurned": exact_text(total.charge),
        "totalCostUsd": fixed_text(total.cost, _COST_PLACES),
    }


def _amounts(sums: _Sum) -> dict[str, object]:
    return {
        "eventCount": sums.events,
        "creditsBurned": exact_text(sums.charge),
        "costUsd": fixed_text(sums.cost, _COST_PLACES),
    }


def _model_row(key: tuple[str, ...], sums: _Sum) -> dict[str, object]:
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


def _shares(groups: Mapping[str, _Sum], total: _Sum) -> dict[str, object]:
    return {
        name or _NAMELESS: {
            "credits": exact(sums.charge),
            "costUsd": exact(sums.cost),
            "percentage": percentage(sums.cost, total.cost),
        }
        for name, sums in groups.items()
    }


def operations(server: Server) -> Mapping[str, Endpoint]:
    """Name the operations of this family."""
    wording = Wording("Failed to fetch usage analytics")
    return {"getUsageAnalytics": Documented(GetUsage(server), server, wording=wording)}
