"""The aggregation API: what was spent, in all, over time, and by whom or what it was spent."""

import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from om.analytics.v1 import analytics_service_pb2 as pb
from om_server.core.calendar import CalendarSpan
from om_server.core.clock import Clock
from om_server.rest.channel import Server
from om_server.rest.documented import spending
from om_server.rest.documented.endpoint import Answer, Documented, Handler, Wording
from om_server.rest.documented.query import Query
from om_server.rest.documented.spending_range import SpendingRange, local_day, read_range, refused
from om_server.rest.request import Endpoint, Request

#: Ten years of days; a longer trend is wanted by the week or the month.
POINTS_MAX = 4_000

#: How many groups are shown; a list of every end user may be larger than an answer can be.
GROUPS_DEFAULT, GROUPS_MAX = 1_000, 10_000

_SPANS = {span.value: span for span in CalendarSpan}
_GRANULARITIES = {
    CalendarSpan.DAY: pb.GRANULARITY_DAY,
    CalendarSpan.WEEK: pb.GRANULARITY_WEEK,
    CalendarSpan.MONTH: pb.GRANULARITY_MONTH,
}
_EVER = date(1970, 1, 1)

Dimensions = Sequence["pb.Dimension.ValueType"]


@dataclass(frozen=True, slots=True)
class Grouping:
    """A list of groups: what its field is called, what it groups by, and how a group is named."""

    field: str
    dimensions: Dimensions
    naming: spending.Naming
    #: Whether rows may have the same name, so that all of them are needed to sum the first.
    joins_rows: bool = False


GROUPINGS: Mapping[str, Grouping] = {
    "getSpendByPrompt": Grouping("prompts", [pb.DIMENSION_PROMPT], spending.prompt_name, joins_rows=True),
    "getSpendByTeam": Grouping("teams", [pb.DIMENSION_TEAM], spending.team_name),
    "getSpendByKey": Grouping("keys", [pb.DIMENSION_KEY, pb.DIMENSION_TEAM], spending.key_name),
    "getSpendByTag": Grouping("tags", [pb.DIMENSION_TAG], spending.plain_name("tag", pb.DIMENSION_TAG)),
    "getSpendByFeature": Grouping(
        "features", [pb.DIMENSION_FEATURE], spending.plain_name("feature_id", pb.DIMENSION_FEATURE)
    ),
    "getSpendByModel": Grouping("models", [pb.DIMENSION_PROVIDER, pb.DIMENSION_MODEL], spending.model_name),
    "getSpendByCustomer": Grouping(
        "customers", [pb.DIMENSION_CUSTOMER], spending.plain_name("customer_id", pb.DIMENSION_CUSTOMER)
    ),
    "getSpendByUser": Grouping(
        "users", [pb.DIMENSION_USER], spending.plain_name("user_id", pb.DIMENSION_USER)
    ),
}


class Aggregations:
    """The reads of this family; each is one RPC."""

    def __init__(self, server: Server, clock: Clock) -> None:
        self._server = server
        self._clock = clock

    async def monthly(self, request: Request) -> Answer:
        """The sum of the current month, or of the days asked for."""
        days = read_range(Query(request.query), now_us=self._clock())
        rows = await self._rows(request, pb.QuerySpendRequest(filter=days.filter()))
        return Answer(200, spending.total_body(rows, days))

    async def trend(self, request: Request) -> Answer:
        """Sums by day, week or month, without a gap up to today."""
        query = Query(request.query)
        span = query.choice("granularity", _SPANS, default=CalendarSpan.DAY)
        now_us = self._clock()
        days = read_range(query, now_us=now_us)
        dates = _dates(days, span, today=local_day(now_us, days.zone))
        asked = pb.QuerySpendRequest(
            filter=days.filter(), granularity=_GRANULARITIES[span], time_zone=query.text("timezone")
        )
        rows = await self._rows(request, asked)
        body = {"granularity": span.value, "timezone": str(days.zone), "period": days.body()}
        return Answer(200, {"points": spending.points(rows, dates, days), **body})

    async def version_comparison(self, request: Request) -> Answer:
        """The versions of one prompt side by side, since ever if no start is given."""
        query = Query(request.query)
        if not (prompt_key := query.text("promptKey")):
            raise refused("prompt_key", "Invalid input: expected string, received undefined")
        days = read_range(query, now_us=self._clock(), since=_EVER)
        asked = pb.CompareVersionsRequest(prompt_key=prompt_key, filter=days.filter())
        ask = self._server.analytics.CompareVersions
        reply = await self._server.ask(ask, asked, context=request.context)
        body = {"prompt_key": prompt_key, "period": days.body()}
        return Answer(200, {"versions": spending.versions(reply.rows), **body})

    async def grouped(self, request: Request, grouping: Grouping) -> Answer:
        """The dearest groups of one kind, and how many there are."""
        query = Query(request.query)
        days = read_range(query, now_us=self._clock())
        limit = query.integer("limit", default=GROUPS_DEFAULT, least=1, most=GROUPS_MAX)
        asked = pb.QuerySpendRequest(
            filter=days.filter(),
            group_by=grouping.dimensions,
            row_limit=0 if grouping.joins_rows else limit,
        )
        reply = await self._spend(request, asked)
        found = spending.groups(reply.rows, grouping.naming)
        total = reply.total_size - len(reply.rows) + len(found)
        body: dict[str, object] = {grouping.field: found[:limit]}
        if pb.DIMENSION_TAG in grouping.dimensions:
            # A request with two tags is in both, so the sum over tags is not what was spent.
            body["totals_overlap"] = True
        size = {"total_count": total, "truncated": total > limit}
        return Answer(200, body | {"period": days.body()} | size)

    async def _rows(self, request: Request, asked: pb.QuerySpendRequest) -> Sequence[pb.SpendRow]:
        return (await self._spend(request, asked)).rows

    async def _spend(self, request: Request, asked: pb.QuerySpendRequest) -> pb.QuerySpendResponse:
        return await self._server.ask(self._server.analytics.QuerySpend, asked, context=request.context)


def _dates(days: SpendingRange, span: CalendarSpan, *, today: date) -> Sequence[date]:
    """The dates of a trend, none in the future: nothing happened there yet."""
    dates = spending.period_dates(days.start, min(days.end, today), span)
    found = list(itertools.islice(dates, POINTS_MAX + 1))
    if len(found) > POINTS_MAX:
        raise refused("granularity", f"Too fine: the range has over {POINTS_MAX} such periods")
    return found


def operations(server: Server, *, clock: Clock) -> Mapping[str, Endpoint]:
    """Name the operations of this family."""
    wording = Wording("Failed to fetch aggregation", plain_bad_request=True)
    family = Aggregations(server, clock)
    handlers: dict[str, Handler] = {
        "getMonthlySpend": family.monthly,
        "getSpendTrend": family.trend,
        "getVersionComparison": family.version_comparison,
        **{
            name: functools.partial(family.grouped, grouping=grouping) for name, grouping in GROUPINGS.items()
        },
    }
    return {name: Documented(handler, server, wording=wording) for name, handler in handlers.items()}
