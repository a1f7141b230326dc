"""AnalyticsService on the wire. Burn rate, comparisons and streams are not answered yet."""

import grpc

from om.analytics.v1 import analytics_service_pb2 as pb
from om.analytics.v1 import analytics_service_pb2_grpc
from om.type.v1 import usage_pb2
from om_server.analytics.operations import AnalyticsOperations
from om_server.analytics.period import Granularity
from om_server.analytics.query import Dimension, EventFilter, GroupValue, UsageQuery, UsageRow
from om_server.analytics.rollup import QuantitySum
from om_server.analytics.settled import SettledEvent
from om_server.core.hours import find_zone
from om_server.core.money import CREDITS, USD, Money
from om_server.core.usage import QuantityOutOfRange
from om_server.rpc.caller import caller
from om_server.rpc.convert import (
    credits_to_proto,
    event_to_proto,
    money_to_proto,
    optional_timestamp_to_proto,
    page_from_proto,
    timestamp_from_proto,
    timestamp_to_proto,
)

_INT64_MAX = 2**63 - 1

_GRANULARITIES = {
    pb.GRANULARITY_UNSPECIFIED: Granularity.TOTAL,
    pb.GRANULARITY_HOUR: Granularity.HOUR,
    pb.GRANULARITY_DAY: Granularity.DAY,
    pb.GRANULARITY_WEEK: Granularity.WEEK,
    pb.GRANULARITY_MONTH: Granularity.MONTH,
}


class AnalyticsServicer(analytics_service_pb2_grpc.AnalyticsServiceServicer):
    """Translates between messages and the operations of analytics."""

    def __init__(self, operations: AnalyticsOperations) -> None:
        self._operations = operations

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
        return pb.QuerySpendResponse(
            rows=[spend_row_to_proto(row) for row in report.rows],
            start_time=timestamp_to_proto(report.hours.start_time),
            end_time=timestamp_to_proto(report.hours.end_time),
        )

    def ListEvents(
        self, request: pb.ListEventsRequest, context: grpc.ServicerContext
    ) -> pb.ListEventsResponse:
        page = self._operations.list_events(
            caller().organization_id,
            filter_from_proto(request.filter),
            page=page_from_proto(request, skip=request.skip),
        )
        return pb.ListEventsResponse(
            events=[settled_to_proto(settled) for settled in page.events],
            next_page_token=page.next_page_token,
            total_size=page.total_size,
        )


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


def quantity_sum_to_proto(unit: str, total: QuantitySum) -> usage_pb2.Quantity:
    """Translate a sum, which may pass what a single quantity may be, but not an int64."""
    if total.amount > _INT64_MAX:
        raise QuantityOutOfRange(unit, total.amount)
    estimated = usage_pb2.CERTAINTY_ESTIMATED if total.estimated_amount else usage_pb2.CERTAINTY_MEASURED
    return usage_pb2.Quantity(unit=unit, amount=total.amount, certainty=estimated)


def settled_to_proto(settled: SettledEvent) -> pb.Event:
    cost, charge = settled.cost, settled.charge
    return pb.Event(
        event=event_to_proto(settled.event),
        state=pb.RatingState.Value(f"RATING_STATE_{settled.state.name}"),
        cost=None if cost is None else money_to_proto(Money(USD, cost)),
        charge=None if charge is None else credits_to_proto(charge),
        wallet_id=settled.wallet_id,
        receivable=credits_to_proto(settled.receivable),
        flags=settled.flags,
        receive_time=timestamp_to_proto(settled.event.receive_time),
        settle_time=timestamp_to_proto(settled.settle_time),
    )
