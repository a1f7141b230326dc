"""AnalyticsService on the wire."""

import contextlib
import functools
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator

import grpc

from om.analytics.v1 import analytics_service_pb2 as pb
from om.analytics.v1 import analytics_service_pb2_grpc
from om.type.v1 import usage_pb2
from om_server.analytics.burn_rate import BurnRates, Payer
from om_server.analytics.counters import QuantitySum
from om_server.analytics.event_export import EventExport
from om_server.analytics.event_stream import EventStream, Feed, watch
from om_server.analytics.operations import AnalyticsOperations
from om_server.analytics.period import Granularity
from om_server.analytics.query import Dimension, EventFilter, GroupValue, UsageQuery, UsageRow
from om_server.analytics.settled import SettledEvent, SettledState
from om_server.analytics.version_comparison import VersionSpend
from om_server.core.hours import find_zone
from om_server.core.money import CREDITS, USD, Money
from om_server.core.page import Cursor
from om_server.core.usage import QuantityOutOfRange
from om_server.rpc.blocking import blocking
from om_server.rpc.caller import caller
from om_server.rpc.convert import (
    credits_to_proto,
    event_type_from_proto,
    money_to_proto,
    optional_timestamp_to_proto,
    page_from_proto,
    timestamp_from_proto,
    timestamp_to_proto,
    write_money,
    write_timestamp,
)
from om_server.rpc.event_writer import write_event
from om_server.rpc.interceptors import StreamContext

_INT64_MAX = 2**63 - 1

#: A client takes messages of 4 MiB unless it is told otherwise, and a single event is far smaller.
_EXPORT_BYTES = 1024 * 1024

#: Rows of spend in one answer: with the longest ids they still fit into a message of 16 MiB.
_SPEND_ROWS_MAX = 50_000

_GRANULARITIES = {
    pb.GRANULARITY_UNSPECIFIED: Granularity.TOTAL,
    pb.GRANULARITY_HOUR: Granularity.HOUR,
    pb.GRANULARITY_DAY: Granularity.DAY,
    pb.GRANULARITY_WEEK: Granularity.WEEK,
    pb.GRANULARITY_MONTH: Granularity.MONTH,
}
_STATES = {state: pb.RatingState.Value(f"RATING_STATE_{state.name}") for state in SettledState}


def _no_versions(_organization_id: str, _prompt_key: str) -> int:
    return 0


class AnalyticsServicer(analytics_service_pb2_grpc.AnalyticsServiceServicer):
    """Translates between messages and the operations of analytics."""

    def __init__(
        self,
        operations: AnalyticsOperations,
        *,
        burn_rates: BurnRates,
        export: EventExport,
        feed: Feed,
        version_count: Callable[[str, str], int] = _no_versions,
    ) -> None:
        """`version_count` tells how many versions a prompt of an organization has, from 1 without gaps."""
        self._operations = operations
        self._burn_rates = burn_rates
        self._export = export
        self._feed = feed
        self._version_count = version_count

    def QueryUsage(
        self, request: pb.QueryUsageRequest, context: grpc.ServicerContext
    ) -> pb.QueryUsageResponse:
        report = self._operations.query_usage(caller().organization_id, query_from_proto(request))
        return pb.QueryUsageResponse(
            rows=[usage_row_to_proto(row) for row in report.rows],
            start_time=timestamp_to_proto(report.hours.start_time),
            end_time=timestamp_to_proto(report.hours.end_time),
        )

    def QuerySpend(
        self, request: pb.QuerySpendRequest, context: grpc.ServicerContext
    ) -> pb.QuerySpendResponse:
        report = self._operations.query_spend(caller().organization_id, query_from_proto(request))
        limit = min(request.row_limit or _SPEND_ROWS_MAX, _SPEND_ROWS_MAX)
        return pb.QuerySpendResponse(
            rows=map(spend_row_to_proto, report.rows[:limit]),
            start_time=timestamp_to_proto(report.hours.start_time),
            end_time=timestamp_to_proto(report.hours.end_time),
            total_size=len(report.rows),
        )

    def CompareVersions(
        self, request: pb.CompareVersionsRequest, context: grpc.ServicerContext
    ) -> pb.CompareVersionsResponse:
        organization_id, prompt_key = caller().organization_id, request.prompt_key
        compared = self._operations.compare_versions(
            organization_id,
            prompt_key,
            wanted=filter_from_proto(request.filter),
            version_count=self._version_count(organization_id, prompt_key),
        )
        return pb.CompareVersionsResponse(rows=map(version_spend_to_proto, compared))

    def GetBurnRate(
        self, request: pb.GetBurnRateRequest, context: grpc.ServicerContext
    ) -> pb.GetBurnRateResponse:
        rate = self._burn_rates.of(Payer(caller().organization_id, request.user_id, request.customer_id))
        return pb.GetBurnRateResponse(
            available=credits_to_proto(rate.available),
            charge_7d=money_to_proto(Money(CREDITS, rate.charge_7d)),
            charge_30d=money_to_proto(Money(CREDITS, rate.charge_30d)),
            runout_time=optional_timestamp_to_proto(rate.runout_time),
        )

    async def WatchEvents(
        self, request: pb.WatchEventsRequest, context: StreamContext
    ) -> AsyncGenerator[pb.WatchEventsResponse, None]:
        stream = EventStream(caller(), filter_from_proto(request.filter), cursor=request.cursor)
        async with contextlib.aclosing(watch(self._feed, stream)) as everything:
            async for told in everything:
                response = pb.WatchEventsResponse(cursor=told.cursor)
                if told.event is not None:
                    write_settled(told.event, response.event)
                yield response

    async def ExportEvents(
        self, request: pb.ExportEventsRequest, context: StreamContext
    ) -> AsyncGenerator[pb.ExportEventsResponse, None]:
        organization_id = caller().organization_id
        wanted = self._export.begin(filter_from_proto(request.filter))
        after: Cursor | None = None
        while True:
            part = functools.partial(self._export.part, organization_id, wanted, after=after)
            found, after = await blocking(part)
            for response in export_responses(found):
                yield response
            if after is None:
                return

    def ListEvents(
        self, request: pb.ListEventsRequest, context: grpc.ServicerContext
    ) -> pb.ListEventsResponse:
        page = self._operations.list_events(
            caller().organization_id,
            filter_from_proto(request.filter),
            page=page_from_proto(request, skip=request.skip),
        )
        response = pb.ListEventsResponse(next_page_token=page.next_page_token, total_size=page.total_size)
        for settled in page.events:
            write_settled(settled, response.events.add())
        return response


def query_from_proto(request: pb.QueryUsageRequest | pb.QuerySpendRequest) -> UsageQuery:
    return UsageQuery(
        filter=filter_from_proto(request.filter),
        group_by=tuple(map(dimension_from_proto, request.group_by)),
        granularity=_GRANULARITIES[request.granularity],
        zone=find_zone(request.time_zone),
    )


def filter_from_proto(message: pb.EventFilter) -> EventFilter:
    start = timestamp_from_proto(message.start_time, "filter.start_time")
    end = timestamp_from_proto(message.end_time, "filter.end_time")
    return EventFilter(
        start_time=start if message.HasField("start_time") else None,
        end_time=end if message.HasField("end_time") else None,
        providers=tuple(message.providers),
        models=tuple(message.models),
        feature_ids=tuple(message.feature_ids),
        customer_ids=tuple(message.customer_ids),
        user_ids=tuple(message.user_ids),
        team_ids=tuple(message.team_ids),
        key_ids=tuple(message.key_ids),
        prompt_keys=tuple(message.prompt_keys),
        tags=tuple(message.tags),
        include_sandbox=message.include_sandbox,
        event_types=tuple(event_type_from_proto(kind).value for kind in message.event_types),
        sandbox=message.sandbox if message.HasField("sandbox") else None,
    )


def dimension_from_proto(dimension: "pb.Dimension.ValueType") -> Dimension:
    return Dimension[pb.Dimension.Name(dimension).removeprefix("DIMENSION_")]


def group_to_proto(value: GroupValue) -> pb.GroupValue:
    dimension = pb.Dimension.Value(f"DIMENSION_{value.dimension.name}")
    return pb.GroupValue(dimension=dimension, value=value.value, display_name=value.display_name)


def usage_row_to_proto(row: UsageRow) -> pb.UsageRow:
    counters = row.counters
    return pb.UsageRow(
        period_start=optional_timestamp_to_proto(row.period_start),
        group=map(group_to_proto, row.group),
        event_count=counters.event_count,
        quantities=[quantity_sum_to_proto(*item) for item in sorted(row.quantities.items())],
        # Money refuses a sum that the contract cannot carry; it is never cut.
        cost=money_to_proto(Money(USD, counters.cost)),
        charge=money_to_proto(Money(CREDITS, counters.charge)),
        unrated_count=counters.unrated_count,
        estimated_count=counters.estimated_count,
        unknown_count=counters.unknown_count,
    )


def spend_row_to_proto(row: UsageRow) -> pb.SpendRow:
    counters = row.counters
    return pb.SpendRow(
        period_start=optional_timestamp_to_proto(row.period_start),
        group=map(group_to_proto, row.group),
        event_count=counters.event_count,
        cost=money_to_proto(Money(USD, counters.cost)),
        charge=money_to_proto(Money(CREDITS, counters.charge)),
        unrated_count=counters.unrated_count,
    )


def version_spend_to_proto(spend: VersionSpend) -> pb.VersionRow:
    counters, average = spend.counters, spend.average_cost
    return pb.VersionRow(
        version=spend.version,
        registered=spend.registered,
        event_count=counters.event_count,
        cost=money_to_proto(Money(USD, counters.cost)),
        charge=money_to_proto(Money(CREDITS, counters.charge)),
        unrated_count=counters.unrated_count,
        average_cost=None if average is None else money_to_proto(Money(USD, average)),
    )


def quantity_sum_to_proto(unit: str, total: QuantitySum) -> usage_pb2.Quantity:
    """Translate a sum, which may pass what a single quantity may be, but not an int64."""
    if total.amount > _INT64_MAX:
        raise QuantityOutOfRange(unit, total.amount)
    estimated = usage_pb2.CERTAINTY_ESTIMATED if total.estimated_amount else usage_pb2.CERTAINTY_MEASURED
    return usage_pb2.Quantity(unit=unit, amount=total.amount, certainty=estimated)


def write_settled(settled: SettledEvent, target: pb.Event) -> None:
    """Fill an empty message with an event and what became of it."""
    write_event(settled.event, target.event)
    target.state = _STATES[settled.state]
    if settled.cost is not None:
        write_money(Money(USD, settled.cost), target.cost)
    if settled.charge is not None:
        write_money(Money(CREDITS, settled.charge), target.charge)
    target.wallet_id = settled.wallet_id
    write_money(Money(CREDITS, settled.receivable), target.receivable)
    target.flags.extend(settled.flags)
    write_timestamp(settled.event.receive_time, target.receive_time)
    write_timestamp(settled.settle_time, target.settle_time)


def export_responses(events: Iterable[SettledEvent]) -> Iterator[pb.ExportEventsResponse]:
    """Write events in messages that a client takes without settings of its own."""
    response, size = pb.ExportEventsResponse(), 0
    for settled in events:
        event = response.events.add()
        write_settled(settled, event)
        size += event.ByteSize()
        if size > _EXPORT_BYTES and len(response.events) > 1:
            last = response.events.pop()
            yield response
            response, size = pb.ExportEventsResponse(events=[last]), last.ByteSize()
    if response.events:
        yield response
